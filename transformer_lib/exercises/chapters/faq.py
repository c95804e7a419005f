"""What `book.check` knows of the exercises of `chapters/faq.ipynb`."""

from typing import Any

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

# A row in which nothing is allowed -----------------------------------------------------------------------------------


def _rows() -> tuple[Tensor, Tensor, Tensor]:
    scores = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    allowed = torch.tensor([[True, True, False], [False, False, False]])
    return scores, allowed, ~allowed.any(dim=-1, keepdim=True)


def _weights(masked: Any) -> tuple[Tensor, Tensor]:
    """The weights after the repair, and the gradient of the scores."""
    scores, allowed, empty = _rows()
    weights = torch.where(empty, 0.0, masked(scores, allowed, empty).softmax(dim=-1))
    return weights, torch.autograd.grad(weights[:, 0].sum(), scores)[0]


def _filled(scores: Tensor, allowed: Tensor, empty: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -torch.inf)


def _added(scores: Tensor, allowed: Tensor, empty: Tensor) -> Tensor:
    return scores + torch.zeros(2, 3).masked_fill(~allowed, -torch.inf)


def _turned(scores: Tensor, allowed: Tensor, empty: Tensor) -> Tensor:
    return scores.masked_fill(allowed, -torch.inf)


def _plain(scores: Tensor, allowed: Tensor, empty: Tensor) -> Tensor:
    return scores + 0


EXERCISES: dict[str, Exercise] = {
    "ex-faq-twice": Made(
        laws={
            "A seed makes two *runs* alike. Of two calls the second still draws further numbers.": lambda pair: (
                "seed" not in str(pair[0])
            ),
            "That only stops the recording of gradients; what is random stays random.": lambda pair: (
                "grad" not in str(pair[0]) and "inference" not in str(pair[0])
            ),
            "A fresh module is in training mode already. The line must take it out of it.": lambda pair: (
                "eval" in str(pair[0]) or "train(False)" in str(pair[0]).replace(" ", "")
            ),
            "The line is right. Which field says how much is left out at random?": lambda pair: (
                "dropout" in str(pair[1])
            ),
        },
        example=lambda: ("model.eval()", "dropout"),
        wrong=lambda: [
            ("torch.manual_seed(0)", "dropout"),
            ("with torch.no_grad():", "dropout"),
            ("model.train()", "dropout"),
            ("model.eval()", "norm"),
        ],
        why="With `dropout=0` the two modes do not differ.",
    ),
    "ex-faq-start": Numbers(
        right={"s": 3},
        wrong={
            "That is the excess, $s^2/2$, and not $s$.": {"s": 4.5},
            "That is the variance, $s^2$. Its root is asked for.": {"s": 9},
            "The half is missing: the excess is $s^2/2$, so $s^2$ is twice 4.5.": {"s": 2.1213},
        },
        tolerance=0.01,
        why="The fresh model is confidently wrong: its output head, or the tied embedding, starts too large.",
    ),
    "ex-faq-where": Made(
        laws={
            "You blocked what is allowed: turn the mask round.": lambda masked: _weights(masked)[0][0, :2].sum() > 0.5,
            "A forbidden key still gets weight.": lambda masked: _weights(masked)[0][0, 2] == 0,
            "The gradient of the empty row is no number: 0 comes from `where`, and the softmax of that row multiplies "
            "it by what is none. Make the row harmless *before* the softmax, or fill instead of adding.": (
                lambda masked: not _weights(masked)[1].isnan().any()
            ),
        },
        example=lambda: _filled,
        wrong=lambda: [_turned, _plain, _added],
        why="Filled places have the gradient 0 whatever comes from above; a harmless row has no such numbers at all.",
    ),
    "ex-faq-memory": Numbers(
        right={"grouped heads": 122_532, "a head for each query head": 30_633},
        wrong={
            "You counted keys or values. A token leaves both.": {"grouped heads": 245_065},
            "You counted one layer. A token leaves a key and a value in every layer.": {"grouped heads": 3_921_025},
            "You took two bytes for the cache and none for the weights. Both sides have the same bytes per number, "
            "which cancel.": {"grouped heads": 61_266},
            "More heads of keys and values leave *more* per token, so fewer tokens.": {
                "a head for each query head": 490_128
            },
        },
        tolerance=40,
        why="Fifteen users with a full context outweigh the model; without grouped heads fewer than four.",
    ),
}
NOT_CHECKED: dict[str, str] = {"ex-faq-mates": "it asks for two causes and an experiment that tells them apart"}
