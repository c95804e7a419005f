"""The drawings of a block."""

from tests.viz.drawn.case import Case, config
from transformer_lib.viz.drawings.block import draw_block, draw_norm_orders

DRAWINGS = {
    "fig-draw-block": Case(
        draw_block,
        lambda n: {"config": config(n)},
        lambda n: [f"X: T × {32 * n}", f"{32 * n} → {128 * n} → {32 * n}"],
    ),
    "fig-draw-norm-orders": Case(
        draw_norm_orders,
        lambda n: {"config": config(n)},
        lambda n: [f"X: T × {32 * n}", f"{32 * n} → {128 * n} → {32 * n}"],
    ),
}
