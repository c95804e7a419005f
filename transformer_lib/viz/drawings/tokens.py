"""Text to tokens: merges as a tree, the pieces of a word as a lattice with its best path, and the steps of a tokeniser.

Left out: how merges and scores are learned.
"""

import math
from collections.abc import Mapping, Sequence

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.viz.diagram import BLUE, GREY, ORANGE, Box, Drawing, Number, Point, Sheet
from transformer_lib.viz.label import label_width
from transformer_lib.viz.parts import STREAM, number_text, token_box

MOST_LETTERS = 9  # that the sheet has room for
LEVEL = 48  # from a merge to what it merges
ROW = 32  # from one row of pieces to the next
ROOM = 318  # pixels beside the name of a step


@checked
def draw_merges(word: str, merges: Sequence[tuple[str, str]]) -> Drawing:
    """The letters of a word below, and above them each merge that is made, with its place in the list of merges."""
    require(1 < len(word) <= MOST_LETTERS, "word", f"must have 2 to {MOST_LETTERS} letters, to have room", word)
    sheet, step = Sheet(), 442 / len(word)
    parts = [(letter, ((i + 0.5) * step, 0.0)) for i, letter in enumerate(word)]
    lines: list[tuple[Point, Point]] = []
    boxes: list[tuple[Point, str, str]] = [(at, letter, GREY) for letter, at in parts]
    names: list[tuple[Point, str]] = []
    made: list[str] = []
    for place, pair in enumerate(merges, start=1):
        i = 0
        while i + 1 < len(parts):
            (left, at_left), (right, at_right) = parts[i : i + 2]
            if (left, right) == pair:
                at = ((at_left[0] + at_right[0]) / 2, min(at_left[1], at_right[1]) - LEVEL)
                lines += [(at, at_left), (at, at_right)]
                boxes.append((at, left + right, BLUE))
                names.append(((at[0], at[1] - 22), f"merge {place}"))
                made.append(f"{left} and {right} by merge {place}")
                parts[i : i + 2] = [(left + right, at)]
            i += 1
    require(bool(made), "merges", "must join letters of the word", list(merges))
    for (x, y), (x_below, y_below) in lines:
        sheet.line((x, y + 12), (x_below, y_below - 12 - (18 if y_below < 0 else 0)))
    for at, piece, colour in boxes:
        token_box(sheet, at, piece, width=max(28, label_width(piece) + 16), colour=colour)
    for at, words in names:
        sheet.text(at, words)
    left_over = ", ".join(piece for piece, _ in parts)
    alt = (
        f"A tree over the letters of {word}. Lines join {'; then '.join(made)}. At the end these pieces are left: "
        f"{left_over}."
    )
    return sheet.drawing("merges", title=f"The merges of {word}", alt=alt)


@checked
def draw_lattice(word: str, scores: Mapping[str, float]) -> Drawing:
    """All pieces of a word that have a score, each above the letters that it covers; the best way through in orange.

    The scores are logarithms of probabilities, and the best way has the greatest sum.
    """
    require(1 < len(word) <= MOST_LETTERS, "word", f"must have 2 to {MOST_LETTERS} letters, to have room", word)
    n, step = len(word), 442 / len(word)
    spans = [(i, j) for j in range(1, n + 1) for i in range(j) if word[i:j] in scores]
    best: list[tuple[float, list[tuple[int, int]]]] = [(0.0, [])]
    for end in range(1, n + 1):
        ways = [(best[i][0] + scores[word[i:j]], [*best[i][1], (i, j)]) for i, j in spans if j == end]
        best.append(max(ways, key=lambda way: way[0], default=(-math.inf, [])))
    total, chosen = best[n]
    require(math.isfinite(total), "scores", "must have pieces that add up to the word", list(scores))
    sheet, ends = Sheet(), list[list[tuple[int, int]]]()
    for i, letter in enumerate(word):
        sheet.text(((i + 0.5) * step, 0), letter, bold=True)
    for i, j in sorted(spans, key=lambda span: (span[1] - span[0], span)):
        fits = [all(j <= a or b <= i for a, b in row) for row in ends]
        row = fits.index(True) if True in fits else len(ends)
        if row == len(ends):
            ends.append([])
        ends[row].append((i, j))
        box = Box(i * step + 2, -20 - ROW * row - 24, (j - i) * step - 4, 26)
        sheet.module(box, colour=ORANGE if (i, j) in chosen else BLUE)
        score = number_text(scores[word[i:j]], 2)
        sheet.text(box.centre, score if j - i == 1 else f"{word[i:j]}  {score}", bold=(i, j) in chosen)
    pieces = " ".join(word[i:j] for i, j in chosen)
    sheet.text((221, 30), f"best: {pieces}, {number_text(total, 3)} in all", bold=True)
    alt = (
        f"The letters of {word} in a row, and above them {len(spans)} bars, one for each piece that the vocabulary "
        f"has, as wide as the letters that it covers and with its score. The bars of the best way, {pieces}, are "
        f"marked; their scores add up to {number_text(total, 3)}."
    )
    return sheet.drawing("lattice", title=f"The pieces of {word}", alt=alt)


@checked
def draw_steps(steps: Sequence[tuple[str, Sequence[str]]]) -> Drawing:
    """What each step of a tokeniser makes of a text: its name on the left, and what it hands on as boxes in a row."""
    require(1 < len(steps) <= 8, "steps", "must be 2 to 8 in number, to have room", len(steps))
    sheet, before = Sheet(), None
    for row, (name, pieces) in enumerate(steps):
        y = 52 * row
        widths = [max(20.0, label_width(_seen(piece)) + 14) for piece in pieces]
        wide = sum(widths) + 4 * (len(widths) - 1)
        require(len(pieces) > 0 and wide <= ROOM, f"steps[{row}]", "must have pieces that fit in a row", list(pieces))
        box = sheet.module(Box(2, y - 14, 112, 28), name, colour=BLUE if row > 0 else GREY)
        if before is not None:
            sheet.arrow(before, box.top, weight=STREAM)
        before = box.bottom
        x: Number = 122
        for piece, width in zip(pieces, widths, strict=True):
            token_box(sheet, (x + width / 2, y), piece, width=width)
            x += width + 4
    told = "; ".join(f"{name}, {len(pieces)}" for name, pieces in steps)
    alt = (
        "Steps one below the other, with an arrow from each to the next, and beside each what it hands on, in boxes. "
        f"The steps and how many boxes each has: {told}."
    )
    return sheet.drawing("tokens", title="The steps of a tokeniser", alt=alt)


def _seen(piece: str) -> str:
    return piece.replace("$", "\N{FULLWIDTH DOLLAR SIGN}")
