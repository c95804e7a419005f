"""Attention to chosen blocks, against loops in NumPy and against attention to everything."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.oracles import close, normal, rejects
from transformer_lib.nn import attend
from transformer_lib.nn.blocks import block_mask, mean_key_scores

BLOCK, BLOCKS = 4, 5
TIME = BLOCK * BLOCKS


def scores(**others: Any) -> Tensor:
    return mean_key_scores(normal(2, 4, TIME, 3), normal(2, 2, TIME, 3, seed=1), **{"block": BLOCK, **others})


def by_hand(scores: Tensor, top: int) -> np.ndarray:
    seen = np.zeros((*scores.shape[:3], TIME), dtype=bool)
    for row, head, t in np.ndindex(*scores.shape[:3]):
        own = t // BLOCK
        best = sorted(range(own), key=lambda block: -float(scores[row, head, t, block]))[:top]
        for s in range(t + 1):
            seen[row, head, t, s] = s // BLOCK in (own, *best)
    return seen


def test_a_score_is_the_mean_of_the_products() -> None:
    q, k = normal(2, 4, TIME, 3).numpy(), normal(2, 2, TIME, 3, seed=1).numpy()
    found = scores()
    for row, head, t, block in np.ndindex(2, 4, TIME, BLOCKS):
        products = [q[row, head, t] @ k[row, head // 2, s] for s in range(block * BLOCK, (block + 1) * BLOCK)]
        assert abs(found[row, head, t, block].item() - np.mean(products)) < 1e-12


@pytest.mark.parametrize("top", [1, 2, 4, 9])
def test_what_is_seen_is_what_loops_pick(top: int) -> None:
    found = scores()
    assert (block_mask(found, block=BLOCK, top=top).numpy() == by_hand(found, top)).all()


def test_all_blocks_are_attention_to_everything() -> None:
    q, k, v = normal(2, 4, TIME, 3), normal(2, 2, TIME, 3, seed=1), normal(2, 2, TIME, 3, seed=2)
    mask = block_mask(mean_key_scores(q, k, block=BLOCK), block=BLOCK, top=BLOCKS)
    wide = (part.repeat_interleave(2, dim=1) for part in (k, v))
    close(attend(q, k, v, mask=mask), F.scaled_dot_product_attention(q, *wide, is_causal=True))


def test_no_query_sees_what_comes_after_it() -> None:
    mask = block_mask(torch.zeros(1, 1, TIME, BLOCKS), block=BLOCK, top=2)
    assert not mask.triu(1).any() and mask.diagonal(dim1=2, dim2=3).all()


def test_refused() -> None:
    with rejects("block must be a whole number of at least 1, got 0"):
        scores(block=0)
    with rejects("k must be whole blocks of 3 keys, got 20"):
        scores(block=3)
    with rejects("k must have a number of heads that divides 3, got 2"):
        mean_key_scores(normal(1, 3, 4, 2), normal(1, 2, 4, 2), block=2)
    with rejects("scores must be for as many queries as there are keys, 5 blocks of 2, got 20"):
        block_mask(scores(), block=2, top=1)
    with rejects("top must be a whole number of at least 1, got 0"):
        block_mask(scores(), block=BLOCK, top=0)
