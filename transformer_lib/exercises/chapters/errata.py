"""What `book.check` knows of the exercises of `chapters/errata.ipynb`."""

import math
from typing import Any

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers


def _matrix(answer: Any) -> Tensor:
    return torch.as_tensor(answer).double()


def _gap(answer: Any) -> float:
    weights = _matrix(answer).softmax(dim=-1)
    return float((weights - weights.T).abs().max())


def _at_logits(p: Tensor, y: Tensor) -> Tensor:
    return (p - y) @ (torch.diag(p) - torch.outer(p, p))


def _predictions() -> list[list[Tensor]]:
    rows = [([0.3, 0.7], [1, 0]), ([0.5, 0.3, 0.2], [0, 1, 0]), ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1])]
    return [[torch.tensor(p).double(), torch.tensor(y).double()] for p, y in rows]


EXERCISES: dict[str, Exercise] = {
    "ex-errata-heads": Numbers(
        right={"parameters": 1, "operations": 1},
        wrong={
            "The sentence would be right if each head were as wide as the stream. The width is divided among them.": {
                "parameters": 8,
                "operations": 8,
            },
            "Eight matrices of an eighth of the columns hold as many parameters as one.": {"parameters": 8},
            "Eight times the scores, each a sum of an eighth of the products: as many operations.": {"operations": 8},
            "A head has an eighth of the parameters, but there are eight of them.": {"parameters": 0.125},
        },
        tolerance=0.001,
        why="What does grow with the heads is the number of attention weights.",
    ),
    "ex-errata-symmetric": Made(
        laws={
            "Scores of a text with itself are a square matrix, of two rows or more.": lambda scores: (
                _matrix(scores).ndim == 2 and _matrix(scores).shape[0] == _matrix(scores).shape[1] > 1
            ),
            "The scores themselves are not symmetric. The case most favourable to the claim is wanted.": (
                lambda scores: torch.allclose(_matrix(scores), _matrix(scores).T)
            ),
            "Here the weights are symmetric as well: the exponentials of all rows have the same sum. Let one position "
            "have more good matches than another.": lambda scores: _gap(scores) > 1e-4,
        },
        example=lambda: [[0.0, 2.0, 2.0], [2.0, 0.0, 0.0], [2.0, 0.0, 0.0]],
        wrong=lambda: [torch.ones(2, 3), [[0.0, 1.0], [2.0, 0.0]], torch.eye(3)],
        why="Two positions share a score, but not the sum of a row.",
    ),
    "ex-errata-difference": Function(
        right=_at_logits,
        wrong={
            "That is the gradient at the *probabilities*. The softmax lies between them and the logits.": (
                lambda p, y: p - y
            ),
            "You took the diagonal of the softmax's Jacobian alone. A logit changes all probabilities, as they sum to "
            "1.": lambda p, y: p * (1 - p) * (p - y),
            "The mean is still to be taken off: $p_j\\big((p - y)_j - \\sum_i p_i (p - y)_i\\big)$.": lambda p, y: (
                p * (p - y)
            ),
            "The factor $\\tfrac12$ of the loss cancels the 2 of the square.": lambda p, y: 2 * _at_logits(p, y),
            "The sign: the loss grows with $p - y$, not with $y - p$.": lambda p, y: -_at_logits(p, y),
        },
        cases=_predictions,
        properties={
            "A constant added to all logits changes nothing, so the gradient must sum to 0.": lambda f, p, y: (
                abs(float(torch.as_tensor(f(p, y)).sum())) < 1e-8
            ),
        },
        tolerance=1e-8,
        why="Near a corner the Jacobian is almost 0: sure and wrong, this loss learns almost nothing.",
    ),
    "ex-errata-square": Numbers(
        right={"T/d": 2},
        wrong={
            "There the doubled text costs $8/3$ times as much: $4(d + T)/(2d + T)$ with $T = d$.": {"T/d": 1},
            "You have the two terms exchanged: projections cost $8Td^2$ and pairs $4T^2d$.": {"T/d": 0.5},
            "You counted the scores alone. The weighted means of the values cost as much again.": {"T/d": 4},
        },
        tolerance=0.001,
        why="Where pairs and projections cost the same, doubling gives $(2 + 4)/2$.",
    ),
    "ex-errata-perplexity": Numbers(
        right={"A": math.log2(50) / 4.5, "B": math.log2(30) / 3.5},
        wrong={
            "Those are nats per byte. A bit is $\\ln 2$ nats.": {"A": math.log(50) / 4.5, "B": math.log(30) / 3.5},
            "Those are bits per *token*. Divide by the bytes that a token spans.": {
                "A": math.log2(50),
                "B": math.log2(30),
            },
            "You have the tokens exchanged: those of A span 4.5 bytes.": {
                "A": math.log2(50) / 3.5,
                "B": math.log2(30) / 4.5,
            },
            "You multiplied by the bytes. A token pays for all its bytes together.": {
                "A": 4.5 * math.log2(50),
                "B": 3.5 * math.log2(30),
            },
        },
        tolerance=0.003,
        why="In a common unit A needs less, although it hesitates between more choices per token.",
    ),
    "ex-errata-readings": Numbers(
        right={"encoder": 10, "decoder": 1},
        wrong={
            "You changed the *first* token: it moves every position in both.": {"encoder": 10, "decoder": 10},
            "In an encoder every position looks at the last token as well.": {"encoder": 1},
            "The position of the changed token itself moves in a decoder: it sees itself.": {"decoder": 0},
            "In an encoder the changed position itself moves too.": {"encoder": 9},
        },
        why="The missing word is *encoder*, or *computes*.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
