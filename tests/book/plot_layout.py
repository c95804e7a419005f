"""Where the words and lines of a stored plot stand, in points of print.

Matplotlib wrote the letters as outlines, so how far they reach is in the file; no browser and no font is asked.
"""

import math
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.viz.layout import Rectangle, meet

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
DRAWN = ("line2d_", "patch_", "LineCollection_", "PathCollection_", "FillBetween")  # what data is drawn as
APART = 3  # points between a legend and the data: its samples look like data themselves
Matrix = tuple[float, float, float, float, float, float]
Point = tuple[float, float]
SAME: Matrix = (1, 0, 0, 1, 0, 0)


class Stroke(NamedTuple):
    """A line through points, and what of the figure it may be seen in."""

    points: list[Point]
    seen: Rectangle


class Plot(NamedTuple):
    """What stands on a figure."""

    words: list[Rectangle]
    legends: list[Rectangle]
    strokes: list[Stroke]
    sheet: Rectangle


def faults(svg: str) -> list[str]:
    """Words that are covered, crossed or cut, one line each."""
    plot = read(svg)
    sheet = plot.sheet
    found = [f"cut: {box.words}" for box in plot.words if clipped(box, sheet) != box]
    for one, other in combinations(plot.words, 2):
        if over(one, other):
            found.append(f"overlap: {one.words} and {other.words}")
    for box in (*plot.words, *(padded(legend, APART) for legend in plot.legends)):
        if any(_meets(box, stroke) for stroke in plot.strokes):
            found.append(f"crossed by a line: {box.words}")
    return found


def read(svg: str) -> Plot:
    """The words, legends and lines of a figure that Matplotlib wrote."""
    root = ElementTree.fromstring(svg)
    named = {element.get("id", ""): element for element in root.iter()}
    said = dict(re.findall(r'<g id="(text_\d+)"[^>]*>\s*(?:<g[^>]*>\s*)*<!-- (.*?) -->', svg))
    width, height = map(float, root.get("viewBox", "").split()[2:])
    plot = Plot([], [], [], Rectangle(0, 0, width, height))
    for group in root.iter(f"{SVG}g"):
        name = group.get("id", "")
        if name.startswith(("text_", "legend_")):
            points = [point for stroke in _strokes(group, named, plot.sheet, letters=True) for point in stroke.points]
            if points:
                box = around(points, said.get(name, name))
                (plot.words if name.startswith("text_") else plot.legends).append(box)
    for legend in [group for name, group in named.items() if name.startswith("legend_")]:
        legend.clear()  # its samples are no data
    for group in root.iter(f"{SVG}g"):
        if group.get("id", "").startswith(DRAWN):
            plot.strokes.extend(_strokes(group, named, plot.sheet))
    return plot


def around(points: list[Point], words: str = "") -> Rectangle:
    """The smallest rectangle that holds all points."""
    x, y = zip(*points, strict=True)
    return Rectangle(min(x), min(y), max(x), max(y), words)


def padded(box: Rectangle, by: float) -> Rectangle:
    """A rectangle with room around it."""
    return Rectangle(box.left - by, box.top - by, box.right + by, box.bottom + by, box.words)


def clipped(box: Rectangle, to: Rectangle) -> Rectangle:
    """What of a rectangle lies in another."""
    sides = max(box.left, to.left), max(box.top, to.top), min(box.right, to.right), min(box.bottom, to.bottom)
    return Rectangle(*sides, box.words)


def over(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles have a part in common."""
    part = clipped(one, other)
    return part.left < part.right and part.top < part.bottom


def _meets(box: Rectangle, stroke: Stroke) -> bool:
    seen = clipped(box, stroke.seen)
    if seen.left >= seen.right or seen.top >= seen.bottom:
        return False
    return any(meet(seen, *one, *other) for one, other in pairwise(stroke.points))


def _strokes(group: Element, named: dict[str, Element], seen: Rectangle, *, letters: bool = False) -> Iterator[Stroke]:
    """The outlines in a group. Only what has a line of its own, unless letters are wanted, which are filled."""
    within = group.get("clip-path", "")[5:-1]
    if within in named and (frame := named[within].find(f"{SVG}rect")) is not None:
        x, y, width, height = (float(frame.get(key, 0)) for key in ("x", "y", "width", "height"))
        seen = clipped(Rectangle(x, y, x + width, y + height), seen)
    matrix = _matrix(group.get("transform", ""))
    if group.tag == f"{SVG}path":
        if letters or re.search(r"stroke: #", group.get("style", "")):
            yield Stroke([_moved(matrix, point) for point in _points(group)], seen)
    elif group.tag == f"{SVG}use":
        shape = named[group.get(LINK, "")[1:]]
        matrix = _product(matrix, (1, 0, 0, 1, float(group.get("x", 0)), float(group.get("y", 0))))
        matrix = _product(matrix, _matrix(shape.get("transform", "")))
        yield Stroke([_moved(matrix, point) for point in _points(shape)], seen)
    elif group.tag == f"{SVG}g":
        for part in group:
            for points, still in _strokes(part, named, seen, letters=letters):
                yield Stroke([_moved(matrix, point) for point in points], still)


def _points(path: Element) -> list[Point]:
    numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", path.get("d", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _matrix(transform: str) -> Matrix:
    matrix = SAME
    for kind, inside in re.findall(r"(\w+)\(([^)]*)\)", transform):
        first, *rest = (float(number) for number in re.split(r"[ ,]+", inside.strip()))
        match kind:
            case "translate":
                matrix = _product(matrix, (1, 0, 0, 1, first, rest[0] if rest else 0))
            case "scale":
                matrix = _product(matrix, (first, 0, 0, rest[0] if rest else first, 0, 0))
            case "rotate":
                cosine, sine = math.cos(math.radians(first)), math.sin(math.radians(first))
                matrix = _product(matrix, (cosine, sine, -sine, cosine, 0, 0))
            case _:
                raise ValueError(f"no such transform here: {kind}")
    return matrix


def _product(one: Matrix, other: Matrix) -> Matrix:
    a, b, c, d, *_ = one
    right, down = _moved(one, (other[4], other[5]))
    p, q, r, s, *_ = other
    return a * p + c * q, b * p + d * q, a * r + c * s, b * r + d * s, right, down


def _moved(matrix: Matrix, point: Point) -> Point:
    a, b, c, d, right, down = matrix
    x, y = point
    return a * x + c * y + right, b * x + d * y + down
