"""The words in a drawing: plain text, with symbols between dollar signs as in a formula, `'queries $Q = X W_Q$'`.

A symbol is set as formulas are, in an italic serif, or upright and bold between double asterisks, as in `'$**V**$'`;
`_` lowers and `^` raises one character, or what stands in braces.
No letter is smaller than `TEXT`, lowered ones included, so that a phone can shrink the whole by a quarter.
Left out: fractions, roots, accents, and every other command of TeX; Unicode has Greek letters, arrows and ⊙.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.sax.saxutils import escape

from transformer_lib.config import require
from transformer_lib.contract import checked

TEXT, SYMBOL = 13, 17  # the size of plain words and lowered letters; that of a symbol, whose serifs look smaller
LOWERED, RAISED = 4, -7  # how far a baseline is moved down
NARROW, WIDE = frozenset("fijlrtI.,:;!|'()[] "), frozenset("mwMW")
PIECE = re.compile(r"\*\*[^*]+\*\*|[_^](?:\{[^{}]*\}|[^{}])|[A-Za-zα-ωΔΣ]+|[^_^*A-Za-zα-ωΔΣ{}]+")


@checked
class Run(NamedTuple):
    """Characters that are set alike: size, whether in an italic serif or a bold one, and how far below the line."""

    text: str
    size: int = TEXT
    symbol: bool = False
    below: int = 0
    bold: bool = False


@checked
def parse_label(label: str) -> list[Run]:
    """The runs of a label, in order; `ValueError` for a dollar sign or a brace without its partner."""
    parts = label.split("$")
    require(len(parts) % 2 == 1, "label", "must have its dollar signs in pairs", label)
    return [run for i, part in enumerate(parts) for run in (_symbols(part) if i % 2 else [Run(part)]) if run.text]


@checked
def label_svg(label: str) -> str:
    """The label as the inside of an SVG `text` element."""
    written, line = [], 0
    for run in parse_label(label):
        style = f' dy="{run.below - line}"' if run.below != line else ""
        line = run.below
        if run.size != TEXT:
            style += f' font-size="{run.size}"'
        if run.symbol:
            style += ' font-family="serif" font-style="italic"'
        if run.bold:
            style += ' font-family="serif" font-weight="bold"'
        written.append(f"<tspan{style}>{escape(run.text)}</tspan>" if style else escape(run.text))
    return "".join(written)


@checked
def label_width(label: str) -> float:
    """About how wide a label is: no reader has quite the same letters. Enough to put labels at even distances."""
    parts = {letter: 0.36 if letter in NARROW else 0.9 if letter in WIDE else 0.61 for letter in label}
    return sum(run.size * parts[letter] for run in parse_label(label) for letter in run.text)


def _symbols(formula: str) -> Iterator[Run]:
    pieces = PIECE.findall(formula)
    require("".join(pieces) == formula, "label", "must have its braces in pairs, after _ or ^", formula)
    for piece in pieces:
        if piece.startswith("**"):
            yield Run(piece.strip("*"), SYMBOL, bold=True)
        elif piece[0] in "_^":
            inside = piece[1:].strip("{}")
            yield Run(inside, TEXT, inside.isalpha() and len(inside) == 1, LOWERED if piece[0] == "_" else RAISED)
        else:
            yield Run(piece, SYMBOL, piece[0].isalpha())
