"""Convolutions over time: which inputs reach the last output.

Left out: strides, and what each layer computes.
"""

from collections.abc import Sequence

from torch import nn

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.viz.diagram import BLUE, FULL, NONE, Box, Drawing, Number, Sheet

MOST = 24  # positions that the sheet has room for


@checked
def draw_receptive_field(stacks: Sequence[Sequence[nn.Conv1d]]) -> Drawing:
    """For each stack of causal convolutions, one above the other: the positions of which its last output can know."""
    require(len(stacks) > 0, "stacks", "must not be empty", stacks)
    fields = [_reached(stack) for stack in stacks]
    width = max(levels[-1][-1] + 1 for levels in fields)
    require(width <= MOST, "stacks", f"must reach at most {MOST} positions, to have room", width)
    sheet, top, says = Sheet(), 0.0, []
    for stack, levels in zip(stacks, fields, strict=True):
        kernels = {_along(layer.kernel_size) for layer in stack}
        growing = ", ".join(str(_along(layer.dilation)) for layer in stack)
        kernel = "/".join(map(str, sorted(kernels)))
        sheet.text((8, top), f"kernel {kernel}, gaps {growing}", side="start", bold=True)
        seen = levels[-1][-1] + 1
        sheet.text((434, top), f"reach: {seen} positions", side="end")
        says.append(f"kernel {kernel} and gaps {growing}: {seen} positions after {len(stack)} layers")
        top = _levels(sheet, stack, levels, top + 26, width) + 34
    alt = (
        "Rows of dots, one for each position; inputs are the lowest row, each layer a row above. Lines join every dot "
        f"that the last output rests on with those below that it reads. {'; '.join(says)}."
    )
    return sheet.drawing("receptive-field", title="The receptive field of convolutions", alt=alt)


def _levels(sheet: Sheet, stack: Sequence[nn.Conv1d], levels: list[list[int]], top: Number, width: int) -> Number:
    """Draw one stack from its last output down to the inputs; gives back where the lowest row stands."""
    step, height = 340 / (width - 1 or 1), 40

    def x(back: int) -> float:
        return 426 - back * step

    for depth, level in enumerate(levels[:-1]):
        y = top + depth * height
        layer = stack[len(stack) - 1 - depth]
        for back in level:
            for tap in range(_along(layer.kernel_size)):
                below = back + tap * _along(layer.dilation)
                sheet.line((x(back), y + 6), (x(below), y + height - 6), weight=1)
    side = min(12, 0.7 * step)
    for depth, level in enumerate(levels):
        y = top + depth * height
        for back in range(width):
            dot = Box.around(x(back), y, side, side)
            sheet.module(dot, colour=BLUE if back in level else NONE)
            if back in level:
                sheet.area(dot, colour=BLUE, rounded=True, amount=FULL if depth in (0, len(levels) - 1) else 0.4)
        words = "input" if depth == len(levels) - 1 else f"layer {len(levels) - 1 - depth}"
        sheet.text((8, y), words, side="start")
    return top + (len(levels) - 1) * height


def _reached(stack: Sequence[nn.Conv1d]) -> list[list[int]]:
    """How far back from the last position each level is read, from the last output down to the inputs."""
    require(len(stack) > 0, "stacks", "must hold a layer each", stack)
    levels = [[0]]
    for layer in reversed(stack):
        taps = [tap * _along(layer.dilation) for tap in range(_along(layer.kernel_size))]
        levels.append(sorted({back + tap for back in levels[-1] for tap in taps}))
    return levels


def _along(size: object) -> int:
    """The one number of a size that PyTorch keeps as a tuple."""
    assert isinstance(size, tuple)
    return int(size[0])
