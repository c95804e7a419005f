"""Every drawing of the book can be read, says what it shows, and takes the sizes that it writes from what runs."""

from xml.etree import ElementTree

import pytest

from tests.viz.drawn.case import every_case
from tests.viz.layout import faults, texts

CASES = every_case()


@pytest.mark.parametrize("label", CASES)
@pytest.mark.parametrize("n", [1, 2])
def test_a_drawing_can_be_read(label: str, n: int) -> None:
    assert faults(CASES[label].draw(n).svg) == []


@pytest.mark.parametrize("label", CASES)
def test_its_labels_follow_what_runs(label: str) -> None:
    case = CASES[label]
    for n, other in ((1, 2), (2, 1)):
        written = [text.words for text in texts(case.draw(n).svg)]
        assert [words for words in case.labels(n) if words not in written] == []
        assert case.labels(n) and not set(case.labels(n)) & set(case.labels(other))


@pytest.mark.parametrize("label", CASES)
def test_it_says_what_it_shows(label: str) -> None:
    drawing = CASES[label].draw()
    root = ElementTree.fromstring(drawing.svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert label == f"fig-draw-{drawing.name}" and root.get("data-drawing") == drawing.name
    assert ids == [f"drawing-{drawing.name}-{part}" for part in ("title", "desc")]
    assert 60 < len(drawing.alt) < 600 and drawing.alt[0].isupper() and drawing.alt.endswith(".")


@pytest.mark.parametrize("label", CASES)
def test_it_is_drawn_the_same_twice(label: str) -> None:
    assert CASES[label].draw().svg == CASES[label].draw().svg


def test_no_two_drawings_have_a_name_in_common() -> None:
    names = [case.draw().name for case in CASES.values()]
    assert len(set(names)) == len(names)
