"""Pieces that several drawings share: a part of a block beside the residual stream, and words for shapes and modules.

Left out: anything drawn only once, which stands in the drawing itself.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from transformer_lib.checks import require, require_sizes
from transformer_lib.config import Alibi, Learned, ModelConfig, NoPositions, Positions, Rope, Sinusoidal
from transformer_lib.contract import checked, require_parts
from transformer_lib.nn.block import Block
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.norm import LayerNorm, RMSNorm
from transformer_lib.viz.diagram import BLUE, GREEN, GREY, ORANGE, PINK, Box, Number, Point, Sheet

ATTENTION, FEEDFORWARD, NORM, TABLE = BLUE, ORANGE, GREEN, PINK  # the colours that the book gives to parts
STREAM = 2.2  # the thickness of the residual stream


@checked
class Beside(NamedTuple):
    """A part beside the stream: its own box, and where the stream goes on above it."""

    box: Box
    top: Point


@checked
def part_beside(
    sheet: Sheet,
    at: Point,
    label: str,
    *,
    norm: str,
    under: str = "",
    colour: str = ATTENTION,
    post: bool = False,
    aside: Number = 110,
) -> Beside:
    """A part that reads the stream and adds to it, drawn upwards from a point on the stream.

    The branch goes `aside` to the right (to the left if negative). `under` is a second line in the box. The
    norm stands in the branch before the part, or, in post-norm order, on the stream after the sum.
    """
    x, y = at
    branch = x + aside
    sheet.line((x, y), (branch, y))
    below = (branch, y)
    if norm and not post:
        box = sheet.module(Box.around(branch, y - 34, 112, 26), norm, colour=NORM)
        sheet.arrow(below, box.bottom)
        below = box.top
    height = 44 if under else 30
    part = sheet.module(Box.around(branch, below[1] - 20 - height / 2, 112, height), colour=colour)
    for words, lower in ((label, -9 if under else 0), (under, 9)):
        if words:
            sheet.text((branch, part.centre[1] + lower), words)
    sheet.arrow(below, part.bottom)
    level = part.y - 20
    plus = sheet.sign((x, level))
    sheet.arrow(part.top, (branch, level), plus.right if aside > 0 else plus.left)
    sheet.arrow((x, y), plus.bottom, weight=STREAM)
    top = plus.top
    if norm and post:
        box = sheet.module(Box.around(x, level - 38, 84, 26), norm, colour=NORM)
        sheet.arrow(top, box.bottom, weight=STREAM)
        top = box.top
    return Beside(part, top)


@checked
def module_above(
    sheet: Sheet,
    at: Point,
    label: str,
    *,
    colour: str = GREY,
    width: Number = 112,
    gap: Number = 24,
    weight: Number = 1.2,
) -> Point:
    """A module that an arrow enters from this point below; gives back where its result leaves, in the middle above."""
    x, y = at
    box = sheet.module(Box.around(x, y - gap - 14, width, 28), label, colour=colour)
    sheet.arrow(at, box.bottom, weight=weight)
    return box.top


@checked
def draw_words(sheet: Sheet, box: Box, words: Sequence[str]) -> Box:
    """Tokens in a row of cells of equal width, each with its word."""
    require_parts(box)
    require(len(words) > 0, "words", "must not be empty", words)
    sheet.grid(box, [[0.2] * len(words)], colour=GREY)
    for i, word in enumerate(words):
        sheet.text((box.x + (i + 0.5) * box.width / len(words), box.centre[1]), word)
    return box


@checked
def shape_text(shape: Sequence[int]) -> str:
    """A shape as a reader writes it: 6 × 64."""
    return " × ".join(f"{size:,}" for size in shape)


@checked
def number_text(value: Number, digits: int = 3) -> str:
    """A number with so many digits that count, and with a minus sign that is as wide as a plus: −0.0103."""
    require(math.isfinite(value), "value", "must be finite", value)
    require_sizes(digits=digits)
    near = float(f"{value:.{digits}g}") + 0.0  # which makes a minus zero plain
    places = max(0, digits - 1 - math.floor(math.log10(abs(near)))) if near else 0
    written = f"{near:,.{places}f}"
    written = written.rstrip("0").rstrip(".") if "." in written else written
    return written.replace("-", "−")


@checked
def token_box(sheet: Sheet, at: Point, word: str, *, width: Number = 46, colour: str = GREY) -> Box:
    """A token in a small box with this centre; white space in it is made visible."""
    seen = word.replace(" ", "·").replace("\n", "↵").replace("\t", "→").replace("$", "\N{FULLWIDTH DOLLAR SIGN}")
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in seen)
    return sheet.module(Box.around(*at, width, 24), shown, colour=colour)


@checked
def two_lines(sheet: Sheet, box: Box, first: str, second: str, *, colour: str = GREY) -> Box:
    """A module with its name in bold, and a line below that says how large it is, or what it gives."""
    require_parts(box)
    sheet.module(box, colour=colour)
    sheet.text((box.centre[0], box.centre[1] - 10), first, bold=True)
    sheet.text((box.centre[0], box.centre[1] + 10), second)
    return box


@checked
def hidden_width(block: Block) -> int:
    """To how many channels the feed-forward network of a block widens its vectors; `ValueError` for experts."""
    one = not isinstance(block.feedforward, MixtureOfExperts)
    require(one, "block", "must have one feed-forward network, and no mixture", type(block.feedforward).__name__)
    assert not isinstance(block.feedforward, MixtureOfExperts)
    return block.feedforward.to_hidden.out_features


@checked
def norm_text(norm: nn.Module) -> str:
    """The short name of a norm, or nothing for what is none."""
    match norm:
        case LayerNorm():
            return "LayerNorm"
        case RMSNorm():
            return "RMSNorm"
        case _:
            return ""


@checked
def positions_text(positions: Positions) -> str:
    """How a model knows its positions, in a word or two."""
    match positions:
        case Rope():
            return "rotary positions"
        case Alibi():
            return "ALiBi"
        case Learned():
            return "learned"
        case Sinusoidal():
            return "sinusoids"
        case NoPositions():
            return "no positions"


@checked
def added_positions(config: ModelConfig) -> bool:
    """Whether the positions of a model are added to its embeddings, and not to its scores or queries."""
    return isinstance(config.positions, Learned | Sinusoidal)
