"""Every drawing stands in one chapter, and in the page itself: spoken, legible on a phone, coloured as the text."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from xml.etree import ElementTree

import nbformat
import pytest
from playwright.sync_api import BrowserContext

from tests.book.pages import OPEN, ROOT, needs_chromium
from tests.viz.drawn.case import every_case

LEAST = 10  # CSS pixels of a letter on a phone
LOOK = """() => [...document.querySelectorAll("svg[data-drawing]")].map(svg => {
    const box = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text, tspan")];
    const scale = box.width / svg.viewBox.baseVal.width;
    const inside = e => {
        const text = e.getBoundingClientRect();
        return text.left > box.left - 1 && text.right < box.right + 1 && text.top > box.top - 1
            && text.bottom < box.bottom + 1;
    };
    return {
        figure: svg.closest("figure").id,
        caption: svg.closest("figure").querySelector("figcaption").innerText.trim(),
        role: svg.getAttribute("role"),
        spoken: svg.getAttribute("aria-labelledby").split(" ").map(id => document.getElementById(id).textContent),
        fits: box.left >= 0 && box.right <= window.innerWidth,
        small: texts.filter(e => parseFloat(getComputedStyle(e).fontSize) * scale < LEAST).map(e => e.textContent),
        outside: texts.filter(e => !inside(e)).map(e => e.textContent),
        colours: [...new Set(texts.map(e => getComputedStyle(e).fill))],
        text: getComputedStyle(document.querySelector("article")).color,
    };
})""".replace("LEAST", str(LEAST))


class Stored(NamedTuple):
    """A drawing as a chapter holds it."""

    page: str
    label: str
    alt: str
    svg: str


def stored() -> list[Stored]:
    """The drawings of all chapters."""
    found = []
    for file in sorted((ROOT / "chapters").rglob("*.ipynb")):
        page = file.relative_to(ROOT).with_suffix("").as_posix()
        for cell in nbformat.read(file, as_version=4).cells:
            for output in cell.get("outputs", []):
                svg = output.get("data", {}).get("image/svg+xml", "")
                if "data-drawing=" in svg:
                    about = cell.metadata.mystnb
                    found.append(Stored(page, about.figure.name, about.image.alt, svg))
    return found


DRAWINGS = stored()
PAGES = sorted({drawing.page for drawing in DRAWINGS})


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drawing_extension", ROOT / "tools" / "drawing_extension.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_drawing_stands_in_one_chapter() -> None:
    assert sorted(drawing.label for drawing in DRAWINGS) == sorted(every_case())


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.label)
def test_a_file_says_what_the_drawing_says(drawing: Stored) -> None:
    root = ElementTree.fromstring(drawing.svg)
    assert drawing.alt == next(element.text for element in root if element.tag.endswith("desc"))


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("path", PAGES)
def test_drawings_stand_in_the_page(browser: BrowserContext, site: str, path: str, width: int) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{site}/{path}.html", wait_until="load")
    page.evaluate(OPEN)
    found = page.evaluate(LOOK)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = page.evaluate(LOOK)
    page.close()
    assert [drawing["figure"] for drawing in found] == [drawing.label for drawing in DRAWINGS if drawing.page == path]
    for light, after in zip(found, dark, strict=True):
        assert light["role"] == "img" and all(light["spoken"]) and len(light["spoken"]) == 2
        assert light["caption"].startswith("Fig.")
        assert light["fits"] and light["small"] == [] and light["outside"] == []
        for look in (light, after):
            assert look["colours"] == [look["text"]]
        assert light["colours"] != after["colours"]
    of_drawings = [name for name in ids if name.startswith("drawing-")]
    assert len(of_drawings) == len(set(of_drawings)) == 2 * len(found)


@pytest.mark.parametrize("path", PAGES)
def test_plots_stay_files_and_drawings_leave_none(html: Path, path: str) -> None:
    text = (html / f"{path}.html").read_text(encoding="utf-8")
    sources = re.findall(r'<img [^>]*src="([^"]+)"', text)
    files = [html / Path(path).parent / source for source in sources if "_images" in source]
    assert files or path == "chapters/tools"  # which has a drawing, and no plot
    assert not any("data-drawing" in file.read_text(encoding="utf-8", errors="ignore") for file in files)


def test_a_drawing_that_stands_twice_has_two_sets_of_ids(tool: ModuleType) -> None:
    svg = '<svg aria-labelledby="x-title x-desc"><title id="x-title">x-title</title><desc id="x-desc">x</desc>'
    assert tool.with_own_ids(svg, 1) == svg
    assert tool.with_own_ids(svg, 2) == (
        '<svg aria-labelledby="x-title-2 x-desc-2"><title id="x-title-2">x-title</title><desc id="x-desc-2">x</desc>'
    )
