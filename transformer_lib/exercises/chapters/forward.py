"""What `book.check` knows of the exercises of `chapters/forward.ipynb`."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.scratch import forward
from transformer_lib.scratch.pencil import CONFIG, pencil_weights

PLACE = "blocks.0."


# Changes that leave the logits as they were --------------------------------------------------------------------------


def _has(number: int) -> Any:
    return lambda chosen: number in _chosen(chosen)


def _lacks(number: int) -> Any:
    return lambda chosen: number not in _chosen(chosen)


def _chosen(numbers: Iterable[Any]) -> set[int]:
    return {int(number) for number in numbers}


# Two texts in one row ------------------------------------------------------------------------------------------------

_TEXT = np.array([0, 0, 0, 1, 1])
_SAME = _TEXT[:, None] == _TEXT
_CAUSAL = np.tri(5, dtype=bool)


def _as_mask(answer: Any) -> np.ndarray:
    return np.asarray(answer).astype(bool)


# The whole pass of another model -------------------------------------------------------------------------------------


def _stages() -> dict[str, np.ndarray]:
    """The stages of `b 5 5 a` in the model with shuffled maps, by their names within the block."""
    weights = pencil_weights()
    name = f"{PLACE}attention.to_qkv.weight"
    weights[name] = np.roll(weights[name], 4, axis=0)
    found = forward(CONFIG, weights, np.array([1, 3, 3, 0]))
    return {name.removeprefix(PLACE): array for name, array in found.items()}


def _agrees(*names: str) -> Any:
    return lambda answer: all(np.allclose(answer[name], _stages()[name], rtol=0, atol=1e-8) for name in names)


def _spoiled(name: str, array: Any) -> dict[str, np.ndarray]:
    return _stages() | {name: array}


def _wrong_passes() -> list[Any]:
    right = _stages()
    unturned = np.split(right["attention.to_qkv"], 3, axis=-1)[0].reshape(4, 2, 2).swapaxes(0, 1)
    powers = np.exp(right["attention.scores"])
    missing = {name: array for name, array in right.items() if name != "final_norm"}
    return [
        missing,
        _spoiled("attention.q", unturned),
        _spoiled("attention.weights", np.tril(powers / powers.sum(axis=-1, keepdims=True))),
        _spoiled("attention.out", right["attention.heads"].reshape(4, 4)),
        _spoiled("feedforward_sum", right["feedforward_norm"] + right["feedforward.out"]),
        _spoiled("logits", right["feedforward_sum"]),
    ]


EXERCISES: dict[str, Exercise] = {
    "ex-forward-first": Numbers(
        right={"channel 0": 9 / 16, "channel 1": 9 / 16, "channel 2": 15 / 16, "channel 3": -11 / 16},
        wrong={
            "You made the values from the embedding. Attention reads the *normalised* row, which is twice as large.": {
                "channel 0": 17 / 32,
                "channel 1": 17 / 32,
                "channel 2": 23 / 32,
                "channel 3": -19 / 32,
            },
            "You added to the normalised row. With pre-norm the stream keeps the row as it was before the norm.": {
                "channel 0": 17 / 16,
                "channel 1": 17 / 16,
                "channel 2": 23 / 16,
                "channel 3": -19 / 16,
            },
            "That is what attention writes. The stream holds the embedding as well.": {
                "channel 0": 1 / 16,
                "channel 1": 1 / 16,
                "channel 2": 7 / 16,
                "channel 3": -3 / 16,
            },
            "You added the joined heads. They go through $W_O$ first.": {
                "channel 0": 5 / 4,
                "channel 1": 3 / 4,
                "channel 2": 1 / 4,
                "channel 3": -3 / 4,
            },
        },
        tolerance=0.0001,
        why="One key has the weight 1 whatever its score, and the angle at position 0 is 0.",
    ),
    "ex-forward-predict": Made(
        laws={
            "1 belongs to them: heads are computed apart and meet only in the sum over the rows of $W_O$.": _has(1),
            "2 changes them: a score depends on the difference of the two angles, and only the keys were turned.": (
                _lacks(2)
            ),
            "3 belongs to them: queries and keys were turned alike, so the differences of angles stay.": _has(3),
            "4 changes them. The norm hides the factor from attention, but the stream itself is ten times as large, "
            "and what the parts add to it is not.": _lacks(4),
            "5 belongs to them: a score is a product of both, and $2\\cdot\\tfrac12 = 1$.": _has(5),
        },
        example=lambda: [1, 3, 5],
        wrong=lambda: [[3, 5], [1, 2, 3, 5], [1, 5], [1, 3, 4, 5], [1, 3]],
        why="Three changes are taken out again by a later stage; 2 and 4 are not.",
    ),
    "ex-forward-find": Made(
        laws={
            "The heads are right, each a mean of its own values. Look at what is done with them next.": (
                lambda pair: str(pair[0]).removeprefix(PLACE) != "attention.heads"
            ),
            "That stage is wrong too, but not first: it only hands on what came to it.": (
                lambda pair: str(pair[0]).removeprefix(PLACE) == "attention.out"
            ),
            "The stage is right. But the law *alone* looks at the heads, before they are joined, and there all is "
            "well.": lambda pair: pair[1] != "alone",
            "The stage is right. But the loss is harmless, so *uniform* is silent. Which law compares two lengths?": (
                lambda pair: pair[1] == "prefix"
            ),
        },
        example=lambda: ("attention.out", "prefix"),
        wrong=lambda: [
            ("attention.heads", "prefix"),
            ("logits", "prefix"),
            ("attention.out", "alone"),
            ("attention.out", "uniform"),
        ],
        why="Row 0 of the joined array holds head 0 of positions 0 and 1, so the future leaks in.",
    ),
    "ex-forward-share": Numbers(
        right={"embedding": 1.2545, "attention": 0.4925, "feed-forward": 0.0229},
        wrong={
            "You normalised each row by its own size, so the shares no longer add up to the logit. All three are "
            "divided by the size of their *sum*.": {"embedding": 2, "attention": 1.7064, "feed-forward": 0.0585},
            "The final norm is missing: divide by the root mean square of the last stream.": {
                "embedding": 1,
                "attention": 0.3926,
                "feed-forward": 0.0183,
            },
            "You divided by the length of the row. The norm takes the root of the *mean* of the squares.": {
                "embedding": 0.6272,
                "attention": 0.2462,
                "feed-forward": 0.0115,
            },
            "Those are the shares at position 2. Position 1 reads `3`.": {
                "embedding": 0,
                "attention": 0.436,
                "feed-forward": -0.0745,
            },
        },
        tolerance=0.001,
        why="The rows of $E$ are orthonormal, so the embedding speaks for its own token alone, and loudest.",
    ),
    "ex-forward-packed": Made(
        laws={
            "The mask has a row for each of the five queries and a column for each of the five keys.": (
                lambda mask: _as_mask(mask).shape == (5, 5)
            ),
            "Your mask says `True` where a query may *not* look. In this book `True` means may look.": (
                lambda mask: not np.array_equal(_as_mask(mask), ~(_CAUSAL & _SAME))
            ),
            "Somebody looks ahead: no pair above the diagonal may be allowed.": lambda mask: (
                not (_as_mask(mask) & ~_CAUSAL).any()
            ),
            "`5 b` reads `a 3 a`. The mask must be causal *and* keep to the same text.": lambda mask: (
                not (_as_mask(mask) & ~_SAME).any()
            ),
            "A token may look at itself.": lambda mask: _as_mask(mask).diagonal().all(),
            "A pair within a text is missing.": lambda mask: np.array_equal(_as_mask(mask), _CAUSAL & _SAME),
        },
        example=lambda: _CAUSAL & _SAME,
        wrong=lambda: [
            np.tri(3, dtype=bool),
            ~(_CAUSAL & _SAME),
            _SAME,
            _CAUSAL,
            _CAUSAL & _SAME & ~np.eye(5, dtype=bool),
            np.eye(5, dtype=bool),
        ],
        why="With rotary positions only distances within a text count, so the second text need not begin at 0.",
    ),
    "ex-forward-beta": Numbers(
        right={"slope at 0": 0.2912, "best sharpness": -0.73},
        wrong={
            "You summed over the three positions. The loss is their mean.": {"slope at 0": 0.8736},
            "The slope has the other sign: the loss is the log-sum-exp *minus* the target's logit.": {
                "slope at 0": -0.2912
            },
            "The figure begins at 0, and the curve rises there. So look on the other side.": {"best sharpness": 0},
            "The sign is wrong: the loss rises at 0, so it falls to the left.": {"best sharpness": 0.73},
        },
        tolerance=0.006,
        why="The slope at 0 is positive and the loss convex, so the best sharpness is negative.",
    ),
    "ex-forward-variant": Made(
        laws={
            "A stage is missing; `report(mine)` names it.": lambda answer: set(_stages()) <= set(answer),
            "`attention.q` or `attention.k`: is the turn forgotten, or does it go the other way?": _agrees(
                "embedding", "attention_norm", "attention.to_qkv", "attention.q", "attention.k", "attention.v"
            ),
            "`attention.weights`: the mask comes before the softmax, so the rows must sum to 1.": _agrees(
                "attention.scores", "attention.weights"
            ),
            "`attention.out`: exchange the axes of heads and positions before you join, then multiply by $W_O$.": (
                _agrees("attention.heads", "attention.out")
            ),
            "`feedforward_sum`: what the part writes is added to the stream, not to the normalised row.": _agrees(
                "attention_sum",
                "feedforward_norm",
                "feedforward.to_hidden",
                "feedforward.activated",
                "feedforward.out",
                "feedforward_sum",
            ),
            "`logits`: norm the last stream, then compare it with each row of $E$.": _agrees("final_norm", "logits"),
        },
        example=_stages,
        wrong=_wrong_passes,
        why="All 18 stages of another model, from the formulas alone.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
