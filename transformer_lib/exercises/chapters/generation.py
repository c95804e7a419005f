"""What `book.check` knows of the exercises of `chapters/frontier/generation.ipynb`."""

import math
from typing import Any

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

ROOTS = [math.sqrt(p) for p in (0.5, 0.3, 0.15, 0.05)]
WEIGHTS = 2 * 8_030_261_248  # bytes of Llama 3 8B
GROUPED, MULTI_HEAD, TOKENS = 131_072, 524_288, 8192  # bytes of a token, and tokens of a conversation


# A search that needs three beams -------------------------------------------------------------------------------------


def _table(answer: Any) -> Tensor:
    return torch.as_tensor(answer).double()


def _is_square(answer: Any) -> bool:
    table = _table(answer)
    return table.dim() == 2 and table.shape[0] == table.shape[1] >= 2


def _are_laws(answer: Any) -> bool:
    table = _table(answer)
    return bool((table >= 0).all() and (table.sum(dim=1) - 1).abs().max() < 1e-6)


def _found(answer: Any, beams: int) -> float:
    """The probability of the best text of two tokens whose first is among the best `beams`."""
    table = _table(answer)
    texts = table[0] * table.amax(dim=1)
    return float(texts[table[0].topk(min(beams, len(table))).indices].max())


def _best(answer: Any) -> float:
    return _found(answer, len(_table(answer)))


def _maze(*first: float) -> Tensor:
    """A chain that starts with these probabilities, and in which only the last token leads to a certain one."""
    size = len(first) + 1
    table = torch.full((size, size), 1 / size, dtype=torch.float64)
    table[0] = torch.tensor([0.0, *first], dtype=torch.float64)
    table[-1] = torch.eye(size, dtype=torch.float64)[0]
    return table


# Tokens that are drafted ahead ---------------------------------------------------------------------------------------


def _gain(alpha: float, cost: float, ahead: int) -> float:
    return (1 - alpha ** (ahead + 1)) / ((1 - alpha) * (ahead * cost + 1))


def _drafted_alone(alpha: float, cost: float, ahead: int) -> float:
    """The gain if the token that the model adds to each pass is forgotten."""
    return (1 - alpha**ahead) / ((1 - alpha) * (ahead * cost + 1))


