"""Attention in tiles: the numbers of `attend_explicit`, from memory that grows with query + key, not query * key.

The scores are made one tile at a time, a block of queries against a block of keys, and forgotten. What a softmax needs
of the keys seen so far is three things for each query, `Running`, that each further tile brings up to date (the online
softmax, Milakov and Gimelshein 2018). Only the logarithm of the normaliser is kept for the backward pass, which makes
the tiles again (FlashAttention, Dao et al. 2022). This is the algorithm for reading: the kernel behind `attend` runs
the same loops without leaving the processor's caches.

Left out: dropout, bias, and all that makes it fast.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from transformer_lib.config import require, require_positive
from transformer_lib.contract import also, checked_once, require_parts
from transformer_lib.nn.attend import _allowed_is_square, _check_operands, _check_shapes
from transformer_lib.nn.fit import require_same_dtype
from transformer_lib.nn.kernels import check_scale
from transformer_lib.nn.masks import Mask, check_mask


@checked_once
class Running(NamedTuple):
    """A softmax over the keys seen so far, for each query; `out / total` is the attention over them."""

    peak: Float[Tensor, "*rows query 1"]  # the largest score
    total: Float[Tensor, "*rows query 1"]  # sum of exp(score - peak)
    out: Float[Tensor, "*rows query value_dim"]  # sum of exp(score - peak) * value


def _check_seen(seen: Running) -> None:
    require_parts(seen)
    wanted = (*seen.out.shape[:-1], 1)
    for name, part in (("peak", seen.peak), ("total", seen.total)):
        require(part.shape == wanted, name, f"must have the shape {wanted}, as out says", tuple(part.shape))


def _check_block(seen: Running, scores: Tensor, values: Tensor) -> None:
    for name, part, wanted in (
        ("scores", scores, (*seen.peak.shape[:-1], values.shape[-2])),
        ("values", values, (*seen.out.shape[:-2], values.shape[-2], seen.out.shape[-1])),
    ):
        require(part.shape == wanted, name, f"must have the shape {wanted} of what was seen", tuple(part.shape))
        require_same_dtype(name, part, seen.out.dtype)


@checked_once
def start(queries: Float[Tensor, "*rows query head_dim"], values: Float[Tensor, "*rows key value_dim"]) -> Running:
    """Before the first key: the peak is the lowest finite number, so that no infinities are subtracted."""
    zero = queries.new_zeros(*queries.shape[:-1], 1)
    return Running(zero + torch.finfo(zero.dtype).min, zero, zero.new_zeros(*zero.shape[:-1], values.shape[-1]))


@checked_once
@also(_check_seen, _check_block)
def absorb(
    seen: Running, scores: Float[Tensor, "*rows query key"], values: Float[Tensor, "*rows key value_dim"]
) -> Running:
    """One more block of keys: what was summed under the old peak is scaled down to the new one; a score may be -inf."""
    peak = torch.maximum(seen.peak, scores.amax(dim=-1, keepdim=True))
    shrink, weights = (seen.peak - peak).exp(), (scores - peak).exp()
    total = seen.total * shrink + weights.sum(dim=-1, keepdim=True)
    return Running(peak, total, seen.out * shrink + weights @ values)


@checked_once
@also(_check_seen)
def finish(seen: Running) -> tuple[Float[Tensor, "*rows query value_dim"], Float[Tensor, "*rows query 1"]]:
    """The output, and the logarithm of the normaliser; zeros for a query that was allowed no key."""
    total = seen.total.masked_fill(seen.total == 0, 1.0)
    return seen.out / total, seen.peak + total.log()


@checked_once
@also(
    lambda q, k: _check_operands(q, k, None),
    check_scale,
    lambda v, k: require_same_dtype("v", v, k.dtype),
)
def tiled_attention(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    mask: Mask = None,
    scale: float | None = None,
    block: int = 64,
) -> Float[Tensor, "batch heads query head_dim"]:
    """softmax(scale * q k^T) v over the allowed keys, in tiles of at most block x block scores.

    Tiles that a "causal" mask blocks altogether are never made; a mask given as a tensor is cut into tiles, and costs
    its own memory. Sums are kept in float32 at least. Raises `ValueError` as `attend` does, or for a block below 1.
    """
    require_positive(block=block)
    _check_shapes(q, k, v)
    if isinstance(mask, str):
        _allowed_is_square(mask, q, k)
    elif mask is not None:
        check_mask(mask, (*q.shape[:3], k.shape[2]), q.device)
    wide = torch.promote_types(q.dtype, torch.float32)
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1).to(wide) for x in (k, v))
    tiled = cast("Callable[..., Tensor]", _Tiled.apply)  # torch leaves apply without a type
    return tiled(q.to(wide), k, v, mask, q.shape[-1] ** -0.5 if scale is None else scale, block).to(q.dtype)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Mask, scale: float, block: int) -> Tensor:
        done = []
        for rows in _blocks(q.shape[2], block):
            seen = start(q[:, :, rows], v)
            for columns in _blocks(_reach(rows, k, mask), block):
                seen = absorb(seen, _scores(q, k, rows, columns, mask, scale), v[:, :, columns])
            done.append(finish(seen))
        out, log_sum = (torch.cat(parts, dim=2) for parts in zip(*done, strict=True))
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.options = mask, scale, block
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_sum = ctx.saved_tensors
        mask, scale, block = ctx.options
        grad_q, grad_k, grad_v = (torch.zeros_like(x) for x in (q, k, v))
        mean = (grad_out * out).sum(dim=-1, keepdim=True)  # sum over the keys of weight * its gradient
        for rows in _blocks(q.shape[2], block):
            for columns in _blocks(_reach(rows, k, mask), block):
                weights = (_scores(q, k, rows, columns, mask, scale) - log_sum[:, :, rows]).exp()
                grad_weights = grad_out[:, :, rows] @ v[:, :, columns].mT
                grad_scores = scale * weights * (grad_weights - mean[:, :, rows])
                grad_v[:, :, columns] += weights.mT @ grad_out[:, :, rows]
                grad_q[:, :, rows] += grad_scores @ k[:, :, columns]
                grad_k[:, :, columns] += grad_scores.mT @ q[:, :, rows]
        return grad_q, grad_k, grad_v, None, None, None


def _blocks(length: int, block: int) -> Iterator[slice]:
    return (slice(at, min(at + block, length)) for at in range(0, length, block))


def _reach(rows: slice, k: Tensor, mask: Mask) -> int:
    """How many keys the last of these queries may look at: what comes after them is skipped."""
    return rows.stop if isinstance(mask, str) else k.shape[2]


def _scores(q: Tensor, k: Tensor, rows: slice, columns: slice, mask: Mask, scale: float) -> Tensor:
    """One tile, -inf where looking is forbidden."""
    scores = scale * q[:, :, rows] @ k[:, :, columns].mT
    if mask is None:
        return scores
    if isinstance(mask, str):
        query, key = (torch.arange(part.start, part.stop, device=q.device) for part in (rows, columns))
        return scores.masked_fill(key > query[:, None], -torch.inf)
    along = [part if size > 1 else slice(None) for part, size in zip((rows, columns), mask.shape[2:], strict=True)]
    return scores.masked_fill(~mask[:, :, along[0], along[1]], -torch.inf)
