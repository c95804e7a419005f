"""What `book.check` knows of the exercises of `chapters/attention.ipynb`."""

import math
from typing import Any

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

IT, HUNGRY = torch.tensor([1.0, 0, 2, 0, 0]), torch.tensor([0.0, 0, 0, 2, 0])


# Two words that score in one direction alone -------------------------------------------------------------------------


def _score(matrices: Any, query: Tensor, key: Tensor) -> float:
    w_q, w_k = (torch.as_tensor(matrix).float() for matrix in matrices)
    return float((query @ w_q) @ (key @ w_k))


def _reads(place: int, factor: float) -> Tensor:
    column = torch.zeros(5, 1)
    column[place] = factor
    return column


# Faults that a test should find --------------------------------------------------------------------------------------


def _right_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.T / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


def _formula_a(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.T / math.sqrt(q.shape[-1])).softmax(dim=0) @ v


def _formula_b(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.T).softmax(dim=-1) / math.sqrt(q.shape[-1])) @ v


def _qk() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 6, 8, generator=generator)
    return q, k


def _ones_stay(formula: Any) -> bool:
    ones = torch.ones(6, 8)
    return bool(formula(*_qk(), ones).allclose(ones))


def _has_the_shape(formula: Any) -> bool:
    return formula(*_qk(), torch.ones(6, 8)).shape == (6, 8)


def _sums_of_columns(formula: Any) -> bool:
    return bool(formula(*_qk(), torch.eye(6)).sum(dim=0).allclose(torch.ones(6)))


def _is_a_mean(formula: Any) -> bool:
    return bool((formula(*_qk(), torch.ones(6, 8)) <= 1 + 1e-6).all())


# Programs answered by matrices that were chosen by hand --------------------------------------------------------------


def _answers(matrices: Any, program: str) -> float:
    """What one head without a scale answers at the last statement; the value is what a statement hands over."""
    w_q, w_k = (torch.as_tensor(matrix).double() for matrix in matrices[:2])
    rows = [
        [text[0] == "a", text[0] == "b", text[1] == "?", 0 if text[1] == "?" else int(text[2]), place]
        for place, text in enumerate(program.split())
    ]
    x = torch.tensor(rows, dtype=torch.float64)[:, : len(w_q)]
    return float(((x[-1] @ w_q) @ (x @ w_k).T).softmax(dim=-1) @ torch.tensor(rows, dtype=torch.float64)[:, 3])


def _gives(program: str, value: int) -> Any:
    return lambda matrices: abs(_answers(matrices, program) - value) < 1e-10


def _by_name(sharpness: float, penalty: float) -> tuple[Tensor, Tensor]:
    w_q, w_k = sharpness * torch.eye(5, 2), torch.eye(5, 2)
    w_k[2] = -penalty
    return w_q, w_k


def _only_a() -> tuple[Tensor, Tensor]:
    w_q, w_k = _by_name(40.0, 1.0)
    w_q[1] = w_k[1] = 0.0
    return w_q, w_k


def _by_place() -> tuple[Tensor, Tensor]:
    """Right for the two programs of the text: `a` looks at place 0, and `b` at place 1."""
    w_q, w_k = torch.zeros(2, 5, 1)
    w_q[0], w_q[1], w_k[4], w_k[2] = -400.0, 400.0, 1.0, -1.5
    return w_q, w_k


def _latest(name: float, bonus: float, penalty: float) -> tuple[Tensor, Tensor]:
    w_q, w_k = torch.zeros(2, 5, 3)
    w_q[0, 0] = w_q[1, 1] = name
    w_q[2, 2] = bonus
    w_k[0, 0] = w_k[1, 1] = w_k[4, 2] = 1.0
    w_k[2, :2] = -penalty
    return w_q, w_k


# Shared heads of keys and values -------------------------------------------------------------------------------------


def _grouped(
    x: Tensor, *weights: Tensor, repeat: str = "interleave", scale: float | None = None, dim: int = -1
) -> Tensor:
    """Four query heads over two heads of keys and values; what is given by name makes the known mistakes."""
    w_q, w_k, w_v, w_o = weights
    q, k, v = ((x @ w).unflatten(-1, (-1, 16)).transpose(1, 2) for w in (w_q, w_k, w_v))
    if repeat == "interleave":
        k, v = (part.repeat_interleave(2, dim=1) for part in (k, v))
    else:
        k, v = (part.repeat(1, 2, 1, 1) for part in (k, v))
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    return (scores.softmax(dim=dim) @ v).transpose(1, 2).flatten(2) @ w_o


