"""The drawings of attention, of its heads and of its masks."""

from typing import Any

import torch
from torch import Tensor

from tests.viz.drawn.case import Case
from transformer_lib.config import AttentionConfig
from transformer_lib.nn.attention import Attention
from transformer_lib.nn.masks import causal_mask, padding_mask
from transformer_lib.viz.drawings.attention import draw_lookup
from transformer_lib.viz.drawings.heads import draw_heads, draw_shapes, draw_sharing
from transformer_lib.viz.drawings.masks import draw_masks
from transformer_lib.viz.drawings.products import draw_products


def lookup(n: int) -> dict[str, Any]:
    """The running example of the chapter on attention, with its values n times as large."""
    keys = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    values = torch.tensor([[0, 3.0], [0, 5], [1, 0]]) * n
    return {"query": keys[2] * n, "keys": keys, "values": values, "query_name": "a?", "names": ["a=3", "b=5", "a?"]}


def matrices(n: int) -> dict[str, Tensor]:
    """Six positions of width 32 n, and maps to 8 n channels."""
    torch.manual_seed(0)
    maps = {name: torch.randn(32 * n, 8 * n) / (32 * n) ** 0.5 for name in ("w_q", "w_k", "w_v")}
    return {"x": torch.randn(6, 32 * n), **maps}


def masks(n: int) -> dict[str, Tensor]:
    """Three masks over 3 n positions."""
    at = torch.arange(3 * n)[None]
    return {
        "causal": causal_mask(at, at)[0, 0],
        "window of 3": causal_mask(at, at, window=3)[0, 0],
        "padding": padding_mask(at < 3 * n - 1)[0, 0].expand(3 * n, 3 * n),
    }


DRAWINGS = {
    "fig-draw-lookup": Case(
        draw_lookup, lookup, lambda n: {1: ["1.00", "0.401", "(0.401, 2.19)"], 2: ["2.00", "0.446", "(0.892, 3.76)"]}[n]
    ),
    "fig-draw-products": Case(
        draw_products, matrices, lambda n: [str(32 * n), str(8 * n), f"softmax of scores / √{8 * n} in each row"]
    ),
    "fig-draw-heads": Case(
        draw_heads,
        lambda n: {"module": Attention(32 * n, AttentionConfig(num_heads=2 * n, head_dim=8 * n)), "time": 6 * n},
        lambda n: [f"{2 * n} heads", f"{6 * n} × {32 * n}", f"{6 * n} × {8 * n}", f"{6 * n} × {16 * n * n}"],
    ),
    "fig-draw-head-sharing": Case(
        draw_sharing,
        lambda n: {
            "kinds": {
                "multi-head": AttentionConfig(num_heads=4 * n),
                "grouped-query": AttentionConfig(num_heads=4 * n, num_kv_heads=2),
                "multi-query": AttentionConfig(num_heads=4 * n, num_kv_heads=1),
            },
            "d_model": 32 * n * (n + 1),
        },
        lambda n: [f"{heads * 16 * (n + 1)} numbers" for heads in (4 * n, 2, 1)],
    ),
    "fig-draw-shapes": Case(
        draw_shapes,
        lambda n: {"stages": {"x": torch.zeros(2, 6, 8 * n), "q, split": torch.zeros(2, 4, 6, 2 * n)}},
        lambda n: [f"2 × 6 × {8 * n}", f"2 × 4 × 6 × {2 * n}"],
    ),
    "fig-draw-masks": Case(
        draw_masks, lambda n: {"masks": masks(n)}, lambda n: {1: ["6 of 9 pairs"], 2: ["21 of 36 pairs"]}[n]
    ),
}
