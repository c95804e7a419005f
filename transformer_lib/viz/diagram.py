"""Drawings of models: tensors as rectangles, modules as rounded boxes, arrows, bars, grids and words, written as SVG.

A `Sheet` is drawn on and becomes a `Drawing`. All measures are CSS pixels of a sheet 442 wide, which is 4.6 inches;
a phone shrinks it to 342, and letters stay at 10. Lines and letters have the colour of the text around the drawing
(`currentColor`), areas that of Okabe and Ito (2008), half transparent: both go on a white and on a dark page.
Left out, and found in Graphviz or drawsvg: placing things by itself, curves, gradients, animation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from xml.sax.saxutils import escape

from transformer_lib.checks import require, require_between, require_sizes
from transformer_lib.contract import checked, require_parts
from transformer_lib.viz import style as hues
from transformer_lib.viz.label import TEXT, label_svg, label_width

WIDTH = 442  # 4.6 inches
MARGIN = 6  # above the highest thing on a sheet and below the lowest
HEAD, HALF_HEAD = 7, 3.2  # length of an arrow's head, and half its width
BLUE, RED, GREEN = hues.BLUE, hues.ORANGE, hues.GREEN
PINK, ORANGE, SKY = hues.PINK, hues.AMBER, hues.SKY
NONE, GREY = "none", "currentColor"
CLEAR = {GREY: 0.1, NONE: 1.0}  # how much of a colour an area has, where it is not what follows
GROUND, TINT, FULL = 0.06, 0.3, 0.8  # behind bars; of a shape; of a bar or a filled cell
Point = tuple[int | float, int | float]
Number = int | float
Side = Literal["start", "middle", "end"]


@checked
@dataclass(frozen=True)
class Drawing:
    """A finished drawing: a notebook shows the picture, a terminal its name; `alt` says in words what is seen."""

    name: str
    alt: str
    svg: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"drawing of {self.name}"


@checked
class Box(NamedTuple):
    """A rectangle on the sheet, by its upper left corner; what is drawn gives it back, so that arrows can meet it."""

    x: Number
    y: Number
    width: Number
    height: Number

    @classmethod
    def around(cls, x: Number, y: Number, width: Number, height: Number) -> "Box":
        """The rectangle with this centre."""
        return cls(x - width / 2, y - height / 2, width, height)

    @property
    def centre(self) -> Point:
        """The point in the middle."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def top(self) -> Point:
        """The middle of the upper side."""
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> Point:
        """The middle of the lower side."""
        return self.x + self.width / 2, self.y + self.height

    @property
    def left(self) -> Point:
        """The middle of the left side."""
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> Point:
        """The middle of the right side."""
        return self.x + self.width, self.y + self.height / 2


