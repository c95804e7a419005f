"""What `book.check` knows of the exercises of `chapters/applications/extraction.ipynb`."""

import itertools
from functools import cache
from typing import Any

import torch

from transformer_lib.data.examples import Annotated, Entity
from transformer_lib.data.toy_extraction import sentences
from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.tasks.extraction import scores
from transformer_lib.tasks.tagging import allowed_steps, tag_names

# Steps between tags --------------------------------------------------------------------------------------------------


def _steps(n: int) -> tuple[int, int]:
    bio, bilou = (int(allowed_steps(tag_names([f"k{i}" for i in range(n)], s)).next.sum()) for s in ("BIO", "BILOU"))
    return bio, bilou


# A search that never gives back --------------------------------------------------------------------------------------

_BIO = tag_names(["x"], "BIO")


def _total(scores: Any, path: tuple[int, ...]) -> float:
    return float(sum(torch.as_tensor(scores, dtype=torch.float64)[word, tag] for word, tag in enumerate(path)))


def _paths(scores: Any) -> dict[tuple[int, ...], float]:
    """All allowed pairs of tags and their scores; all tags of this scheme may come last."""
    steps = allowed_steps(_BIO)
    pairs = itertools.product(range(3), repeat=2)
    return {(a, b): _total(scores, (a, b)) for a, b in pairs if steps.first[a] and steps.next[a, b]}


def _greedy(scores: Any) -> tuple[int, int]:
    steps, (one, two) = allowed_steps(_BIO), torch.as_tensor(scores, dtype=torch.float64)
    first = int(one.masked_fill(~steps.first, -torch.inf).argmax())
    return first, int(two.masked_fill(~steps.next[first], -torch.inf).argmax())


def _contradicts(scores: Any) -> bool:
    free = tuple(torch.as_tensor(scores).argmax(dim=-1).tolist())
    return free not in _paths(scores)


# A rule for names ----------------------------------------------------------------------------------------------------


@cache
def _part() -> tuple[Annotated, ...]:
    return sentences(60, group="train", names="held out", seed=71)


def _read(rule: Any) -> list[Any]:
    """What the rule finds in sentences from which the answers have been taken."""
    return [rule(example._replace(entities=(), relations=())) for example in _part()]


def _f1(rule: Any) -> float:
    return float(scores(_read(rule), _part())["entities"]["f1"])


def _ends_f1(rule: Any) -> float:
    """The same, with all kinds called one."""
    both = (
        [e._replace(entities=tuple(x._replace(kind="x") for x in e.entities), relations=()) for e in part]
        for part in (_read(rule), _part())
    )
    return float(scores(*both)["entities"]["f1"])


def _capitals(example: Annotated, kind: str = "person", joined: bool = True) -> Annotated:
    names: list[tuple[int, int]] = []
    for i, word in enumerate(example.words):
        if word[0].isupper() and word not in ("Last", "In", "By", "Critics", "Everybody"):
            if joined and names and names[-1][1] == i:
                names[-1] = (names[-1][0], i + 1)
            else:
                names.append((i, i + 1))
    return Annotated(example.words, tuple(Entity(kind, *name) for name in names), ())


def _nothing(example: Annotated) -> Annotated:
    return Annotated(example.words, (), ())


def _as_list(example: Annotated) -> list[str]:
    return [word for word in example.words if word[0].isupper()]


