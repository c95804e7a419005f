"""Attention in tiles: one tile of scores at a time, and what is kept of those before.

Left out: the backward pass, which makes the tiles again, and heads, of which each is done alike.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.nn.tiled import absorb, start
from transformer_lib.viz.diagram import BLUE, FULL, GREEN, GREY, NONE, ORANGE, PINK, Box, Drawing, Sheet
from transformer_lib.viz.parts import shape_text

MOST = 8  # blocks that the sheet has room for on each side
SIDE, LEFT = 192, 118  # of the square of scores
TOTAL = "\N{SCRIPT SMALL L}"


@checked
def draw_tiles(
    q: Float[Tensor, "query head_dim"],
    k: Float[Tensor, "key head_dim"],
    v: Float[Tensor, "key value_dim"],
    *,
    block: int,
    mask: Literal["causal"] | None = None,
    tile: tuple[int, int],
) -> Drawing:
    """The square of scores in tiles at the moment when one is made: (block of queries, block of keys), from 0."""
    require_positive(block=block)
    for field, part in (("q", q), ("k", k)):
        require(0 < len(part) <= MOST * block, field, f"must have 1 to {MOST * block} rows, to have room", len(part))
        require(len(part) % block == 0, field, f"must have a multiple of {block} rows", len(part))
    rows, columns = len(q) // block, len(k) // block
    now, here = tile
    require(0 <= now < rows and 0 <= here < columns, "tile", f"must be one of {rows} × {columns}", tile)
    require(_is_made(tile, mask), "tile", "must be one that is made", tile)
    queries = q[now * block :][:block]
    seen = start(queries, v)
    for j in range(here + 1):
        seen = absorb(seen, queries @ k[j * block :][:block].mT, v[j * block :][:block])
    sheet, high = Sheet(), SIDE / rows
    _square(sheet, rows, columns, mask, tile)
    for i in range(rows):
        sheet.tensor(Box(LEFT - 60, i * high, 40, high), colour=ORANGE if i == now else PINK)
        sheet.tensor(Box(LEFT + SIDE + 72, i * high, 40, high), colour=GREEN if i == now else PINK if i < now else NONE)
    for i, name in enumerate(("$m$", TOTAL)):
        kept = sheet.tensor(Box(LEFT + SIDE + 22 + 24 * i, now * high, 14, high), colour=GREEN)
        sheet.text((kept.centre[0], kept.y - 12), name)
    middle = (now + 0.5) * high
    sheet.arrow((LEFT + SIDE, middle), (LEFT + SIDE + 22, middle))
    sheet.text((LEFT - 40, -14), "$Q$")
    sheet.text((LEFT + SIDE + 92, -14), "$o$")
    end = SIDE + 70
    states = [(ORANGE, "now"), (GREY, "forgotten"), (BLUE, "to come"), *([(NONE, "never made")] if mask else [])]
    sheet.legend((LEFT - 60, end), states)
    made = sum(_is_made((i, j), mask) for i in range(rows) for j in range(columns))
    one, out = shape_text(seen.peak.shape), shape_text(seen.out.shape)
    sheet.text((221, end + 28), f"kept: $m$ and {TOTAL}, {one} each, and $o$, {out}")
    sheet.text((221, end + 50), f"a tile: {block * block:,} scores; all tiles: {made * block * block:,}")
    alt = (
        f"A square of scores in {rows} × {columns} tiles; on its left the queries, above the keys, below the values. "
        "One tile is being made, of the block of queries in its row and that of keys in its column. Those before are "
        f"forgotten; kept are only m, {TOTAL} and o of the {block} queries of its row."
    )
    return sheet.drawing("tiles", title="Attention in tiles", alt=alt)


def _square(sheet: Sheet, rows: int, columns: int, mask: str | None, tile: tuple[int, int]) -> None:
    """The tiles, with the blocks of keys above them and those of values below."""
    high, wide = SIDE / rows, SIDE / columns
    for i in range(rows):
        for j in range(columns):
            colour = NONE if not _is_made((i, j), mask) else GREY if (i, j) < tile else BLUE
            box = sheet.tensor(Box(LEFT + j * wide, i * high, wide, high), colour=NONE if (i, j) == tile else colour)
            if (i, j) == tile:
                sheet.area(box, colour=ORANGE, amount=FULL)
    for name, y in (("$K^⊤$", -46), ("$**V**$", SIDE + 18)):
        sheet.text((LEFT - 14, y + 14), name)
        for j in range(columns):
            sheet.tensor(Box(LEFT + j * wide, y, wide, 28), colour=ORANGE if j == tile[1] else PINK)


def _is_made(tile: tuple[int, int], mask: str | None) -> bool:
    """Whether any of a tile's queries may look at any of its keys."""
    return mask is None or tile[1] <= tile[0]
