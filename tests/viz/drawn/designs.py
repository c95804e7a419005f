"""The drawing of designs that keep orders and data apart, or do not."""

from tests.viz.drawn.case import Case
from transformer_lib.viz.drawings.designs import draw_designs

DRAWINGS = {
    "fig-draw-designs": Case(
        draw_designs,
        lambda n: {"request": f"request {n}", "data": "mail"},
        lambda n: [f"request {n}"],
    ),
}
