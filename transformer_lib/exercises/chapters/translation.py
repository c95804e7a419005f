"""What `book.check` knows of the exercises of `chapters/applications/translation.ipynb`."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transformer_lib.data.toy_grammar import GAP, Clause, Phrase
from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.tasks.translation import IGNORE

# The exact match from one pass ---------------------------------------------------------------------------------------


def _exact(guesses: Tensor, labels: Tensor) -> Tensor:
    return ((guesses == labels) | (labels == IGNORE)).all(1).float().mean()


def _exact_with_padding(guesses: Tensor, labels: Tensor) -> Tensor:
    return (guesses == labels).all(1).float().mean()


def _tokens_right(guesses: Tensor, labels: Tensor) -> Tensor:
    return (guesses == labels)[labels != IGNORE].float().mean()


def _places_right(guesses: Tensor, labels: Tensor) -> Tensor:
    return ((guesses == labels) | (labels == IGNORE)).float().mean()


def _without_the_end(guesses: Tensor, labels: Tensor) -> Tensor:
    more = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORE)], dim=1)
    return ((guesses == labels) | (more == IGNORE)).all(1).float().mean()


def _exact_cases() -> list[list[Tensor]]:
    """One sentence that is right, then several; 1 is the end mark."""
    short = torch.tensor([[5, 6, 1]])
    labels = torch.tensor([[5, 6, 1, IGNORE], [7, 8, 9, 1], [4, 1, IGNORE, IGNORE], [5, 5, 1, IGNORE]])
    guesses = torch.tensor([[5, 6, 1, 1], [7, 3, 9, 1], [4, 1, 2, 2], [5, 5, 6, 1]])
    return [[short, short], [guesses, labels]]


# Log-probabilities of the targets ------------------------------------------------------------------------------------


def _picked(laws: Tensor, labels: Tensor, *, padding: bool = False, mean: bool = False) -> Tensor:
    """The sum for each sentence; what is given by name makes the known mistakes."""
    true = laws.gather(2, labels.clamp(min=0)[..., None])[..., 0]
    real = labels != IGNORE
    total = true.sum(1) if padding else (true * real).sum(1)
    return total / real.sum(1) if mean else total


def _of_the_likeliest(laws: Tensor, labels: Tensor) -> Tensor:
    return (laws.amax(-1) * (labels != IGNORE)).sum(1)


def _of_the_batch(laws: Tensor, labels: Tensor) -> Tensor:
    return _picked(laws, labels).sum()


def _laws() -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([[3, 1, IGNORE, IGNORE], [2, 4, 3, 1]])
    return [
        [torch.randn(len(part), 4, 5, generator=generator).double().log_softmax(-1), part]
        for part in (labels[1:], labels)
    ]


# BLEU by hand --------------------------------------------------------------------------------------------------------


def _runs(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def _bleu(written: Sequence[str], wanted: Sequence[str], clip: bool = True, ratio: int = 1) -> float:
    """Over a whole set; without the clip a run counts as often as it was written; ratio -1 turns the lengths round."""
    logs = 0.0
    for n in (1, 2, 3, 4):
        given, true = ([_runs(text, n) for text in side] for side in (written, wanted))
        if clip:
            right = sum((a & b).total() for a, b in zip(given, true, strict=True))
        else:
            right = sum(sum(a[run] for run in a if run in b) for a, b in zip(given, true, strict=True))
        logs += math.log(right / sum(a.total() for a in given)) / 4
    lengths = [sum(map(len, side)) for side in (written, wanted)]
    short = (lengths[1] / lengths[0]) ** ratio
    return 100 * math.exp(logs + (min(0.0, 1 - short) if ratio else 0.0))


def _mean_of_bleus(written: Sequence[str], wanted: Sequence[str]) -> float:
    pairs = zip(written, wanted, strict=True)
    return sum(_bleu([a], [b]) for a, b in pairs) / len(written)


# A meaning of a new sort ---------------------------------------------------------------------------------------------


def _stolen(**change: Any) -> Clause:
    laughing = Clause("laugh", "progressive", GAP)
    who = Phrase("the", "child", relative=laughing)
    return Clause("steal", "past", who, Phrase("the", "cake"), passive=True)._replace(**change)


EXERCISES: dict[str, Exercise] = {
    "ex-mt-bleu": Numbers(
        right={"itself": 100, "reversed": 9.29, "first half": 36.79, "nothing": 0},
        wrong={
            "Half a sentence does not earn half: all its runs are right, and the penalty is $e^{1 - 8/4}$.": {
                "first half": 50
            },
            "Every run of the first half is right, but it is too short, and the penalty is $e^{1 - 8/4}$.": {
                "first half": 100
            },
            "You took the fourth root of the penalty too: it stands outside the root.": {"first half": 77.88},
            "A product with a factor of 0 is 0, but the signature names a smoothing, which puts a small number in the "
            "place of each missing run.": {"reversed": 0},
            "In reverse the characters are all right, and no longer run is. BLEU does see the order.": {
                "reversed": 100
            },
        },
        tolerance=0.06,
        why="Order costs nearly everything, and half a sentence more than half.",
    ),
    "ex-mt-forced": Function(
        right=_exact,
        wrong={
            "Padding has no true token, so its places are never right here. They must not count against a sentence.": (
                _exact_with_padding
            ),
            "That is the share of *tokens*, the flattering number of teacher forcing. A sentence is right only if all "
            "its tokens are.": _tokens_right,
            "You averaged over places, padding among them. Ask of each sentence whether all of it is right.": (
                _places_right
            ),
            "The end mark must be the likeliest as well, or greedy decoding goes on writing.": _without_the_end,
        },
        cases=_exact_cases,
        why="Up to its first mistake, greedy decoding reads the true beginning.",
    ),
    "ex-mt-fault": Function(
        right=_picked,
        wrong={
            "Padding is still counted: a sentence becomes less likely because its neighbour is longer.": (
                lambda laws, labels: _picked(laws, labels, padding=True)
            ),
            "That is the mean for each token. The log-probability of a sentence is the sum.": (
                lambda laws, labels: _picked(laws, labels, mean=True)
            ),
            "You added up the largest log-probabilities: those of its own choice, not of the true tokens.": (
                _of_the_likeliest
            ),
            "You summed over the batch as well. Each target has its own log-probability.": _of_the_batch,
        },
        cases=_laws,
        properties={
            "Each sentence must have the same number alone as beside a longer one.": lambda f, laws, labels: (
                torch.allclose(torch.as_tensor(f(laws, labels))[:1], torch.as_tensor(f(laws[:1], labels[:1])))
            )
        },
        tolerance=1e-8,
        why="The labels hold what comes next, and padding is left out.",
    ),
    "ex-mt-bleu-own": Function(
        right=_bleu,
        wrong={
            "That is the mean of the sentences' own BLEU. Sum the counts of all sentences first, and divide once.": (
                _mean_of_bleus
            ),
            "A run counts at most as often as the reference has it: take the smaller of the two counts.": (
                lambda written, wanted: _bleu(written, wanted, clip=False)
            ),
            "The penalty has the lengths the wrong way round: it punishes long translations.": (
                lambda written, wanted: _bleu(written, wanted, ratio=-1)
            ),
            "There is no penalty: without it, the surest four characters win.": (
                lambda written, wanted: _bleu(written, wanted, ratio=0)
            ),
            "The result is a share. It is usual to write a hundred times as much, and so does the library.": (
                lambda written, wanted: _bleu(written, wanted) / 100
            ),
        },
        cases=lambda: [
            [["abcde"], ["abcdef"]],
            [["abcdabcd"], ["abcde"]],
            [["abcde", "xyzwvabcd"], ["abcdefg", "xyzwvu"]],
            [["abcdexx"], ["abcde"]],
        ],
        tolerance=1e-8,
        why="Counts are clipped, summed over the set, and only then divided.",
    ),
    "ex-mt-beat": Made(
        laws={
            "Give two scores: the BLEU without the rule, and with it.": lambda scores: len(scores) == 2,
            "These are shares. BLEU is written as a number up to 100.": lambda scores: max(scores) > 1,
            "The dictionary alone has less than 60 BLEU. Did it learn from the alignment, or did the test slip into "
            "its pairs?": lambda scores: scores[0] < 60,
            "Your rule makes it worse. In the Chinese of this grammar, time and place stand *before* the verb.": (
                lambda scores: scores[1] > scores[0]
            ),
            "It helps, but by less than half a point. How many sentences does the rule change?": lambda scores: (
                scores[1] >= scores[0] + 0.5
            ),
        },
        example=lambda: [43.7, 44.4],
        wrong=lambda: [[43.7], [0.437, 0.444], [72.0, 74.0], [43.7, 42.0], [43.7, 43.9]],
        why="A rule of order costs nothing and moves whole runs of words to where they belong.",
    ),
    "ex-mt-meaning": Made(
        laws={
            "A meaning is a `Clause` with its phrases. The grammar puts it into words.": lambda meaning: isinstance(
                meaning, Clause
            ),
            "The clause is active. `passive=True` makes it a passive.": lambda meaning: meaning.passive,
            "Nobody does it: give the passive an `agent`, whom the relative clause can be about.": lambda meaning: (
                meaning.agent is not None
            ),
            "The agent has no relative clause. One about the patient stands in training already.": lambda meaning: (
                meaning.agent.relative is not None
            ),
            "Nothing in the relative clause is the `GAP`, which stands for its noun.": lambda meaning: (
                GAP in (meaning.agent.relative.agent, meaning.agent.relative.patient)
            ),
        },
        example=_stolen,
        wrong=lambda: [
            "The cake was stolen by the child who is laughing.",
            _stolen(passive=False),
            _stolen(agent=None),
            _stolen(agent=Phrase("the", "child"), patient=Phrase("the", "cake")),
            _stolen(agent=Phrase("the", "child", relative=Clause("laugh", "progressive", Phrase("the", "worker")))),
        ],
        why="Now write twenty of them, and count: one sentence shows nothing.",
    ),
}
NOT_CHECKED: dict[str, str] = {"ex-mt-curve": "it asks for reasons, of what a figure shows and might show"}
