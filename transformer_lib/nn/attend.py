"""Attention itself: the explicit textbook path, and the fused path that computes the same numbers.

`attention_weights` is for reading, plotting and small examples: it builds the whole matrix of weights, so its memory
grows with query * key. `attend` hands the same work to PyTorch's fused kernels, whose memory grows linearly.
Both accept fewer key/value heads than query heads (grouped-query attention), and both give zeros, not NaN, for a
query that may look at nothing.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.dropout import dropout as drop
from transformer_lib.nn.fit import require_probability, require_same_dtype
from transformer_lib.nn.kernels import MOST_SCALE, check_scale, fused_attention, fuses_dropout
from transformer_lib.nn.masks import Mask, check_mask


def _check_operands(q: Tensor, k: Tensor, bias: Tensor | None) -> None:
    for name, tensor in (("q", q), ("k", k)):
        require(tensor.numel() > 0, name, "must not be empty", tuple(tensor.shape))
    require_same_dtype("k", k, q.dtype)
    if bias is not None:
        require_same_dtype("bias", bias, q.dtype)


def _check_shaping(q: Tensor, sinks: Tensor | None, soft_cap: float | None) -> None:
    if sinks is not None:
        require_same_dtype("sinks", sinks, q.dtype)
        require(len(sinks) == q.shape[1], "sinks", f"must be one for each of {q.shape[1]} heads", len(sinks))
    if soft_cap is not None:
        require(0 < soft_cap <= MOST_SCALE, "soft_cap", f"must be above 0 and at most {MOST_SCALE:.0f}", soft_cap)


_RULES = (
    _check_operands,
    check_scale,
    _check_shaping,
    lambda v, k: require_same_dtype("v", v, k.dtype),
    lambda dropout: require_probability("dropout", dropout),
)


@checked_once
@also(_check_operands, check_scale, _check_shaping)
def attention_weights(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    mask: Mask = None,
    bias: Float[Tensor, "#batch #heads #query key"] | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
) -> Float[Tensor, "batch heads query key"]:
    """softmax(scale * q k^T + bias) over the allowed keys; scale is 1 / sqrt(head_dim) unless given.

    Vaswani et al. (2017), equation 1. Each row sums to 1, or is all zeros if the mask allows it no key. `soft_cap=c`
    makes of each scaled score c tanh(score / c). With `sinks`, each head's row has one score more, whose weight goes
    nowhere, so that the row sums to less than 1.
    """
    _check_shapes(q, k, k, bias)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if soft_cap is not None:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    if bias is not None:
        scores = scores + bias
    allowed = _allowed(mask, q, k)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    if sinks is not None:
        sink = sinks[None, :, None, None].expand(*scores.shape[:3], 1)
        return torch.cat([sink, scores], dim=-1).softmax(dim=-1)[..., 1:]
    weights = scores.softmax(dim=-1)
    if allowed is None:
        return weights
    return weights.masked_fill(~allowed.any(dim=-1, keepdim=True), 0.0)  # softmax of nothing is NaN


@checked_once
@also(*_RULES)
def attend_explicit(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key value_dim"],
    *,
    mask: Mask = None,
    bias: Float[Tensor, "#batch #heads #query key"] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    soft_cap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
) -> Float[Tensor, "batch heads query value_dim"]:
    """The explicit path: weights times values. Same arguments and same numbers as `attend`."""
    _check_shapes(q, k, v)
    weights = attention_weights(q, k, mask=mask, bias=bias, scale=scale, soft_cap=soft_cap, sinks=sinks)
    weights = drop(weights, dropout)
    return weights @ v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)


@checked_once
@also(*_RULES)
def attend(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key value_dim"],
    *,
    mask: Mask = None,
    bias: Float[Tensor, "#batch #heads #query key"] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    soft_cap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
) -> Float[Tensor, "batch heads query value_dim"]:
    """The fused path: `scaled_dot_product_attention` with this library's conventions (FlashAttention, Dao 2022).

    There is no such kernel for a soft cap, nor for sinks, nor on a CPU for dropout: those take the explicit path.
    """
    _check_shapes(q, k, v, bias)
    if soft_cap is not None or sinks is not None or (dropout and not fuses_dropout(q)):
        more: dict[str, Any] = {"soft_cap": soft_cap, "sinks": sinks}
        return attend_explicit(q, k, v, mask=mask, bias=bias, scale=scale, dropout=dropout, **more)
    causal = bias is None and isinstance(mask, str) and _allowed_is_square(mask, q, k)
    added = None if causal else _allowed(mask, q, k)
    if bias is not None:  # the kernels take a mask or a bias, not both: a blocked pair becomes a bias of -inf
        added = bias if added is None else bias.masked_fill(~added, -torch.inf)
    return fused_attention(q, k, v, added=added, causal=causal, scale=scale, dropout=dropout)


def _allowed(mask: Mask, q: Tensor, k: Tensor) -> Bool[Tensor, "..."] | None:
    if mask is None:
        return None
    if isinstance(mask, str):
        _allowed_is_square(mask, q, k)
        return torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()[None, None]
    check_mask(mask, (q.shape[0], q.shape[1], q.shape[2], k.shape[2]), q.device)
    return mask


def _allowed_is_square(mask: str, q: Tensor, k: Tensor) -> bool:
    require(mask == "causal", "mask", "must be a boolean tensor, None or 'causal'", mask)
    square = q.shape[2] == k.shape[2]
    # The kernels align a causal mask at the top left: behind a cache that would hide the recent keys.
    require(square, "mask", f"'causal' needs as many queries as keys ({k.shape[2]})", q.shape[2])
    return True


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> None:
    q_shape, k_shape = q.shape, k.shape
    fit = q_shape[0] == k_shape[0] and q_shape[3] == k_shape[3]
    if fit and bias is None and k_shape[:3] == v.shape[:3] and q_shape[1] % k_shape[1] == 0:
        return  # before any message is written: in a step of decoding that would take longer than the attention
    require(k.shape[0] == q.shape[0], "k", f"must have the batch size of q, {q.shape[0]}", k.shape[0])
    require(k.shape[-1] == q.shape[-1], "k", f"must have the head_dim of q, {q.shape[-1]}", k.shape[-1])
    kv_shape = tuple(k.shape[:3])
    require(kv_shape == v.shape[:3], "v", f"must match k in batch, heads and time, {kv_shape}", tuple(v.shape))
    require(q.shape[1] % k.shape[1] == 0, "k", f"must have a number of heads that divides q's {q.shape[1]}", k.shape[1])
    if bias is not None:
        scores = (*q.shape[:3], k.shape[2])
        fits = bias.ndim == 4 and all(have in (1, want) for have, want in zip(bias.shape, scores, strict=True))
        require(fits, "bias", f"must broadcast to (batch, heads, query, key) = {scores}", tuple(bias.shape))
        require(bias.is_floating_point(), "bias", "must be floating point, to be added to the scores", bias.dtype)
