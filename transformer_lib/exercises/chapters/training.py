"""What `book.check` knows of the exercises of `chapters/training.ipynb`."""

from typing import Any

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.training import LossSum


def _loss(total: float, count: int) -> LossSum:
    return LossSum(torch.tensor(total, dtype=torch.float64), torch.tensor(count))


def _weights() -> list[list[Any]]:
    """The loss of a micro-batch, all targets, and how many micro-batches there are."""
    return [[_loss(6.0, 2), 8, 3], [_loss(5.0, 5), 8, 3], [_loss(3.0, 1), 4, 2]]


def _mixture(alpha: float, one: Tensor, other: Tensor) -> Tensor:
    p, q = (-one).exp(), (-other).exp()
    return -(alpha * p + (1 - alpha) * q).log().mean()


def _mixtures() -> list[list[Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        [alpha, *(5 * torch.rand(2, size, generator=generator, dtype=torch.float64))]
        for alpha, size in ((0.5, 1), (0.25, 2), (0.4, 6))
    ]


EXERCISES: dict[str, Exercise] = {
    "ex-training-epoch": Numbers(
        right={"windows": 7812, "steps": 977, "targets left out": 64},
        wrong={
            "The last window would have only 64 targets. A window is handed out if it is full.": {"windows": 7813},
            "7812 windows make 976 full batches, and half a batch is left over.": {"steps": 976},
            "You counted tokens. The first token is nobody's target, so there are 1,000,000 targets.": {
                "targets left out": 65
            },
            "Windows do not use up every target: 1,000,000 is no multiple of 128.": {"targets left out": 0},
            "You divided the targets by 8. A batch has 8 windows, of 128 targets each.": {"steps": 125000},
        },
        why="1,000,000 targets are 7812 windows and 64 more; which 64 changes with the offset of each epoch.",
    ),
    "ex-training-rate": Numbers(
        right={"best rate": 0.03},
        wrong={
            "That is the best rate of a larger model in longer runs. A rate does not carry over from one model to "
            "another.": {"best rate": 0.003},
            "Over the cliff: it learns, but worse than at a hundredth of that.": {"best rate": 0.3},
            "At this rate the model has hardly begun after 60 steps.": {"best rate": 0.0003},
        },
        tolerance=0.0001,
        why="Its neighbours lose more than the seeds differ. Between 0.003 and 0.3 the best one may lie anywhere.",
    ),
    "ex-training-accumulate": Function(
        right=lambda loss, targets, parts: loss.total / targets,
        wrong={
            "That weighs a micro-batch of one window as much as one of five. Sums add, means do not.": (
                lambda loss, targets, parts: loss.mean() / parts
            ),
            "Gradients of means were added and never divided, so the step is too long, and unevenly so.": (
                lambda loss, targets, parts: loss.mean()
            ),
            "The sums add, but nothing divides them: the step grows with the batch.": lambda loss, targets, parts: (
                loss.total
            ),
            "You divided twice: once by the targets is enough.": lambda loss, targets, parts: (
                loss.total / (targets * parts)
            ),
            "The mean is already divided by the targets of its own part.": lambda loss, targets, parts: (
                loss.mean() / targets
            ),
        },
        cases=_weights,
        why="Add the gradients of sums and divide once; and `zero_grad` stands before the loop.",
    ),
    "ex-training-resume": Made(
        laws={
            "Without its running means Adam starts anew, dropout or not.": lambda name: "optimiser" not in str(name),
            "The order of the windows has a generator of its own, and where it stands decides what is learned next.": (
                lambda name: "data" not in str(name)
            ),
            "One of the three goes unnoticed. Which part of a step draws random numbers?": lambda name: (
                "random" in str(name) or "generator" in str(name)
            ),
        },
        example=lambda: "random generators",
        wrong=lambda: ["optimiser", "data position", "nothing"],
        why="So a test of resuming must use a model with dropout, or it cannot fail where it matters.",
    ),
    "ex-training-mixture": Function(
        right=_mixture,
        wrong={
            "You mixed the losses. Turn them into probabilities first, mix those, and take the logarithm again.": (
                lambda alpha, one, other: (alpha * one + (1 - alpha) * other).mean()
            ),
            "$\\alpha$ belongs to the first model.": lambda alpha, one, other: _mixture(1 - alpha, one, other),
            "That is the sum over all tokens. The loss is their mean.": lambda alpha, one, other: (
                _mixture(alpha, one, other) * len(one)
            ),
            "You averaged the probabilities of all tokens before the logarithm. Each token has its own surprise.": (
                lambda alpha, one, other: -(alpha * (-one).exp() + (1 - alpha) * (-other).exp()).mean().log()
            ),
        },
        cases=_mixtures,
        properties={
            "With $\\alpha = 1$ the mixture is the first model.": lambda f, alpha, one, other: torch.isclose(
                torch.as_tensor(f(1.0, one, other)).double(), one.mean()
            ),
        },
        tolerance=1e-8,
        why="Now choose $\\alpha$ on the first half, and report on the second.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-training-curves": "it asks what a curve shows and what it rules out",
    "ex-training-beat": "it asks for experiments, whose result depends on the machine",
}
