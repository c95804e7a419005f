"""The drawing of attention in tiles."""

import torch

from tests.viz.drawn.case import Case
from transformer_lib.viz.drawings.tiles import TOTAL, draw_tiles

DRAWINGS = {
    "fig-draw-tiles": Case(
        draw_tiles,
        lambda n: {
            **dict.fromkeys("qkv", torch.ones(24, 8 * n)),
            "block": 2 * n + 2,
            "mask": ["causal", None][n - 1],
            "tile": (3, 1),
        },
        lambda n: [
            f"kept: m and {TOTAL}, {2 * n + 2} × 1 each, and o, {2 * n + 2} × {8 * n}",
            f"a tile: {(2 * n + 2) ** 2} scores; all tiles: {[336, 576][n - 1]}",
        ],
    ),
}
