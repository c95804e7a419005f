"""Masks, side by side: a filled square where a query may look at a key.

Left out: masks of long sequences, which `viz.plot_mask` draws.
"""

from collections.abc import Mapping

from jaxtyping import Bool
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.viz.diagram import BLUE, WIDTH, Box, Drawing, Sheet

MOST_SIDE, MOST_MASKS = 8, 3


@checked
def draw_masks(masks: Mapping[str, Bool[Tensor, "_query _key"]]) -> Drawing:
    """Up to three masks by name, with how many pairs each allows."""
    require(0 < len(masks) <= MOST_MASKS, "masks", f"must be 1 to {MOST_MASKS} in number", len(masks))
    for name, mask in masks.items():
        fits = min(mask.shape) > 0 and max(mask.shape) <= MOST_SIDE
        require(fits, f"masks[{name!r}]", f"must have 1 to {MOST_SIDE} queries and keys", tuple(mask.shape))
    sheet, told, lowest = Sheet(), [], 0.0
    step = (WIDTH - 8) / MOST_MASKS
    cell = min(24.0, (step - 30) / max(max(mask.shape) for mask in masks.values()))
    first = (WIDTH - step * len(masks)) / 2
    for i, (name, mask) in enumerate(masks.items()):
        rows, columns = mask.shape
        box = Box(first + i * step + (step + 14 - cell * columns) / 2, 36, cell * columns, cell * rows)
        sheet.text((box.top[0], 0), name, bold=True)
        sheet.grid(box, mask.tolist(), colour=BLUE)
        for column in range(columns):
            sheet.text((box.x + (column + 0.5) * cell, box.y - 11), str(column))
        for row in range(rows):
            sheet.text((box.x - 6, box.y + (row + 0.5) * cell), str(row), side="end")
        allowed = f"{int(mask.sum())} of {mask.numel()} pairs"
        sheet.text((box.bottom[0], box.bottom[1] + 15), allowed)
        told.append(f"{name}, {allowed}")
        lowest = max(lowest, box.bottom[1])
    sheet.text((WIDTH / 2, lowest + 42), "rows: queries · columns: keys · filled: may look")
    alt = f"Grids with a row for each query and a column for each key, filled where it may look: {'; '.join(told)}."
    return sheet.drawing("masks", title="Masks: who may look at whom", alt=alt)