EXERCISES: dict[str, Exercise] = {
    "ex-gen-limits": Numbers(
        right={
            "top-k 2": 2,
            "top-p 0.75": 2,
            "top-p 0.85": 3,
            "min-p 0.2": 3,
            "min-p 0.5": 2,
            "last token": ROOTS[3] / sum(ROOTS),
        },
        wrong={
            "Top-p keeps the token with which the level is reached, too: 0.5 alone does not reach 0.75.": {
                "top-p 0.75": 1
            },
            "$0.5 + 0.3 = 0.8$ does not reach 0.85 yet, so a third token stays under top-p.": {"top-p 0.85": 2},
            "Min-p compares with the *first* token and not with 1: the third has $0.15/0.5 = 0.3$ of it.": {
                "min-p 0.2": 2
            },
            "Under min-p 0.5 the second stays, since $0.3/0.5 = 0.6$. You held 0.3 itself against the level.": {
                "min-p 0.5": 1
            },
            "You cut before the temperature. After it the last token is $\\sqrt{0.1}$ times as likely as the first, "
            "and stays.": {"last token": 0},
            "That is $\\sqrt{0.1}$, the last token beside the *first*. Its probability is $\\sqrt{0.05}$ over the sum "
            "of all four roots.": {"last token": math.sqrt(0.1)},
            "That is $\\sqrt{0.05}$. The four roots do not sum to 1: divide by their sum.": {"last token": ROOTS[3]},
        },
        tolerance=0.005,
        why="Top-p counts probability from the top, min-p looks at the ratio to the best.",
    ),
    "ex-gen-beam": Made(
        laws={
            "The table must be square: a row for each token, with the probabilities of what follows it.": _is_square,
            "Each row must be a law: no number below 0, and all together 1.": _are_laws,
            "Two beams find the likeliest text. Let it begin with a token that is not among the best two, or make what "
            "follows the best two less certain.": lambda answer: _found(answer, 2) < _best(answer) - 1e-9,
            "Three beams miss it too. Its first token must be the third-best, and no worse.": lambda answer: (
                _found(answer, 3) > _best(answer) - 1e-9
            ),
        },
        example=lambda: _maze(0.35, 0.33, 0.32),
        wrong=lambda: [
            _maze(0.35, 0.33, 0.32)[:3],
            2 * _maze(0.35, 0.33, 0.32),
            _maze(0.6, 0.4),
            _maze(0.26, 0.25, 0.25, 0.24),
        ],
        why="What is dropped after the first step never comes back, however good its continuation would have been.",
    ),
    "ex-gen-server": Numbers(
        right={"grouped": 59, "multi-head": 14, "thousands of tokens": WEIGHTS / GROUPED / 1000},
        wrong={
            "You gave the caches the whole memory. The weights lie in it as well.": {
                "grouped": 80 * 10**9 // (GROUPED * TOKENS),
                "multi-head": 80 * 10**9 // (MULTI_HEAD * TOKENS),
            },
            "You rounded up. What does not fit whole does not fit.": {"grouped": 60, "multi-head": 15},
            "You took 80 GiB. The memory is given as $80\\cdot 10^9$ bytes, which is 74.5 GiB.": {
                "grouped": (80 * 2**30 - WEIGHTS) // (GROUPED * TOKENS),
                "multi-head": (80 * 2**30 - WEIGHTS) // (MULTI_HEAD * TOKENS),
            },
            "So many tokens fit beside the weights. Asked is where the caches are as heavy *as* the weights.": {
                "thousands of tokens": (80e9 - WEIGHTS) / GROUPED / 1000
            },
            "You took a byte for each weight. They are 2-byte numbers, like the cache.": {
                "thousands of tokens": WEIGHTS / 2 / GROUPED / 1000
            },
        },
        tolerance=0.4,
        why="One long conversation makes the cache as heavy as the weights; so do fifteen of 8,192 tokens.",
    ),
    "ex-gen-lookahead": Numbers(
        right={"k": 8, "gain": _gain(0.8, 0.05, 8), "k, poor": 1, "gain, poor": _gain(0.5, 0.3, 1)},
        wrong={
            "You counted tokens per pass alone, which grow for ever towards $1/(1 - \\alpha)$. The drafts take time "
            "too: divide by $k\\kappa + 1$.": {"gain": 5.0},
            "You left the check out. A round costs $k\\kappa + 1$ passes, and the 1 is the model's own.": {
                "gain": (1 + 0.8) / 0.05
            },
            "You summed only the drafted tokens. Each pass brings one more from the model, so the exponent is "
            "$k + 1$.": {"gain": max(_drafted_alone(0.8, 0.05, ahead) for ahead in range(1, 40))},
            "One drafted token does pay with the poor draft: it adds $\\alpha = 0.5$ tokens and costs 0.3.": {
                "k, poor": 0,
                "gain, poor": 1.0,
            },
            "With two ahead the poor draft gains less than with one: the second token is kept in a quarter of the "
            "cases, and costs as much as the first.": {"k, poor": 2, "gain, poor": _gain(0.5, 0.3, 2)},
        },
        tolerance=0.006,
        why="If $\\kappa \\ge \\alpha$, the first drafted token costs more than it adds, and further ones add less.",
    ),
    "ex-gen-places": Numbers(
        right={"as they come": 5 / (9 - 8 / 256), "known": 1},
        wrong={
            "That is $5/9$, as if every batch had a long answer. One in 256 has none.": {"as they come": 5 / 9},
            "That is for two places: of two answers the longer one has 7 tokens in the mean.": {"as they come": 5 / 7},
            "That formula is of answers that may end at any token alike. These have 1 or 9.": {
                "as they come": 1 / sum(1 / n for n in range(1, 9))
            },
            "Put together by length, all answers of a batch end at the same step, so no place waits.": {
                "known": 5 / (9 - 8 / 256)
            },
        },
        tolerance=0.0008,
        why="Nobody knows the lengths beforehand, and continuous batches need not know them.",
    ),
    "ex-gen-bug": Numbers(
        right={"first token": 0.74},
        wrong={
            "That is $p$, what the *right* rule gives. The plain draw brings the second token back in.": {
                "first token": 0.8
            },
            "That is what is kept. In the 0.3 that is refused something is drawn again.": {"first token": 0.5},
            "You drew again from the draft. The colleague draws from $p$.": {"first token": 0.65},
            "A drafted *second* token is refused with 0.6. It is drafted only half of the time, so that makes 0.3.": {
                "first token": 0.5 + 0.6 * 0.8
            },
        },
        tolerance=0.003,
        why="$0.5 + 0.3\\cdot 0.8$: the law leans towards the draft, and only at a temperature above 0.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-gen-draft-heat": "which temperature is best depends on the two trained models, and it asks for a reason"
}
