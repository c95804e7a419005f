"""Attention in tiles as a kernel in Triton: the forward pass of `tiled_attention`, whose tiles never leave the chip.

A Triton program describes what one group of threads does with blocks of numbers; the compiler spreads the blocks over
threads, registers and shared memory (Tillet, Kung and Cox 2019). Here each program takes one block of queries of one
head through all blocks of keys that it may see, by the online softmax of `absorb`, and writes its rows of the output
once (FlashAttention, Dao et al. 2022). All programs run side by side, and none needs another.

On a GPU the kernel is compiled. With TRITON_INTERPRET=1 in the environment Triton runs the same lines in NumPy, on any
machine, which is how the tests check them.

Left out: the backward pass, masks other than causal, and what makes such a kernel as fast as those behind `attend`:
tuned block sizes, powers of 2 in place of e, tiles on the diagonal apart from the full ones.
"""

from __future__ import annotations  # the annotations of the kernel name Triton, which need not be installed

import functools
from contextlib import suppress
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import also, checked_once
from transformer_lib.extras import needed
from transformer_lib.nn.attend import _allowed_is_square, _check_operands, _check_shapes
from transformer_lib.nn.fit import require_same_dtype
from transformer_lib.nn.kernels import check_scale

with suppress(ModuleNotFoundError):
    import triton.language as tl

LEAST_BLOCK = 16  # the tensor cores multiply no smaller matrices
MOST_HEADS = 65_535  # programs along the second axis of a launch


def _attend_rows(
    q_start: tl.tensor,
    k_start: tl.tensor,
    v_start: tl.tensor,
    out_start: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    heads_per_kv_head: tl.tensor,
    CAUSAL: tl.constexpr,
    SCALE: tl.constexpr,
    SUMS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
) -> None:
    """One block of queries of one head, over all blocks of keys that they may see."""
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows, channels = block * BLOCK + tl.arange(0, BLOCK)[:, None], tl.arange(0, PADDED)[None, :]
    places = (head * queries + rows) * WIDTH + channels
    real = (rows < queries) & (channels < WIDTH)
    q = tl.load(q_start + places, mask=real, other=0.0)

    peak = tl.full([BLOCK, 1], float("-inf"), SUMS)  # every query sees the first key, so no infinities are subtracted
    total, out = tl.zeros([BLOCK, 1], SUMS), tl.zeros([BLOCK, PADDED], SUMS)
    reach = tl.minimum(keys, (block + 1) * BLOCK) if CAUSAL else keys
    for first in range(0, reach, BLOCK):
        columns = first + tl.arange(0, BLOCK)[:, None]
        places_there = (head // heads_per_kv_head * keys + columns) * WIDTH + channels
        real_there = (columns < keys) & (channels < WIDTH)
        k = tl.load(k_start + places_there, mask=real_there, other=0.0)
        v = tl.load(v_start + places_there, mask=real_there, other=0.0)

        scores = SCALE * tl.dot(q, tl.trans(k), input_precision="ieee")
        allowed = tl.trans(columns) < keys
        if CAUSAL:
            allowed = allowed & (tl.trans(columns) <= rows)
        scores = tl.where(allowed, scores, float("-inf"))

        new_peak = tl.maximum(peak, tl.max(scores, axis=1, keep_dims=True))
        shrink, weights = tl.exp(peak - new_peak), tl.exp(scores - new_peak)
        total = total * shrink + tl.sum(weights, axis=1, keep_dims=True)
        out = out * shrink + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        peak = new_peak
    tl.store(out_start + places, out / total, mask=real)


@functools.cache
def _kernel() -> Any:
    """The function above for Triton: compiled for a GPU, or interpreted."""
    with needed():
        import triton
    return triton.jit(_attend_rows)


def _check_inputs(q: Tensor, k: Tensor, v: Tensor) -> None:
    require_same_dtype("v", v, k.dtype)
    needs = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    require(not needs, "q, k and v", "must need no gradient, for this is the forward pass alone", needs)
    heads = q.shape[0] * q.shape[1]
    require(heads <= MOST_HEADS, "q", f"must have at most {MOST_HEADS} heads in all rows of the batch", heads)


def _check_block_size(block: int) -> None:
    fits = block >= LEAST_BLOCK and block & (block - 1) == 0
    require(fits, "block", f"must be a power of 2 and at least {LEAST_BLOCK}", block)


@checked_once
@also(lambda q, k: _check_operands(q, k, None), check_scale, _check_inputs, _check_block_size)
def triton_attention(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    mask: Literal["causal"] | None = None,
    scale: float | None = None,
    block: int = 64,
) -> Float[Tensor, "batch heads query head_dim"]:
    """softmax(scale * q k^T) v over the allowed keys, by a Triton kernel that makes block x block scores at a time.

    Sums are kept in float32 at least; with bfloat16 the weights are rounded before they meet the values. Raises
    `ValueError` as `attend` does, for a block that is no power of 2, where a gradient would be needed, and for tensors
    that are not on a GPU unless Triton interprets; `ModuleNotFoundError` where Triton is not installed.
    """
    _check_shapes(q, k, v)
    if mask is not None:
        _allowed_is_square(mask, q, k)
    kernel = _kernel()
    if type(kernel).__name__ == "InterpretedFunction":
        require(
            q.dtype != torch.bfloat16, "q", "must not be bfloat16, which Triton's interpreter cannot multiply", q.dtype
        )
    else:
        require(q.is_cuda, "q", "must be on a GPU, or TRITON_INTERPRET=1 be set before the first call", q.device)
    (batch, heads, queries, width), (kv_heads, keys) = q.shape, k.shape[1:3]
    q, k, v = (x.contiguous() for x in (q, k, v))
    out = torch.empty_like(q)
    kernel[-(-queries // block), batch * heads](
        *(q, k, v, out, queries, keys, heads // kv_heads),
        CAUSAL=mask is not None,
        SCALE=width**-0.5 if scale is None else scale,
        SUMS=tl.float64 if q.dtype == torch.float64 else tl.float32,
        BLOCK=block,
        WIDTH=width,
        PADDED=max(LEAST_BLOCK, 1 << (width - 1).bit_length()),
    )
    return out