EXERCISES: dict[str, Exercise] = {
    "ex-ext-f1": Numbers(
        right={"precision": 0.75, "recall": 0.6, "F1": 2 / 3, "F1 after": 4 / 9},
        wrong={
            "You have precision and recall exchanged: precision divides by what was *given*.": {
                "precision": 0.6,
                "recall": 0.75,
            },
            "That is the arithmetic mean. F1 is the harmonic one, $2\\cdot 6/(8 + 10)$.": {"F1": 0.675},
            "You lowered the recall alone. The two relations are still given, so the precision falls as well.": {
                "F1 after": 0.5
            },
            "One entity, but two relations: both are wrong now.": {"F1 after": 10 / 18},
        },
        tolerance=0.002,
        why="A wrong entity lowers precision and recall, with every relation that it takes part in.",
    ),
    "ex-ext-repair": Numbers(
        right={"persons": 2, "places": 2, "changes": 0},
        wrong={
            "You let `I-person` go on from `B-place`. A name may not change its kind, so a new one begins.": {
                "persons": 1,
                "places": 2,
            },
            "You counted what begins with `B` or `U`. By the rule, a name begins wherever none goes on.": {
                "persons": 0
            },
            "`L-person` goes on from `I-person`: these two words are one name.": {"persons": 3},
            "Two contradictions are far apart: the first tag, and `B-place I-person`. One change mends one.": {
                "changes": 1
            },
        },
        why="Repair always finds entities, however many tags contradict each other.",
    ),
    "ex-ext-steps": Function(
        right=_steps,
        wrong={
            "That is all pairs of tags. After `B-person`, say, no `I-place` may come.": lambda n: (
                (2 * n + 1) ** 2,
                (4 * n + 1) ** 2,
            ),
            "Your inner tags may follow another *kind*: `I-place` may follow only the two open tags of a place.": (
                lambda n: ((n + 1) * (2 * n + 1) + 2 * n * n, (2 * n + 1) ** 2 + 4 * n * n)
            ),
            "`I` may follow `I`, too: a name may have more than two words.": lambda n: (
                (n + 1) * (2 * n + 1) + n,
                (2 * n + 1) ** 2 + 2 * n,
            ),
            "Two entities may stand side by side: after a closed one, another may begin at once.": lambda n: (
                (n + 1) + n + n * n + 4 * n - n * n,
                2 * (2 * n) + 1 + 4 * n,
            ),
        },
        cases=lambda: [[1], [2], [5]],
        why="Quadratic in both, but BILOU has four times the pairs and allows hardly twice as many.",
    ),
    "ex-ext-fault": Made(
        laws={
            "Give two rows of three scores: of `O`, `B` and `I` for each word.": lambda made: (
                torch.as_tensor(made).shape == (2, 3)
            ),
            "The best tags of the two words contradict nothing here, so whoever takes them is right.": _contradicts,
            "It is lucky here: the best that may follow its first choice is the best there is. Make what it can no "
            "longer reach worth more.": lambda made: _total(made, _greedy(made)) < max(_paths(made).values()) - 1e-6,
        },
        example=lambda: torch.tensor([[10.0, 9, 0], [0, 0, 90]]),
        wrong=lambda: [
            torch.tensor([10.0, 9, 0]),
            torch.tensor([[9.0, 10, 0], [0, 0, 90]]),
            torch.tensor([[3.0, 1, 0], [0, 1, 2]]),
        ],
        why="One point was saved at the first word, and most of the second was lost by it.",
    ),
    "ex-ext-beat": Made(
        laws={
            "The rule must return an `Annotated` for each example, with the entities found.": lambda rule: all(
                isinstance(found, Annotated) for found in _read(rule)
            ),
            "It finds nothing. Which sign do names have that few other words have?": lambda rule: any(
                found.entities for found in _read(rule)
            ),
            "Most boundaries are wrong. A name may have several words: join them if side by side.": lambda rule: (
                _ends_f1(rule) > 0.6
            ),
            "The boundaries are mostly right, and the kinds are not: strict scoring gives nothing for these. Which "
            "kind is the commonest?": lambda rule: _f1(rule) >= 0.3,
        },
        example=lambda: _capitals,
        wrong=lambda: [
            _as_list,
            _nothing,
            lambda example: _capitals(example, joined=False),
            lambda example: _capitals(example, kind="event"),
        ],
        why="Capitals give the boundaries. For the kind one must read the verb.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-ext-symmetric": "it asks for a proof",
    "ex-ext-predict": "it asks for predictions about a model that each reader trains anew",
}
