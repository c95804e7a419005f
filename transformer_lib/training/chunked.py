"""The same loss as `token_loss`, from the head's input instead of its output, without the copies of the logits.

The logits of a large vocabulary are the largest tensor of a training step: tokens * vocab numbers. Autograd keeps
them, their logarithms in float32 and their gradient. Here there is one buffer, in the type in which the head computes:
it holds the logits of a chunk of tokens, and a few rows at a time, so few that they stay in the processor's cache, they
become the gradient p - q in place. Two products then turn this into the gradients of the head's input and weight, which
the backward pass only has to scale.

A compiled function calls it as it is: a compiler would join the few rows to all of them again, and keep their logits
in float32. On a GPU the rows of a chunk go through at once, compiled if the caller is.
Left out: gradients of gradients, and a head with a bias.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from transformer_lib.config import require, require_positive
from transformer_lib.contract import checked_once
from transformer_lib.training.loss import LossSum, check_targets, subtract_targets_, summed_loss

MIB = 2**20
CACHED_BYTES = 2 * MIB  # of float32 logits at a time, about a core's own cache
LINE_BYTES = 64  # of a processor's cache: products write rows that begin on one sooner
FULL_ROWS = 512  # below, adding a chunk to the gradient of the weight takes a visible part of its products' time
STRIP = 4096  # words at a time in the gradient of the weight, so that no second copy of it stands in another type


@checked_once
def chunked_token_loss(
    hidden: Float[Tensor, "batch time d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "batch time"],
    *,
    ignore: int = -100,
    smoothing: float = 0.0,
    chunk_bytes: int | None = None,
) -> LossSum:
    """`token_loss(hidden @ weight.T, targets)`, holding at most `chunk_bytes` of logits (one token's at least).

    Unless given, that is what `weight` takes in the products' type, as its gradient does anyway, or the logits of 512
    tokens if that is more. The chunks are equal and as few as this allows.

    `weight` is the head's, tied or not: `chunked_token_loss(model.hidden(tokens), model.head.weight, targets)`. Under
    autocast the products are computed in its type, and the loss in float32. Smaller chunks need less memory, and more
    time: each adds to the whole gradient of `weight`. Raises `ValueError` as `token_loss` does.
    """
    require(hidden.dim() == 3, "hidden", "must have the axes batch, time, d_model", tuple(hidden.shape))
    fits = weight.dim() == 2 and weight.shape[1] == hidden.shape[2]
    require(fits, "weight", f"must have the shape (vocab, {hidden.shape[2]})", tuple(weight.shape))
    if chunk_bytes is not None:
        require_positive(chunk_bytes=chunk_bytes)
    check_targets(targets, hidden.shape[:2], weight.shape[0], ignore, smoothing)
    x, y = hidden.flatten(0, 1), targets.flatten().long()
    compiled = torch.compiler.is_compiling() and hidden.device.type != "cpu"
    total = _summed(x, weight, y, ignore, smoothing, chunk_bytes, torch.is_grad_enabled(), compiled)
    return LossSum(total, (targets != ignore).sum())


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The sum over all tokens; its gradients are made on the way, for an upstream gradient of 1."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        ignore: int,
        smoothing: float,
        chunk_bytes: int | None,
        with_gradients: bool,
        compiled: bool,
    ) -> Tensor:
        device, wide = hidden.device.type, torch.promote_types(hidden.dtype, torch.float32)
        autocast = torch.is_autocast_enabled(device) and wide == torch.float32
        x = hidden.to(torch.get_autocast_dtype(device)) if autocast else hidden
        w = weight.to(x.dtype)
        width = math.ceil(len(w) * w.itemsize / LINE_BYTES) * LINE_BYTES
        most = max(FULL_ROWS, w.nbytes // width) if chunk_bytes is None else max(1, chunk_bytes // width)
        rows = math.ceil(len(x) / max(1, math.ceil(len(x) / most)))
        padded = x.new_empty(rows, width // w.itemsize)
        padded[:, len(w) :] = 0  # products with AMX read these too and multiply them by 0, which turns no NaN into 0
        buffer = padded[:, : len(w)]
        # A GPU has no small cache to keep to, and wants few large products.
        block_rows = max(1, CACHED_BYTES // (len(w) * wide.itemsize)) if device == "cpu" else rows
        words = STRIP if device == "cpu" else len(w)
        become_gradient_ = _compiled_become_gradient_ if compiled else _become_gradient_
        total = x.new_zeros((), dtype=wide)
        grad_x = torch.empty_like(x)
        grad_w = torch.zeros_like(w, dtype=wide) if with_gradients else None
        for chunk, y, grad in zip(x.split(rows), targets.split(rows), grad_x.split(rows), strict=True):
            logits = torch.mm(chunk, w.T, out=buffer[: len(chunk)])
            for block, y_block in zip(logits.split(block_rows), y.split(block_rows), strict=True):
                total += become_gradient_(block, y_block, wide, ignore, smoothing, with_gradients)
            if grad_w is not None:
                torch.mm(logits, w, out=grad)
                for part, strip in zip(grad_w.split(words), logits.T.split(words), strict=True):
                    part += strip @ chunk
        if with_gradients:
            ctx.save_for_backward(grad_x, grad_w)
            ctx.types = hidden.dtype, weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # In place, to spare a copy of the weight's size: autograd refuses a second pass through the same graph.
        grad_x, grad_w = (g.to(dtype).mul_(upstream) for g, dtype in zip(ctx.saved_tensors, ctx.types, strict=True))
        return grad_x, grad_w, None, None, None, None, None, None


def _become_gradient_(
    logits: Tensor, targets: Tensor, wide: torch.dtype, ignore: int, smoothing: float, with_gradients: bool
) -> Tensor:
    """The summed loss of these logits, which become its gradient p - q if one is wanted."""
    log_probs = logits.to(wide).log_softmax(dim=-1)
    total = summed_loss(log_probs, targets, ignore, smoothing)
    if with_gradients:
        logits.copy_(subtract_targets_(log_probs.exp_(), targets, ignore, smoothing))
    return total


@cache
def _compiled() -> Callable[..., Tensor]:
    """Made when it is wanted, since the compiler alone takes a second to import, of each start of a command."""
    return torch.compile(_become_gradient_)


def _compiled_become_gradient_(*arguments: Any) -> Tensor:
    """On a GPU: one pass instead of five."""
    return _compiled()(*arguments)


_summed = torch.compiler.disable(_ChunkedCrossEntropy.apply)