@checked
class Sheet:
    """A sheet to draw on: x goes right from 0 to 442, y down from anywhere. What is drawn later lies above."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._levels: list[Number] = []  # how high and how low what is drawn reaches

    def text(self, at: Point, label: str, *, side: Side = "middle", bold: bool = False) -> None:
        """A label (see `viz.label`) with its middle, start or end at this point; its letters are centred on it."""
        x, y = at
        weight = ' font-weight="bold"' if bold else ""
        place = f'x="{_number(x)}" y="{_number(y + 0.36 * TEXT)}" text-anchor="{side}"{weight}'
        self._add(f'<text {place} fill="currentColor" stroke="none">{label_svg(label)}</text>', y - 10, y + 10)

    def area(self, box: Box, *, colour: str = GREY, rounded: bool = False, amount: Number | None = None) -> Box:
        """A rectangle without an outline, filled with an amount of the colour from 0 to 1."""
        require_parts(box)
        return self._rectangle(box, colour, amount, 'stroke="none"' + (' rx="6"' if rounded else ""))

    def module(self, box: Box, label: str = "", *, colour: str = GREY, copies: int = 1) -> Box:
        """A part of a model that computes: a rounded box with its name; copies of it lie behind."""
        require_parts(box)
        require_sizes(copies=copies)
        for i in range(copies - 1, 0, -1):
            self._rectangle(Box(box.x + 4 * i, box.y - 4 * i, *box[2:]), colour, None, 'rx="6"')
        self._rectangle(box, colour, None, 'rx="6"')
        if label:
            self.text(box.centre, label)
        return box

    def tensor(
        self, box: Box, label: str = "", *, rows: str = "", columns: str = "", colour: str = BLUE, copies: int = 1
    ) -> Box:
        """A matrix: a rectangle with its name inside; on the left how many rows, above how many columns it has."""
        require_parts(box)
        require_sizes(copies=copies)
        for i in range(copies - 1, 0, -1):
            self._rectangle(Box(box.x + 4 * i, box.y - 4 * i, *box[2:]), colour, None, "")
        self._rectangle(box, colour, None, "")
        behind = 4 * (copies - 1)
        if label:
            self.text(box.centre, label)
        if rows:
            self.text((box.x - 5, box.left[1]), rows, side="end")
        if columns:
            self.text((box.top[0] + behind / 2, box.y - behind - 10), columns)
        return box

    def frame(self, box: Box, label: str = "") -> Box:
        """A broken line around things that belong together, with a word in its upper left corner."""
        require_parts(box)
        self._rectangle(box, NONE, None, 'rx="8" stroke-dasharray="4 3" stroke-opacity="0.7"')
        if label:
            self.text((box.x + 8, box.y + 13), label, side="start")
        return box

    def line(self, *points: Point, broken: bool = False, weight: Number = 1.2) -> None:
        """A line through the points, solid or broken; `weight` is its thickness."""
        require(len(points) > 1, "points", "must be two at least", points)
        style = ' stroke-dasharray="4 3"' if broken else ""
        style += f' stroke-width="{_number(weight)}"' if weight != 1.2 else ""
        self._add(f'<path d="{_path(points)}"{style}/>', *_span(points))

    def arrow(self, *points: Point, broken: bool = False, weight: Number = 1.2) -> None:
        """A line through the points, with a head at the last one."""
        require(len(points) > 1 and points[-1] != points[-2], "points", "must be two that differ, at the end", points)
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        neck = (x1 - dx * HEAD, y1 - dy * HEAD)
        wings = [(neck[0] - s * dy * HALF_HEAD, neck[1] + s * dx * HALF_HEAD) for s in (1, -1)]
        self.line(*points[:-1], neck, broken=broken, weight=weight)
        self._add(f'<path d="{_path([points[-1], *wings])}Z" fill="currentColor" stroke="none"/>', *_span(wings))

    def sign(self, at: Point, label: str = "+") -> Box:
        """An operation on what meets here: a circle with its sign."""
        x, y = at
        self._add(f'<circle cx="{_number(x)}" cy="{_number(y)}" r="10"/>', y - 10, y + 10)
        self.text(at, label)
        return Box.around(x, y, 20, 20)

    def dots(self, at: Point, *, upright: bool = True) -> None:
        """Three dots: and so on."""
        for i in (-6, 0, 6):
            x, y = (at[0], at[1] + i) if upright else (at[0] + i, at[1])
            circle = f'<circle cx="{_number(x)}" cy="{_number(y)}" r="1.5" fill="currentColor" stroke="none"/>'
            self._add(circle, y - 2, y + 2)

    def bars(self, box: Box, values: Sequence[Number], *, colour: str = BLUE, most: Number | None = None) -> Box:
        """A vector as a row of bars from a line, up if positive and down if not; `most` is what the half height shows.

        Where no value is negative the line is the lower side, and the whole height shows `most`.
        """
        require_parts(box)
        require(len(values) > 0, "values", "must not be empty", values)
        most = max(map(abs, values)) if most is None else most
        signed = min(values) < 0
        middle = box.y + box.height / (2 if signed else 1)
        unit = box.height / (2 if signed else 1) / (most or 1)
        step = box.width / len(values)
        self.area(box, amount=GROUND)
        shape = ""
        for i, value in enumerate(values):
            left, right = box.x + (i + 0.12) * step, box.x + (i + 0.88) * step
            shape += _path(
                [(left, middle), (left, middle - value * unit), (right, middle - value * unit), (right, middle)]
            )
        style = f'fill="{colour}" fill-opacity="{FULL}" stroke="none"'
        self._add(f'<path d="{shape}" {style}/>', box.y, box.y + box.height)
        self.line((box.x, middle), (box.x + box.width, middle))
        return box

    def grid(self, box: Box, rows: Sequence[Sequence[Number | bool]], *, colour: str = BLUE) -> Box:
        """A matrix cell by cell, the darker the larger: each from 0 or False (blank) to 1 or True."""
        require_parts(box)
        require(len(rows) > 0 and len(rows[0]) > 0, "rows", "must not be empty", rows)
        require(len({len(row) for row in rows}) == 1, "rows", "must be of one length", [len(row) for row in rows])
        height, width = box.height / len(rows), box.width / len(rows[0])
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                if value:
                    cell = Box(box.x + j * width, box.y + i * height, width, height)
                    self.area(cell, colour=colour, amount=FULL * float(value))
        inner = [((box.x, y), (box.x + box.width, y)) for y in (box.y + i * height for i in range(1, len(rows)))]
        inner += [((x, box.y), (x, box.y + box.height)) for x in (box.x + j * width for j in range(1, len(rows[0])))]
        if inner:
            lines = "".join(map(_path, inner))
            self._add(f'<path d="{lines}" stroke-opacity="0.35" stroke-width="0.8"/>', *_span(inner[0]))
        return self._rectangle(box, NONE, None, "")

    def legend(self, at: Point, entries: Sequence[tuple[str, str]]) -> None:
        """A row of small squares with what their colours mean: (colour, label), from the left, evenly apart."""
        x, y = at
        for colour, label in entries:
            self._rectangle(Box(x, y - 6, 12, 12), colour, None, "")
            self.text((x + 18, y), label, side="start")
            x += 18 + label_width(label) + 22

    def drawing(self, name: str, *, title: str, alt: str) -> Drawing:
        """The finished drawing: `name` marks its ids, so it is a word; `title` is short, `alt` says what is seen."""
        require(name.replace("-", "").isalnum(), "name", "must be letters, digits and hyphens", name)
        require(bool(title.strip()), "title", "must not be empty", title)
        require(bool(alt.strip()), "alt", "must not be empty", alt)
        require(bool(self._parts), "sheet", "must have something on it", "nothing")
        top = min(self._levels) - MARGIN
        height = max(self._levels) + MARGIN - top
        size = f'width="{WIDTH}" height="{_number(height)}" viewBox="0 {_number(top)} {WIDTH} {_number(height)}"'
        mark = f"drawing-{name}"
        spoken = f'role="img" aria-labelledby="{mark}-title {mark}-desc" data-drawing="{name}"'
        style = f'font-family="sans-serif" font-size="{TEXT}" fill="none" stroke="currentColor" stroke-width="1.2"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {spoken} {style} stroke-linejoin="round">',
            f'<title id="{mark}-title">{escape(title)}</title>',
            f'<desc id="{mark}-desc">{escape(alt)}</desc>',
            *self._parts,
            "</svg>",
        ]
        return Drawing(name, alt, "\n".join(lines) + "\n")

    def _rectangle(self, box: Box, colour: str, amount: Number | None, style: str) -> Box:
        require(box.width >= 0 and box.height >= 0, "box", "must not have negative sides", tuple(box))
        amount = CLEAR.get(colour, TINT) if amount is None else amount
        require_between(0, 1, amount=amount)
        place = " ".join(f'{k}="{_number(v)}"' for k, v in box._asdict().items())
        fill = f'fill="{colour}" fill-opacity="{_number(amount)}" ' if colour != NONE else ""
        self._add(f"<rect {place} {fill}{style}".rstrip() + "/>", box.y, box.y + box.height)
        return box

    def _add(self, part: str, top: Number, bottom: Number) -> None:
        self._parts.append(part)
        self._levels += [top, bottom]


def _number(value: Number) -> str:
    """At most two decimals, so that every machine writes the same."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _span(points: Sequence[Point]) -> tuple[Number, Number]:
    return min(y for _, y in points), max(y for _, y in points)
