"""The one door to PyTorch's fused attention kernels: what depends on device, type or compiler stands here.

Behind it attention is the equation (`attend.py`), and every path gives the same numbers. Left out: kernels of our own.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import require_probability, require_same_dtype

MOST_SCALE = 1e6  # by which softmax has become a maximum; scores of ordinary size stay far from what float32 holds
WIDENED = 2**20  # bytes of keys and values that are copied to float32 at a time: they stay in a core's own cache


@checked_once
def fuses_dropout(q: Float[Tensor, "..."]) -> bool:
    """Whether a kernel drops weights itself where q is: on a CPU none does, and torch would draw the bits slowly."""
    return q.device.type != "cpu"


def _check_operands(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> None:
    require(q.numel() > 0 and k.numel() > 0, "q", "must not be empty, nor k", (tuple(q.shape), tuple(k.shape)))
    for name, part in (("k", k), ("v", v)):
        require_same_dtype(name, part, q.dtype)
    require(q.shape[1] % k.shape[1] == 0, "k", f"must have a number of heads that divides {q.shape[1]}", k.shape[1])
    require(not causal or q.shape[2] == k.shape[2], "causal", f"needs {k.shape[2]} queries, as many as keys", causal)


def _check_added(q: Tensor, k: Tensor, added: Tensor | None, causal: bool) -> None:
    if added is not None:
        scores = (*q.shape[:3], k.shape[2])
        fits = all(have == 1 or have == want for have, want in zip(added.shape, scores, strict=True))
        require(fits, "added", f"must broadcast to (batch, heads, query, key) = {scores}", tuple(added.shape))
        require(not causal, "added", "must be None for causal attention, which has a mask of its own", "both")
        if added.dtype != torch.bool:
            require_same_dtype("added", added, q.dtype)


@checked_once
def check_scale(scale: float | None) -> None:
    """`ValueError` for a scale that would leave nothing of the scores; None stands for 1 / sqrt(head_dim)."""
    if scale is not None:
        require(abs(scale) <= MOST_SCALE, "scale", f"must be at most {MOST_SCALE:.0f} on either side of 0", scale)


@checked_once
@also(_check_operands, _check_added, check_scale, lambda dropout: require_probability("dropout", dropout))
def fused_attention(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key value_dim"],
    *,
    added: Bool[Tensor, "#batch #heads #query key"] | Float[Tensor, "#batch #heads #query key"] | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads query value_dim"]:
    """softmax(scale * q k^T + added) v by PyTorch's fused kernels (FlashAttention, Dao 2022).

    A boolean `added` says who may look at whom. In bfloat16 a single query is computed in float32 on a CPU.
    """
    if q.shape[2] == 1 and q.dtype == torch.bfloat16 and q.device.type == "cpu" and not dropout:
        return _widened(q, k, v, added, scale)
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=added, is_causal=causal, scale=scale, dropout_p=dropout, enable_gqa=grouped
    )


def _widened(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float | None) -> Tensor:
    """For a step of decoding this takes half the time, copies included; of a few texts at a time, they stay small."""
    each = 4 * (k[0].numel() + v[0].numel())
    texts = len(q) if torch.compiler.is_compiling() else max(1, WIDENED // each)  # a compiler wants no loop
    found = []
    for start in range(0, len(q), texts):
        piece = slice(start, start + texts)
        own = added if added is None or len(added) == 1 else added[piece]
        wide = own if own is None or own.dtype == torch.bool else own.float()
        parts = (part[piece].float() for part in (q, k, v))
        found.append(fused_attention(*parts, added=wide, scale=scale))
    return torch.cat(found).to(q.dtype)
