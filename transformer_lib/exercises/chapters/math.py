"""What `book.check` knows of the exercises of `chapters/math.ipynb`."""

import math

import numpy as np
from numpy.typing import NDArray

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

ROOT_MEAN_SQUARE = math.sqrt(12.5)  # of (3, 4)


# The weight that `3` gives to `a`, with equal queries and keys -------------------------------------------------------


def _weight(other: float, itself: float = 5 / 16, scale: float = math.sqrt(2)) -> float:
    return 1 / (1 + math.exp((itself - other) / scale))


def _turned(real: float, imaginary: float, angle: float = 1.0) -> float:
    return real * math.cos(angle) - imaginary * math.sin(angle)


# Attention without queries, keys and values --------------------------------------------------------------------------


def _turn(angle: int | float) -> NDArray[np.float64]:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def _fold(
    n: NDArray[np.float64],
    *maps: NDArray[np.float64],
    direction: int = 1,
    scale: float = math.sqrt(2),
    columns: bool = False,
    sees_all: bool = False,
    heads: int = 2,
) -> NDArray[np.float64]:
    """What attention adds to the stream; what is given by name makes the known mistakes."""
    w_q, w_k, w_v, w_o = maps
    out = np.zeros(n.shape)
    for h in range(heads):
        own = slice(2 * h, 2 * h + 2)
        writes = w_v[:, own] @ (w_o[:, own].T if columns else w_o[own])
        for t in range(len(n)):
            seen = range(len(n) if sees_all else t + 1)
            compares = [w_q[:, own] @ _turn(direction * (t - s)) @ w_k[:, own].T for s in seen]
            powers = np.exp([n[t] @ pair @ n[s] / scale for s, pair in zip(seen, compares, strict=True)])
            out[t] += powers / powers.sum() @ n[: len(seen)] @ writes
    return out


def _fold_cases() -> list[list[NDArray[np.float64]]]:
    generator = np.random.default_rng(0)
    return [[generator.normal(size=(length, 4)), *generator.normal(size=(4, 4, 4))] for length in (1, 2, 4)]


