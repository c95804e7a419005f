"""The drawing of a receptive field."""

from torch import nn

from tests.viz.drawn.case import Case
from transformer_lib.viz.drawings.convolutions import draw_receptive_field


def draw(gaps: tuple[int, ...]) -> list[nn.Conv1d]:
    return [nn.Conv1d(1, 1, kernel_size=3, dilation=gap) for gap in gaps]


def receptive_field(n: int) -> dict[str, object]:
    return {"stacks": [draw((1,) * (n + 2)), draw((1, 2, 4)[: n + 1])]}


DRAWINGS = {
    "fig-draw-receptive-field": Case(
        draw_receptive_field,
        receptive_field,
        lambda n: [f"kernel 3, gaps {', '.join('1' * (n + 2))}", f"reach: {5 + 2 * n} positions"],
    ),
}