def _heads_of_time(x: Tensor, *weights: Tensor) -> Tensor:
    w_q, w_k, w_v, w_o = weights
    batch, time, _ = x.shape
    q, k, v = ((x @ w).reshape(batch, -1, time, 16) for w in (w_q, w_k, w_v))
    k, v = (part.repeat_interleave(2, dim=1) for part in (k, v))
    return ((q @ k.mT / 4).softmax(dim=-1) @ v).transpose(1, 2).flatten(2) @ w_o


def _grouped_cases() -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shapes = [(1, 2), (1, 5), (2, 6)]
    maps = [drawn(64, width) / 8 for width in (64, 32, 32, 64)]
    return [[drawn(batch, time, 64), *maps] for batch, time in shapes]


EXERCISES: dict[str, Exercise] = {
    "ex-allowed-pairs": Numbers(
        right={"causal": 36, "with a window": 21, "with padding": 15},
        wrong={
            "$T(T-1)/2$ leaves the diagonal out, but a position may look at itself.": {"causal": 28},
            "That is every pair. A causal mask forbids the upper triangle.": {"causal": 64},
            "$wT$ counts keys before the first: the query at position 0 has only itself.": {"with a window": 24},
            "A window of $w$ has $w$ keys with the position itself among them, and not $w$ more behind it.": {
                "with a window": 26
            },
            "You took the first three rows off. Padding hides *keys*, so three columns go; the rows of those queries "
            "are empty anyway.": {"with padding": 30},
            "Five of eight positions are real, but $5\\cdot 5$ lets them look ahead.": {"with padding": 25},
        },
        why="Row $t$ has $t + 1$ keys; a window cuts it off at $w$, padding takes columns away.",
    ),
    "ex-sharpness": Numbers(
        right={"n = 2": math.log(9), "n = 1000": math.log(9 * 999)},
        wrong={
            "That is the sharpness for two keys; with a thousand, 999 others take part.": {"n = 1000": math.log(9)},
            "You divided by the $n - 1$ others alone. The matching key stands in the sum too: its weight is "
            "$e^\\beta/(e^\\beta + n - 1)$.": {"n = 2": math.log(0.9), "n = 1000": math.log(0.9 * 999)},
            "There are $n - 1$ keys beside the matching one, and not $n$.": {
                "n = 2": math.log(18),
                "n = 1000": math.log(9000),
            },
            "That is the logarithm to the base 10. The exponential of the softmax has the base $e$.": {
                "n = 2": math.log10(9),
                "n = 1000": math.log10(9 * 999),
            },
        },
        tolerance=0.005,
        why="$\\beta = \\log(9(n - 1))$: five hundred times the keys need only four times the sharpness.",
    ),
    "ex-one-way": Made(
        laws={
            "Both matrices must be $5\\times 1$.": lambda pair: (
                all(torch.as_tensor(matrix).shape == (5, 1) for matrix in pair) and len(pair) == 2
            ),
            "You have the directions exchanged: the first matrix makes queries, and *hungry* is to ask.": lambda pair: (
                abs(_score(pair, IT, HUNGRY) - 10) > 1e-4
            ),
            "*It* scores something with *hungry*. Let $W_Q$ read only what *it* has nothing of.": lambda pair: (
                abs(_score(pair, IT, HUNGRY)) < 1e-4
            ),
            "*Hungry* scores 0 with *it*: one of your matrices reads a number that both words lack.": lambda pair: (
                abs(_score(pair, HUNGRY, IT)) > 1e-4
            ),
            "The direction is right, but the score is not 10. The state and the stand-in are 2 and not 1, so the "
            "factors count four times.": lambda pair: abs(_score(pair, HUNGRY, IT) - 10) < 1e-4,
        },
        example=lambda: (_reads(3, 5.0), _reads(2, 0.5)),
        wrong=lambda: [
            (torch.eye(5), torch.eye(5)),
            (_reads(2, 0.5), _reads(3, 5.0)),
            (_reads(3, 5.0) + _reads(2, 1.0), _reads(2, 0.5) + _reads(3, 1.0)),
            (_reads(1, 5.0), _reads(2, 0.5)),
            (_reads(3, 10.0), _reads(2, 1.0)),
        ],
        why="Two different maps make the score one of a direction.",
    ),
    "ex-attention-faults": Function(
        right=_ones_stay,
        wrong={
            "All three have the right shape. A test of the shape finds neither.": _has_the_shape,
            "The columns of the right weights need not sum to 1, and those of A do.": _sums_of_columns,
            "B passes: its outputs are too small, and you only ask that they be no larger than 1.": _is_a_mean,
        },
        cases=lambda: [[_right_formula], [_formula_a], [_formula_b]],
        properties={
            "The right formula fails your test.": lambda test, formula: formula is not _right_formula or test(formula),
            "A passes your test: what becomes of an output if the weights of its row sum to something else?": (
                lambda test, formula: formula is not _formula_a or not test(formula)
            ),
            "B passes your test: its rows sum to $1/\\sqrt d$.": lambda test, formula: (
                formula is not _formula_b or not test(formula)
            ),
        },
        why="A weighted mean of ones is one, whatever the queries are.",
    ),
    "ex-lookup-by-hand": Made(
        laws={
            "`a=3 b=5 a?` must give 3. With 1.5 the question finds itself, and its value 0 takes half.": _gives(
                "a=3 b=5 a?", 3
            ),
            "`a=3 b=5 b?` must give 5. The matrices read `a` and not `b`.": _gives("a=3 b=5 b?", 5),
            "`b=5 a=3 a?` must give 3: you read the place and not the name.": _gives("b=5 a=3 a?", 3),
        },
        example=lambda: _by_name(40.0, 1.0),
        wrong=lambda: [_by_name(40.0, 0.0), _only_a(), _by_place()],
        why="The key of a question is pushed away from every name, so nobody finds it.",
    ),
    "ex-latest": Made(
        laws={
            "`a=3 b=5 a?` must still give 3: the bonus for a late position makes up for a wrong name.": _gives(
                "a=3 b=5 a?", 3
            ),
            "`a=3 b=5 a=1 a?` must give 1. With 2 the two assignments weigh the same: later ones need a bonus.": _gives(
                "a=3 b=5 a=1 a?", 1
            ),
            "Right for four statements, not for twenty: the bonus of the whole length must stay below the penalty "
            "for a wrong name.": _gives("a=3 " + "b=5 " * 18 + "a?", 3),
        },
        example=lambda: _latest(4000.0, 30.0, 2.0),
        wrong=lambda: [_latest(40.0, 300.0, 2.0), _latest(4000.0, 0.0, 2.0), _latest(200.0, 30.0, 2.0)],
        why="The name decides first, and the position among those of the right name.",
    ),
    "ex-grouped": Function(
        right=_grouped,
        wrong={
            "`repeat` puts the heads in the wrong order: query heads 0 and 2 share, where 0 and 1 should. Use "
            "`repeat_interleave`.": lambda *given: _grouped(*given, repeat="blocks"),
            "The scale is missing: divide the scores by $\\sqrt{d_k}$.": lambda *given: _grouped(*given, scale=1.0),
            "You divide by $\\sqrt d$, the width of the stream. The scores are sums over $d_k = 16$ products.": (
                lambda *given: _grouped(*given, scale=1 / 8)
            ),
            "The softmax runs over the queries. It belongs along the keys, `dim=-1`.": lambda *given: _grouped(
                *given, dim=-2
            ),
            "The heads are slices of time: split the width, then transpose.": _heads_of_time,
        },
        cases=_grouped_cases,
        properties={
            "The output must have the shape of $X$.": lambda function, x, *maps: function(x, *maps).shape == x.shape,
            "Each sequence of the batch must be handled alone.": lambda function, x, *maps: torch.allclose(
                function(x, *maps)[:1], function(x[:1], *maps)
            ),
        },
        tolerance=1e-8,
        why="Query heads 0 and 1 read head 0 of keys and values, 2 and 3 read head 1.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-causal-order": "it asks for a prediction and its reason",
    "ex-read-heads": "it asks for a prediction and its reason",
}