EXERCISES: dict[str, Exercise] = {
    "ex-math-pencil": Numbers(
        right={"weight": _weight(_turned(3 / 16, 1 / 4))},
        wrong={
            "That is the weight with the old $W_K$. The keys are now equal to the queries.": {"weight": 0.41286},
            "You turned the wrong way: `3` stands *after* `a`, so $q\\bar k$ is turned by $e^{+\\mathrm i}$.": {
                "weight": _weight(_turned(3 / 16, -1 / 4))
            },
            "You multiplied by $k$ itself. One of the two factors is conjugated.": {
                "weight": _weight(_turned(-5 / 16, 0.0))
            },
            "The scores are not divided by $\\sqrt{d_k} = \\sqrt2$.": {
                "weight": _weight(_turned(3 / 16, 1 / 4), scale=1.0)
            },
            "You left the turn out: `3` and `a` are one step apart.": {"weight": _weight(3 / 16)},
            "That is the weight that `3` gives to itself.": {"weight": 1 - _weight(_turned(3 / 16, 1 / 4))},
        },
        tolerance=0.0001,
        why="Only the difference of the two scores counts, $-0.0771 - 0.2210$.",
    ),
    "ex-math-norm": Numbers(
        right={
            "n, channel 0": 3 / ROOT_MEAN_SQUARE,
            "n, channel 1": 4 / ROOT_MEAN_SQUARE,
            "J, 0 0": 0.64 / ROOT_MEAN_SQUARE,
            "J, 0 1": -0.48 / ROOT_MEAN_SQUARE,
            "J, 1 0": -0.48 / ROOT_MEAN_SQUARE,
            "J, 1 1": 0.36 / ROOT_MEAN_SQUARE,
        },
        wrong={
            "You divided by the length, 5. The root of the *mean* square is smaller by $\\sqrt d$.": {
                "n, channel 0": 0.6,
                "n, channel 1": 0.8,
            },
            "That is LayerNorm: it takes the mean off. RMSNorm only divides.": {"n, channel 0": -1, "n, channel 1": 1},
            "That is the bracket. The Jacobian has the factor $1/r$ in front of it.": {"J, 0 0": 0.64, "J, 1 1": 0.36},
            "You forgot to divide $n_i n_j$ by $d$: the bracket then removes the part along $x$ twice.": {
                "J, 0 0": 0.28 / ROOT_MEAN_SQUARE,
                "J, 1 1": -0.28 / ROOT_MEAN_SQUARE,
            },
            "Beside the diagonal $\\delta_{ij}$ is 0, so the entry is *minus* $n_i n_j/d$, over $r$.": {
                "J, 0 1": 0.48 / ROOT_MEAN_SQUARE,
                "J, 1 0": 0.48 / ROOT_MEAN_SQUARE,
            },
            "The diagonal is exchanged: the channel of 3 has $1 - 0.36$, not $0.36$.": {
                "J, 0 0": 0.36 / ROOT_MEAN_SQUARE,
                "J, 1 1": 0.64 / ROOT_MEAN_SQUARE,
            },
        },
        tolerance=0.001,
        why="Applied to $(3, 4)$ the Jacobian gives 0: the direction of $x$ does not come through.",
    ),
    "ex-math-variance": Numbers(
        right={
            "variance, 1": 128,
            "variance, 1/3": 128 / 9,
            "entropy, 1": math.log(1000) - 1 / 2,
            "entropy, 1/3": math.log(1000) - 1 / 18,
        },
        wrong={
            "Both factors bring a third, so a product has variance $\\tfrac19$ and not $\\tfrac13$.": {
                "variance, 1/3": 128 / 3
            },
            "Those are standard deviations. The variance is what adds up over the 128 products.": {
                "variance, 1": math.sqrt(128),
                "variance, 1/3": math.sqrt(128) / 3,
            },
            "That is the entropy of equal weights. Scores that vary take $\\tfrac12\\sigma^2$ off.": {
                "entropy, 1": math.log(1000),
                "entropy, 1/3": math.log(1000),
            },
            "You took $\\sigma^2$ off. The law has $\\tfrac12\\sigma^2$.": {
                "entropy, 1": math.log(1000) - 1,
                "entropy, 1/3": math.log(1000) - 1 / 9,
            },
            "After the scale, $\\sigma^2$ of the second layer is $\\tfrac19$ and not $\\tfrac13$.": {
                "entropy, 1/3": math.log(1000) - 1 / 6
            },
            "The law wants the variance of the *scaled* scores. Unscaled, it has failed long before.": {
                "entropy, 1": math.log(1000) - 64
            },
        },
        tolerance=0.006,
        why="The default initialisation leaves a head nearly even at the start.",
    ),
    "ex-math-turn": Numbers(
        right={"change of the length": 0, "offset": 44, "score": math.cos(44)},
        wrong={
            "A turn keeps every length, however large its angle is.": {"change of the length": 1000},
            "The score is a cosine, and comes back to nearly 1 after each full turn: look beyond the neighbour.": {
                "offset": 1,
                "score": math.cos(1),
            },
            "One full turn is $6.28$ steps, and 6 misses it by $0.28$. After more turns a whole number comes nearer.": {
                "offset": 6
            },
            "25 is near to four turns, $25.13$. Another offset below 61 is nearer to a whole number of turns.": {
                "offset": 25
            },
            "22 is nearly $7\\pi$: three and a *half* turns, where the score is lowest.": {"offset": 22},
        },
        tolerance=0.0005,
        why="One clock hand cannot tell 44 steps from none; slower pairs can.",
    ),
    "ex-math-fold": Function(
        right=_fold,
        wrong={
            "You took the head's *columns* of $W_O$. A head owns *rows* of it, since $W_O$ stands on the right.": (
                lambda *given: _fold(*given, columns=True)
            ),
            "The turn $R_{t-s}$ is missing between $W_Q$ and $W_K^\\top$.": lambda *given: _fold(*given, direction=0),
            "You turned by $s - t$. It is $R_t R_s^\\top = R_{t-s}$.": lambda *given: _fold(*given, direction=-1),
            "Positions look ahead. Only $s \\le t$ may be seen.": lambda *given: _fold(*given, sees_all=True),
            "The scores are not divided by $\\sqrt{d_k}$.": lambda *given: _fold(*given, scale=1.0),
            "You divided by $\\sqrt d = 2$. A head is only $d_k = 2$ wide, which makes $\\sqrt 2$.": (
                lambda *given: _fold(*given, scale=2.0)
            ),
            "Head 1 is missing: the output is the sum over both heads.": lambda *given: _fold(*given, heads=1),
        },
        cases=_fold_cases,
        properties={
            "The output must have a row of four for each position.": lambda fold, n, *maps: (
                fold(n, *maps).shape == n.shape
            ),
            "The first position sees only itself, so its row must not change when the others do.": (
                lambda fold, n, *maps: np.allclose(fold(n, *maps)[0], fold(n[:1], *maps)[0])
            ),
        },
        tolerance=1e-8,
        why="A head is one matrix for each offset that compares, and one that writes.",
    ),
    "ex-math-fault": Made(
        laws={
            "Give three lists, one for each function: the numbers of the checks that find its fault.": lambda found: (
                len(found) == 3 and all(set(checks) <= {1, 2, 3} for checks in found)
            ),
            "`first_try` shares out each *column*. Its first row holds one number and two zeros: is that number 1?": (
                lambda found: set(found[0]) == {1, 2, 3}
            ),
            "`second_try` masks after the softmax: what the hidden positions had is lost, so what "
            "do the first two rows sum to?": lambda found: set(found[1]) == {1, 2, 3},
            "`third_try` only changes the temperature. Weights sum to 1 at any temperature, and an item alone gets "
            "everything; what is left that can tell?": lambda found: set(found[2]) == {3},
        },
        example=lambda: [[1, 2, 3], [1, 2, 3], [3]],
        wrong=lambda: [
            [[1, 2, 3], [3]],
            [[1, 3], [1, 2, 3], [3]],
            [[1, 2, 3], [2, 3], [3]],
            [[1, 2, 3], [1, 2, 3], [2, 3]],
        ],
        why="A property says what is wrong, and a number from elsewhere finds what no property sees.",
    ),
    "ex-math-causal": Numbers(
        right={"power": 1},
        wrong={
            "That is the law without a mask. Which of its steps needs that all positions see the same?": {"power": 3},
            "The weights of two rows do not differ by $\\rho$ here, they differ by a constant: some rows are longer.": {
                "power": 2
            },
            "Weights that differ do not make differences by themselves: if all rows of $X$ are the same, so are their "
            "means.": {"power": 0},
        },
        tolerance=0.05,
        why="Under a causal mask even equal scores give each row another mean.",
    ),
    "ex-math-floor": Numbers(
        right={"loss": math.log(1 + 3 * math.exp(-4 / math.sqrt(3)))},
        wrong={
            "You gave the right token all of the length. It pays to push the wrong logits below zero.": {
                "loss": math.log(1 + 3 * math.exp(-2))
            },
            "The loss nears 0 only if the logits may grow. Here their squares sum to 4.": {"loss": 0},
            "Logits of 2 and three times $-2$ have squares that sum to 16, not to 4.": {
                "loss": math.log(1 + 3 * math.exp(-4))
            },
            "That is a guess, with equal logits.": {"loss": math.log(4)},
        },
        tolerance=0.0005,
        why="The right logit is $\\sqrt3$ and the wrong ones are $-1/\\sqrt3$.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
