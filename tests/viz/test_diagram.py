"""The words and shapes of which drawings are made."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from tests.viz.layout import SVG, faults, sizes, texts
from transformer_lib.viz.diagram import BLUE, WIDTH, Box, Drawing, Sheet
from transformer_lib.viz.label import Run, label_svg, parse_label


def drawn(*steps: Callable[[Sheet], object]) -> Drawing:
    sheet = Sheet()
    for step in steps:
        step(sheet)
    return sheet.drawing("test", title="A test", alt="What a test draws.")


def inside(drawing: Drawing, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(drawing.svg).iter(f"{SVG}{tag}"))


def test_a_label_has_plain_words_and_symbols() -> None:
    assert parse_label("plain") == [Run("plain")]
    assert parse_label("$W_Q$") == [Run("W", 17, True), Run("Q", 13, True, 4)]
    assert parse_label("keys $K^T$") == [Run("keys "), Run("K", 17, True), Run("T", 13, True, -7)]
    assert parse_label("$d_{model}$") == [Run("d", 17, True), Run("model", 13, False, 4)]


def test_a_lowered_letter_is_followed_by_one_on_the_line() -> None:
    lowered, back = label_svg("$a_t$ b").split("</tspan>")[1:3]
    assert ' dy="4"' in lowered and back == '<tspan dy="-4"> b'


def test_a_label_is_escaped() -> None:
    assert label_svg("a < b & c") == "a &lt; b &amp; c"


@pytest.mark.parametrize("label", ["$x", "a $b$ $", "$d_{k$", "$}$", "$x_$"])
def test_a_broken_label_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="label must have its"):
        parse_label(label)


def test_a_drawing_says_what_it_is() -> None:
    drawing = drawn(lambda sheet: sheet.module(Box(10, 10, 80, 30), "norm"))
    root = ElementTree.fromstring(drawing.svg)
    assert (root.get("role"), root.get("data-drawing")) == ("img", "test")
    assert root.get("aria-labelledby") == "drawing-test-title drawing-test-desc"
    assert [(e.get("id"), e.text) for e in root if e.get("id")] == [
        ("drawing-test-title", "A test"),
        ("drawing-test-desc", "What a test draws."),
    ]
    assert root.get("stroke") == "currentColor"
    assert drawing._repr_mimebundle_() == {"image/svg+xml": drawing.svg, "text/plain": "drawing of test"}


def test_the_sheet_is_as_high_as_what_is_on_it() -> None:
    drawing = drawn(lambda sheet: sheet.module(Box(10, -50, 80, 70)))
    assert f'viewBox="0 -56 {WIDTH} 82"' in drawing.svg


def test_an_arrow_ends_at_its_last_point() -> None:
    line, head = (path.get("d") for path in inside(drawn(lambda sheet: sheet.arrow((10, 10), (50, 10))), "path"))
    assert line == "M10 10L43 10" and head == "M50 10L43 13.2L43 6.8Z"


def test_bars_stand_on_a_line_and_hang_below_it() -> None:
    bars, line = inside(drawn(lambda sheet: sheet.bars(Box(0, 0, 20, 40), [2, -1])), "path")
    assert bars.get("d") == "M1.2 20L1.2 0L8.8 0L8.8 20M11.2 20L11.2 30L18.8 30L18.8 20"
    assert line.get("d") == "M0 20L20 20"


def test_bars_that_are_never_negative_use_the_whole_height() -> None:
    bar, line = inside(drawn(lambda sheet: sheet.bars(Box(0, 0, 20, 40), [0.5], most=1)), "path")
    assert bar.get("d") == "M2.4 40L2.4 20L17.6 20L17.6 40" and line.get("d") == "M0 40L20 40"


def test_a_grid_fills_what_is_not_zero() -> None:
    *cells, outline = inside(drawn(lambda sheet: sheet.grid(Box(0, 0, 40, 20), [[True, False, 0.5, 0]])), "rect")
    assert [(cell.get("x"), cell.get("fill-opacity")) for cell in cells] == [("0", "0.8"), ("20", "0.4")]
    assert outline.get("width") == "40"


def test_copies_lie_behind() -> None:
    behind, front = inside(drawn(lambda sheet: sheet.tensor(Box(0, 0, 40, 20), copies=2)), "rect")
    assert (behind.get("x"), behind.get("y"), front.get("x")) == ("4", "-4", "0")


def test_the_corners_of_a_box() -> None:
    box = Box.around(100, 50, 40, 20)
    assert box == (80, 40, 40, 20)
    assert (box.centre, box.top, box.bottom, box.left, box.right) == (
        *((100, 50), (100, 40), (100, 60), (80, 50), (120, 50)),
    )


REFUSED: dict[str, Callable[[Sheet], object]] = {
    "points": lambda sheet: sheet.arrow((1, 1), (1, 1)),
    "values": lambda sheet: sheet.bars(Box(0, 0, 1, 1), []),
    "rows": lambda sheet: sheet.grid(Box(0, 0, 1, 1), [[1], [1, 1]]),
    "copies": lambda sheet: sheet.tensor(Box(0, 0, 1, 5), copies=0),
    "amount": lambda sheet: sheet.grid(Box(0, 0, 1, 1), [[2]]),
    "name": lambda sheet: sheet.drawing("two words", title="t", alt="a"),
    "title": lambda sheet: sheet.drawing("x", title=" ", alt="a"),
    "alt": lambda sheet: sheet.drawing("x", title="t", alt=""),
    "sheet": lambda sheet: sheet.drawing("x", title="t", alt="a"),
    "box": lambda sheet: sheet.module(Box(0, 0, -1, 5)),
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_drawn_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        REFUSED[field](Sheet())


# The judge of layouts itself.


def test_letters_are_measured() -> None:
    (text,) = texts(drawn(lambda sheet: sheet.text((100, 50), "attention")).svg)
    assert 55 < text.right - text.left < 70
    assert abs((text.left + text.right) / 2 - 100) < 0.01 and text.top < 50 < text.bottom


SPOILED: dict[str, Callable[[Sheet], object]] = {
    "leaves the sheet": lambda sheet: sheet.text((5, 0), "attention"),
    "overlap": lambda sheet: [sheet.text((100, y), "attention") for y in (0, 8)],
    "crossed": lambda sheet: [sheet.text((100, 0), "attention"), sheet.line((100, -30), (110, 30))],
    "crossed by a line": lambda sheet: sheet.module(Box.around(100, 0, 40, 20), "attention"),
    "a line leaves": lambda sheet: sheet.line((0, 0), (WIDTH + 1, 0)),
}


@pytest.mark.parametrize("complaint", SPOILED)
def test_a_spoiled_drawing_is_found(complaint: str) -> None:
    assert any(fault.startswith(complaint) for fault in faults(drawn(SPOILED[complaint]).svg))


def test_the_entries_of_a_legend_stand_evenly() -> None:
    drawing = drawn(lambda sheet: sheet.legend((6, 0), [(BLUE, "computed now"), (BLUE, "kept"), (BLUE, "empty")]))
    words = texts(drawing.svg)
    squares = [float(x) for x in re.findall(r'<rect x="([^"]+)"', drawing.svg)]
    gaps = [square - word.right for word, square in zip(words, squares[1:], strict=False)]
    assert 10 < min(gaps) <= max(gaps) < 1.5 * min(gaps)


def test_small_letters_are_found() -> None:
    drawing = drawn(lambda sheet: sheet.text((100, 0), "$W_Q$"))
    assert faults(drawing.svg) == [] and sizes(drawing.svg) == [13, 17, 13]
    assert faults(drawing.svg.replace('font-size="13"', 'font-size="12"')) == ["letters of 12.0"] * 2


def test_a_good_drawing_has_no_fault() -> None:
    def step(sheet: Sheet) -> None:
        box = sheet.tensor(Box(60, 30, 80, 40), "$Q$", rows="6", columns="64", colour=BLUE)
        sheet.arrow(box.bottom, (100, 100))
        sheet.sign((100, 110))
        sheet.frame(Box(20, -10, 150, 140), "head 0")
        sheet.legend((200, 40), [(BLUE, "queries")])
        sheet.dots((300, 40))

    assert faults(drawn(step).svg) == []
