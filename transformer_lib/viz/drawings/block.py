"""A block of a Transformer: its two parts beside the residual stream, with the norm after or before.

Left out: dropout, which changes nothing when a model is used.
"""

from dataclasses import replace

import torch

from transformer_lib.config import ModelConfig, NormOrder, require
from transformer_lib.contract import checked
from transformer_lib.nn.block import Block
from transformer_lib.viz.diagram import Drawing, Point, Sheet
from transformer_lib.viz.parts import ATTENTION, FEEDFORWARD, STREAM, hidden_width, norm_text, part_beside


@checked
def draw_block(config: ModelConfig) -> Drawing:
    """The block that the config describes, in its own order."""
    order = config.norm_order
    require(order in ("pre", "post"), "norm_order", "must be 'pre' or 'post' to be drawn", order)
    sheet = Sheet()
    x, y = _block(sheet, (166, 0), config, order)
    sheet.arrow((x, y), (x, y - 22), weight=STREAM)
    where = {
        "pre": "reads through a norm on its own branch, and adds to the stream, on which nothing else stands",
        "post": "reads the stream as it is and adds to it, and a norm on the stream follows the sum",
    }
    alt = (
        f"A block of width {config.d_model}, read from the bottom up. The stream is a thick line. Twice a part, "
        f"attention and then the feed-forward network, {where[order]}."
    )
    return sheet.drawing("block", title=f"A block in {order}-norm order", alt=alt)


@checked
def draw_norm_orders(config: ModelConfig) -> Drawing:
    """A block in post-norm and in pre-norm order, side by side, with the widths that the config gives it."""
    sheet = Sheet()
    starts: list[Point] = [(52, 0), (272, 0)]
    orders: tuple[NormOrder, ...] = ("post", "pre")
    tops = [_block(sheet, start, config, order) for start, order in zip(starts, orders, strict=True)]
    end = min(y for _, y in tops) - 22
    for (x, y), order in zip(tops, orders, strict=True):
        sheet.arrow((x, y), (x, end), weight=STREAM)
        sheet.text((x + 62, end + 8), f"{order}-norm", bold=True)
    alt = (
        f"Two blocks of width {config.d_model}, read from the bottom up. Left, post-norm: attention and the "
        "feed-forward network read the stream as it is and add to it; a norm on the stream follows each sum. "
        "Right, pre-norm: each part reads through a norm on its own branch; on the stream itself stand only the sums."
    )
    return sheet.drawing("norm-orders", title="A block in its two norm orders", alt=alt)


def _block(sheet: Sheet, start: Point, config: ModelConfig, order: NormOrder) -> Point:
    """One block, upwards from the start of its stream; gives back where the stream leaves it."""
    with torch.device("meta"):
        block = Block(replace(config, norm_order=order))
    norm, post = norm_text(block.attention_norm), order == "post"
    x, y = start
    sheet.text((x, y), f"$X$: $T$ × {config.d_model}")
    sheet.line((x, y - 12), (x, y - 30), weight=STREAM)
    wide = f"{config.d_model} → {hidden_width(block)} → {config.d_model}"
    first = part_beside(sheet, (x, y - 30), "attention", norm=norm, colour=ATTENTION, post=post)
    sheet.line(first.top, (x, first.top[1] - 14), weight=STREAM)
    second = part_beside(
        sheet, (x, first.top[1] - 14), "feed-forward", under=wide, norm=norm, colour=FEEDFORWARD, post=post
    )
    return second.top
