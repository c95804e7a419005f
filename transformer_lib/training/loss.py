"""Cross entropy of next tokens, as a sum and a count.

A mean is not additive: the mean over two batches is not the mean of their means when one holds more tokens. So a loss
is returned as `LossSum(total, count)`, is added up over micro-batches (and ranks), and is divided once.

Left out: the loss that never holds all logits at once, which is in `chunked.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import also, checked_once


@dataclass(frozen=True, slots=True)
class LossSum:
    """A loss in nats summed over `count` tokens; both stay tensors, so that adding never waits for a GPU."""

    total: Float[Tensor, ""]
    count: Int[Tensor, ""]

    def __post_init__(self) -> None:
        for name in ("total", "count"):  # by hand, because torch.compile does not see through a decorator here
            require_kind(value := getattr(self, name), Tensor, name, "a Tensor")
            require(value.dim() == 0, name, "must be a single number", tuple(value.shape))
        require(self.total.is_floating_point(), "total", "must be a floating-point number", self.total.dtype)
        whole = not (self.count.is_floating_point() or self.count.is_complex())
        require(whole, "count", "must be a whole number", self.count.dtype)

    def __add__(self, other: "LossSum") -> "LossSum":
        return LossSum(self.total + other.total, self.count + other.count)

    def mean(self) -> Float[Tensor, ""]:
        """Nats per token; the mean over no token is NaN."""
        return self.total / self.count

    def detach(self) -> "LossSum":
        """The same numbers without their graph, so that keeping them keeps no activations."""
        return LossSum(self.total.detach(), self.count)


@checked_once
def token_loss(
    logits: Float[Tensor, "batch time vocab"],
    targets: Int[Tensor, "batch time"],
    *,
    ignore: int = -100,
    smoothing: float = 0.0,
) -> LossSum:
    """Sum over the counted tokens of `-sum_v q(v) log softmax(logits)_v`, in float32 (float64 if the logits are).

    `q` is the one-hot target mixed with the uniform distribution, `(1 - smoothing) * one_hot + smoothing / vocab`
    (label smoothing, Szegedy et al. 2016). A target equal to `ignore` is neither summed nor counted, and its logits
    get a zero gradient. `targets[:, t]` is what `logits[:, t]` predicts: shifting them is the caller's business.

    Raises `ValueError` for wrong shapes or types, a smoothing outside [0, 1), or a target outside the vocabulary. The
    last is looked at on the CPU in eager mode only: elsewhere reading values would stall the device or break the graph.
    """
    check_targets(targets, logits.shape[:2], logits.shape[2], ignore, smoothing)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if torch.compiler.is_compiling():  # a compiler makes one pass of torch's own loss, and keeps no logarithms for it
        total = F.cross_entropy(
            wide.flatten(0, 1),
            targets.flatten().long(),
            ignore_index=ignore,
            reduction="sum",
            label_smoothing=smoothing,
        )
        return LossSum(total, (targets != ignore).sum())
    summed = cast("Callable[..., Tensor]", _SummedCrossEntropy.apply)  # torch leaves apply without a type
    total = summed(wide.flatten(0, 1), targets.flatten().long(), ignore, smoothing)
    return LossSum(total, (targets != ignore).sum())


class _SummedCrossEntropy(torch.autograd.Function):
    """The sum with its gradient p - q: one buffer of the logits' size, where two steps of the chain rule take two."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, ignore: int, smoothing: float) -> Tensor:
        log_probs = logits.log_softmax(dim=-1)
        ctx.save_for_backward(log_probs, targets)
        ctx.ignore, ctx.smoothing = ignore, smoothing
        return summed_loss(log_probs, targets, ignore, smoothing)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        log_probs, targets = ctx.saved_tensors
        grad = subtract_targets_(log_probs.exp(), targets, ctx.ignore, ctx.smoothing)
        return grad.mul_(upstream), None, None, None


@checked_once
def summed_loss(
    log_probs: Float[Tensor, "token vocab"], targets: Int[Tensor, " token"], ignore: int, smoothing: float
) -> Float[Tensor, ""]:
    """-sum q log p over the tokens that are not ignored, q as in `token_loss`."""
    counted = targets != ignore
    loss = -(1 - smoothing) * log_probs.gather(-1, targets.where(counted, 0)[:, None])[:, 0]
    if smoothing:
        loss = loss - smoothing * log_probs.mean(dim=-1)
    return loss.where(counted, 0).sum()


@checked_once
@also(lambda probs: require(probs.shape[1] > 0, "probs", "must have a vocabulary", tuple(probs.shape)))
def subtract_targets_(
    probs: Float[Tensor, "token vocab"], targets: Int[Tensor, " token"], ignore: int, smoothing: float
) -> Float[Tensor, "token vocab"]:
    """p becomes p - q, the gradient of the summed loss with respect to the logits; 0 in rows that are ignored."""
    counted = targets != ignore
    index = targets.where(counted, 0)[:, None]
    if smoothing:
        probs -= smoothing / probs.shape[-1]
    probs.scatter_add_(-1, index, probs.new_full(index.shape, smoothing - 1))
    return probs.mul_(counted[:, None])


@checked_once
def check_targets(targets: Tensor, shape: torch.Size, vocab: int, ignore: int, smoothing: float) -> None:
    """What every loss here asks of its targets; `shape` is that of the predictions without their last axis."""
    rule = f"must have the logits' shape {tuple(shape)}"
    require(targets.shape == shape, "targets", rule, tuple(targets.shape))
    require(0 <= smoothing < 1, "smoothing", "must be at least 0 and below 1", smoothing)
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = targets[(targets != ignore) & ((targets < 0) | (targets >= vocab))]
        if wrong.numel():
            raise ValueError(f"targets must be {ignore} or from 0 to {vocab - 1}, got {int(wrong[0])}")
