"""Attention to a few blocks of the past: each query reads its own block, and those others that seem to matter to it.

The keys are cut into blocks of equal size. A block has a score for each query, and the query sees the blocks with the
highest scores, whole, beside its own up to itself. Scores by mean key, q_t . mean of the block's k_s, cost one product
a block instead of one a key (Lu et al. 2025, "MoBA"); with any other scores the same mask serves as a control.

Left out: a kernel that skips what is not seen, so nothing here is faster than attention to everything; scores that are
learned (DeepSeek-V3.2), and blocks chosen for several heads together (Yuan et al. 2025).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import require_same_dtype

Scores = Float[Tensor, "batch heads query blocks"]


def _check_operands(q: Tensor, k: Tensor, block: int) -> None:
    require_positive(block=block)
    require_same_dtype("k", k, q.dtype)
    require(q.numel() > 0, "q", "must not be empty", tuple(q.shape))
    require(k.shape[2] % block == 0, "k", f"must be whole blocks of {block} keys", k.shape[2])
    divides = k.shape[1] > 0 and q.shape[1] % k.shape[1] == 0
    require(divides, "k", f"must have a number of heads that divides {q.shape[1]}", k.shape[1])


@checked_once
@also(_check_operands)
def mean_key_scores(
    q: Float[Tensor, "batch heads query head_dim"], k: Float[Tensor, "batch kv_heads key head_dim"], *, block: int
) -> Scores:
    """For each query and each block of keys, the product of the query with the mean of the block's keys."""
    means = k.unflatten(2, (-1, block)).mean(dim=3)
    return q @ means.repeat_interleave(q.shape[1] // k.shape[1], dim=1).mT


def _check_scores(scores: Tensor, block: int, top: int) -> None:
    require_positive(block=block, top=top)
    require(scores.numel() > 0, "scores", "must not be empty", tuple(scores.shape))
    keys = scores.shape[3] * block
    rule = f"must be for as many queries as there are keys, {scores.shape[3]} blocks of {block}"
    require(scores.shape[2] == keys, "scores", rule, scores.shape[2])


@checked_once
@also(_check_scores)
def block_mask(scores: Scores, *, block: int, top: int) -> Bool[Tensor, "batch heads query key"]:
    """Each query sees its own block, up to itself, and the `top` blocks before it whose scores are highest.

    Queries and keys stand at the same positions 0, 1, and so on. Where fewer blocks lie before a query, it sees all.
    """
    time = torch.arange(scores.shape[2], device=scores.device)
    own, number = time // block, torch.arange(scores.shape[3], device=scores.device)
    ranked = scores.masked_fill(number >= own[:, None], -torch.inf)
    chosen = torch.zeros_like(ranked, dtype=torch.bool)
    chosen.scatter_(3, ranked.topk(min(top, len(number)), dim=3).indices, True)
    seen = (chosen & (number < own[:, None])) | (number == own[:, None])
    return seen.repeat_interleave(block, dim=3) & (time <= time[:, None])
