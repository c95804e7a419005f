"""Where the words and lines of a drawing stand, measured in DejaVu Sans, which is wider than what most readers have."""

import functools
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any, NamedTuple
from xml.etree import ElementTree

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

SVG = "{http://www.w3.org/2000/svg}"
PHONE = 342  # CSS pixels that a figure has on a screen of 390
LEAST = 10  # CSS pixels of a letter there


class Rectangle(NamedTuple):
    """A rectangle by its sides, with the words in it, if any."""

    left: float
    top: float
    right: float
    bottom: float
    words: str = ""


@functools.cache
def _font(family: str, italic: bool, bold: bool) -> FT2Font:
    style, weight = "italic" if italic else "normal", "bold" if bold else "normal"
    name = "DejaVu Serif" if family == "serif" else "DejaVu Sans"
    return FT2Font(font_manager.findfont(font_manager.FontProperties(family=name, style=style, weight=weight)))


def _width(text: str, size: float, family: str, italic: bool, bold: bool) -> float:
    font = _font(family, italic, bold)
    font.set_size(size, 72)
    font.set_text(text)
    return font.get_width_height()[0] / 64


def sizes(svg: str) -> list[float]:
    """The size of each run of letters, in the drawing's own pixels."""
    root = ElementTree.fromstring(svg)
    given = [e.get("font-size", root.get("font-size")) for e in root.iter() if e.tag in (f"{SVG}text", f"{SVG}tspan")]
    return [float(size or 0) for size in given]


def texts(svg: str) -> list[Rectangle]:
    """The extent of each text, from the top of its capitals to its baseline or to that of a lowered letter."""
    root = ElementTree.fromstring(svg)
    found = []
    for text in root.iter(f"{SVG}text"):
        bold = text.get("font-weight") == "bold"
        runs: list[tuple[str, Any]] = [(text.text or "", {})]
        for part in text:
            runs += [(part.text or "", part.attrib), (part.tail or "", {})]
        base = float(root.get("font-size", 0))
        width = sum(
            _width(
                words, float(style.get("font-size", base)), style.get("font-family", ""), "font-style" in style, bold
            )
            for words, style in runs
            if words
        )
        high = max(float(style.get("font-size", base)) for words, style in runs if words) * 0.75
        x, y = float(text.get("x", 0)), float(text.get("y", 0))
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")]
        lowest = max((float(style.get("dy", 0)) for _, style in runs), default=0)
        words = "".join(words for words, _ in runs)
        found.append(Rectangle(left, y - high, left + width, y + max(lowest, 1), words))
    return found


def lines(svg: str) -> Iterator[tuple[float, float, float, float]]:
    """The straight lines: those of paths, and the outlines of rectangles and (as squares) of circles."""
    root = ElementTree.fromstring(svg)
    for shape in root.iter():
        if shape.get("stroke") == "none":
            continue
        if shape.tag == f"{SVG}rect":
            x, y, width, height = (float(shape.get(key, 0)) for key in ("x", "y", "width", "height"))
            corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
        elif shape.tag == f"{SVG}circle":
            x, y, r = (float(shape.get(key, 0)) for key in ("cx", "cy", "r"))
            corners = [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r), (x - r, y - r)]
        elif shape.tag == f"{SVG}path":
            for piece in shape.get("d", "").split("M")[1:]:
                numbers = list(map(float, re.findall(r"-?[\d.]+", piece)))
                points = list(zip(numbers[::2], numbers[1::2], strict=True))
                yield from ((*start, *end) for start, end in pairwise(points))
            continue
        else:
            continue
        yield from ((*start, *end) for start, end in pairwise(corners))


def faults(svg: str) -> list[str]:
    """What a reader could not read: one line each."""
    root = ElementTree.fromstring(svg)
    x, y, width, height = map(float, root.get("viewBox", "").split())
    words = texts(svg)
    found = [f"letters of {s}" for s in sizes(svg) if s * PHONE / width < LEAST]
    for text in words:
        if text.left < x or text.right > x + width or text.top < y or text.bottom > y + height:
            found.append(f"leaves the sheet: {text.words}")
    for one, other in combinations(words, 2):
        if one.left < other.right and other.left < one.right and one.top < other.bottom and other.top < one.bottom:
            found.append(f"overlap: {one.words} and {other.words}")
    for x1, y1, x2, y2 in lines(svg):
        if min(x1, x2) < x or max(x1, x2) > x + width or min(y1, y2) < y or max(y1, y2) > y + height:
            found.append(f"a line leaves the sheet: {x1} {y1} {x2} {y2}")
    return found + [
        f"crossed by a line: {text.words}" for text in words if any(meet(text, *line) for line in lines(svg))
    ]


def meet(box: Rectangle, x1: float, y1: float, x2: float, y2: float) -> bool:
    """Whether a line enters a rectangle (Liang and Barsky 1984)."""
    first, last = 0.0, 1.0
    dx, dy = x2 - x1, y2 - y1
    for step, room in ((-dx, x1 - box.left), (dx, box.right - x1), (-dy, y1 - box.top), (dy, box.bottom - y1)):
        if step == 0 and room <= 0:
            return False
        if step < 0:
            first = max(first, room / step)
        elif step > 0:
            last = min(last, room / step)
    return first < last
