"""Several heads: how a matrix of queries is split among them and merged again, and how heads share keys and values.

Left out: what one head computes, which has a drawing of its own.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from transformer_lib.config import AttentionConfig, require, require_positive
from transformer_lib.contract import checked
from transformer_lib.nn.attention import Attention
from transformer_lib.viz.diagram import BLUE, GREEN, GREY, NONE, ORANGE, PINK, SKY, TINT, Box, Drawing, Number, Sheet
from transformer_lib.viz.parts import shape_text

HUES = (BLUE, ORANGE, GREEN, PINK, SKY)
MOST_HEADS, MOST_SHARED = 5, 8
MOST_STAGES, STAGE, UNIT, LONGEST = 12, 92, 7, 84  # of a list of shapes; from one to the next; a number; a side
MIDDLE, BAND, PITCH, TALL = 221, 38, 60, 40  # the axis; a head's band of columns; from head to head; a matrix


@checked
def draw_heads(module: Attention, time: int) -> Drawing:
    """Queries of this module for so many positions: projected, split into heads, used, merged, projected back."""
    require_positive(time=time)
    count, width = module.heads[0], module.head_dim
    require(count <= MOST_HEADS, "module", f"must have at most {MOST_HEADS} heads", count)
    outer, inner = ((time, size) for size in (module.to_out.out_features, module.to_out.in_features))

    sheet = Sheet()
    x = sheet.tensor(Box.around(MIDDLE, 0, 120, TALL), "$X$", colour=GREY)
    to_q = sheet.module(Box.around(MIDDLE, 58, 74, 28), "$W_Q$")
    sheet.arrow(x.bottom, to_q.top)
    q = _bands(sheet, 116, count)
    sheet.arrow(to_q.bottom, q.top)
    back = _bands(sheet, 396, count)
    for i in range(count):
        centre, band = MIDDLE + PITCH * (i - (count - 1) / 2), q.x + BAND * (i + 0.5)
        head = sheet.tensor(Box.around(centre, 192, BAND, TALL), f"$Q_{i}$", colour=HUES[i])
        sheet.arrow((band, q.y + TALL), head.top)
        attend = sheet.module(Box.around(centre, 256, PITCH - 8, 28), "attend")
        sheet.arrow(head.bottom, attend.top)
        out = sheet.tensor(Box.around(centre, 320, BAND, TALL), f"$O_{i}$", colour=HUES[i])
        sheet.arrow(attend.bottom, out.top)
        sheet.arrow(out.bottom, (band, back.y))
    to_out = sheet.module(Box.around(MIDDLE, 454, 74, 28), "$W_O$")
    sheet.arrow(back.bottom, to_out.top)
    sheet.arrow(to_out.bottom, sheet.tensor(Box.around(MIDDLE, 512, 120, TALL), "$O$", colour=GREY).top)

    of_head = shape_text((time, width))
    shapes = [(0, outer), (116, inner), (396, inner), (512, outer)]
    notes = [*((y, shape_text(shape)) for y, shape in shapes), (183, f"{count} heads"), (320, of_head), (201, of_head)]
    for y, note in notes:
        sheet.text((6, y), note, side="start")
    for y, stage in ((58, "project"), (154, "split"), (256, "look up"), (358, "merge"), (454, "mix")):
        sheet.text((436, y), stage, side="end", bold=True)
    alt = (
        f"Read from above. X, {shape_text(outer)}, times W_Q gives the queries, {shape_text(inner)}, whose columns are "
        f"{count} bands of colour. Split, each band is a matrix of {of_head} of its own, a head, and attends alone. "
        f"What the heads bring is put side by side again, {shape_text(inner)}, and W_O mixes it into the output."
    )
    return sheet.drawing("heads", title="Splitting into heads, and merging", alt=alt)


def _bands(sheet: Sheet, y: Number, count: int) -> Box:
    """A matrix whose columns belong to heads, each band in its colour."""
    box = Box.around(MIDDLE, y, BAND * count, TALL)
    for i in range(count):
        sheet.area(Box(box.x + i * BAND, box.y, BAND, TALL), colour=HUES[i], amount=TINT)
    return sheet.tensor(box, colour=NONE)


@checked
def draw_sharing(kinds: Mapping[str, AttentionConfig], d_model: int) -> Drawing:
    """Kinds of attention, by name, one below the other: which query head reads which head of keys and values."""
    require(len(kinds) > 0, "kinds", "must not be empty", kinds)
    sheet, told = Sheet(), []
    for panel, (name, config) in enumerate(kinds.items()):
        require(config.num_heads <= MOST_SHARED, f"kinds[{name!r}]", f"must have at most {MOST_SHARED} heads", config)
        with torch.device("meta"):
            module = Attention(d_model, config)
        heads, kept, _ = module.heads
        y, step = panel * 148, 250 / heads
        sheet.text((6, y), name, side="start", bold=True)
        sheet.text((6, y + 34), "queries", side="start")
        sheet.text((6, y + 84), "keys and", side="start")
        sheet.text((6, y + 101), "values", side="start")
        for pair in range(kept):
            group = range(pair * heads // kept, (pair + 1) * heads // kept)
            centres = [84 + step * (i + 0.5) for i in group]
            middle = sum(centres) / len(centres)
            below = sheet.tensor(Box.around(middle, y + 92, step * 0.72, 28), colour=ORANGE, copies=2)
            for centre in centres:
                above = sheet.tensor(Box.around(centre, y + 34, step * 0.72, 28), colour=BLUE)
                sheet.line(above.bottom, (middle, below.y - 4))
        numbers = 2 * kept * module.head_dim
        sheet.text((436, y + 84), f"{numbers:,} numbers", side="end")
        sheet.text((436, y + 101), "per token", side="end")
        told.append(f"{name}, {heads} over {kept} and {numbers:,} numbers kept")
    alt = (
        "A panel for each kind, with query heads above, joined by lines to the heads of keys and values "
        f"below: {'; '.join(told)}. So many numbers are kept for each token in each layer."
    )
    return sheet.drawing("head-sharing", title="How query heads share keys and values", alt=alt)


@checked
def draw_shapes(stages: Mapping[str, Tensor]) -> Drawing:
    """Tensors, by the code that makes them, one below the other: batches behind each other, heads beside each other.

    Each has axes batch, time and width, or batch, head and two more. Sides are drawn to one scale, up to a limit.
    """
    require(1 <= len(stages) <= MOST_STAGES, "stages", f"must be from 1 to {MOST_STAGES}", list(stages))
    sheet, told = Sheet(), []
    for i, (name, tensor) in enumerate(stages.items()):
        shape, y = tuple(tensor.shape), STAGE * i
        fits = len(shape) in (3, 4) and min(shape) > 0
        require(fits, f"stages[{name!r}]", "must have three axes or four, none of them empty", shape)
        batch, (rows, columns) = shape[0], shape[-2:]
        heads = shape[1] if len(shape) == 4 else 1
        require(heads <= MOST_HEADS, f"stages[{name!r}]", f"must have at most {MOST_HEADS} heads", shape)
        wide, high = (float(min(UNIT * size, LONGEST)) for size in (columns, rows))
        wide = min(wide, 182 / heads - 14) if heads > 1 else wide
        step = wide + 14
        for head in range(heads):
            x = MIDDLE + step * (head - (heads - 1) / 2)
            box = Box.around(x, y, wide, min(high, STAGE - 36))
            first = {"rows": f"{rows:,}"} if head == 0 else {}
            colour = HUES[head] if heads > 1 else GREY
            sheet.tensor(box, columns=f"{columns:,}", colour=colour, copies=min(batch, 2), **first)
        sheet.text((6, y), name, side="start")
        sheet.text((436, y), shape_text(shape), side="end", bold=True)
        told.append(f"{name} is {shape_text(shape)}")
    alt = (
        "Tensors one below the other, each a stack of as many rectangles as the batch has sequences, with a rectangle "
        f"for each head side by side. {'; '.join(told)}."
    )
    return sheet.drawing("shapes", title="The shapes on the way through the heads", alt=alt)
