"""A block of a Transformer: its two parts beside the residual stream, with the norm after or before.

The parts may be any that a config can have: attention or what takes its place, a feed-forward network or experts. What
a mixer keeps of the text stands beside it, where it is not keys and values.
Left out: dropout, which changes nothing when a model is used, and what goes on inside the parts.
"""

from dataclasses import replace
from typing import NamedTuple

import torch

from transformer_lib.config import (
    AttentionConfig,
    Experts,
    GatedDelta,
    LatentAttention,
    LinearAttention,
    ModelConfig,
    NormOrder,
    require,
)
from transformer_lib.contract import checked
from transformer_lib.nn.block import Block
from transformer_lib.nn.state import state_shapes
from transformer_lib.viz.diagram import Box, Drawing, Point, Sheet
from transformer_lib.viz.parts import (
    ATTENTION,
    FEEDFORWARD,
    STREAM,
    hidden_width,
    norm_text,
    part_beside,
    shape_text,
)


class _Words(NamedTuple):
    """What is written of a part: in its box, below that, beside it, and in the description for who cannot see it."""

    name: str
    under: str
    notes: list[str]
    said: str


@checked
def draw_block(config: ModelConfig) -> Drawing:
    """The block that the config describes, in its own order; of a stack of many kinds, give one of its `layers`."""
    order = config.norm_order
    require(order in ("pre", "post"), "norm_order", "must be 'pre' or 'post' to be drawn", order)
    require(not config.pattern, "pattern", "must be empty: give one of the config's layers", config.pattern)
    sheet = Sheet()
    x, y = _block(sheet, (166, 0), config, order, noted=True)
    sheet.arrow((x, y), (x, y - 22), weight=STREAM)
    where = {
        "pre": "reads through a norm on its own branch, and adds to the stream, on which nothing else stands",
        "post": "reads the stream as it is and adds to it, and a norm on the stream follows the sum",
    }
    mixer, feedforward = _mixer_words(config).said, _feedforward_words(config).said
    alt = (
        f"A block of width {config.d_model}, read from the bottom up. The stream is a thick line. Twice a part, "
        f"{mixer} and then {feedforward}, {where[order]}."
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


def _block(sheet: Sheet, start: Point, config: ModelConfig, order: NormOrder, *, noted: bool = False) -> Point:
    """One block, upwards from the start of its stream; gives back where the stream leaves it."""
    with torch.device("meta"):
        block = Block(replace(config, norm_order=order))
    norm, post = norm_text(block.attention_norm), order == "post"
    x, y = start
    sheet.text((x, y), f"$X$: $T$ × {config.d_model}")
    sheet.line((x, y - 12), (x, y - 30), weight=STREAM)
    at, parts = (x, y - 30), ((_mixer_words(config), ATTENTION), (_feedforward_words(config, block), FEEDFORWARD))
    for index, (words, colour) in enumerate(parts):
        if index:
            sheet.line(at, (x, at[1] - 14), weight=STREAM)
            at = (x, at[1] - 14)
        part = part_beside(sheet, at, words.name, under=words.under, norm=norm, colour=colour, post=post)
        if noted:
            _add_notes(sheet, part.box, words.notes)
        at = part.top
    return at


def _add_notes(sheet: Sheet, box: Box, notes: list[str]) -> None:
    """Lines beside a box, joined to it."""
    if notes:
        x, y = box.right
        sheet.line((x, y), (x + 12, y), broken=True)
        for line, note in enumerate(notes):
            sheet.text((x + 16, y + 18 * (line - (len(notes) - 1) / 2)), note, side="start")


def _mixer_words(config: ModelConfig) -> _Words:
    match config.attention:
        case AttentionConfig():
            return _Words("attention", "", [], "attention")
        case LatentAttention() as latent:
            kept = f"{latent.kv_rank} + {latent.rope_dim}"
            said = f"latent attention, which keeps {kept} numbers of a token,"
            return _Words("latent attention", f"{latent.num_heads} heads", ["a token keeps", kept], said)
        case GatedDelta() | LinearAttention() as recurrent:
            name = "gated delta rule" if isinstance(recurrent, GatedDelta) else "linear attention"
            memory, _ = state_shapes(recurrent, config.d_model, 1)
            kept = shape_text(memory[1:])
            said = f"{name}, which keeps {kept} numbers of a text,"
            return _Words(name, f"{recurrent.num_heads} heads", ["a text keeps", kept], said)


def _feedforward_words(config: ModelConfig, block: Block | None = None) -> _Words:
    d_model = config.d_model
    match config.feedforward:
        case Experts(num_experts=number, top_k=top, d_ff=d_ff, shared=shared):
            notes = [f"{top} for a token"] + ([] if shared is None else [f"shared: {shared.d_ff}"])
            said = f"{top} of {number} experts{' and a shared one' if shared else ''}, chosen by a router,"
            return _Words(f"{number} experts", f"{d_model} → {d_ff} → {d_model}", notes, said)
        case part:
            wide = part.d_ff if block is None else hidden_width(block)
            return _Words("feed-forward", f"{d_model} → {wide} → {d_model}", [], "the feed-forward network")
