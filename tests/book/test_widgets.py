"""Widgets on the pages: their scripts stand where they are used and nowhere else, they answer to keys, fingers and a
mouse, and without scripts and on paper their static form is what one sees.
"""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nbformat
import pytest
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import ROOT, needs_chromium, toc_pages
from tests.book.test_axe import pale, violations

SCRIPTS = ROOT / "_static" / "widgets"
DIRECTIVE = re.compile(r"^```+\{widget\} ([\w-]+)\n", re.MULTILINE)


def source(page: str) -> str:
    """The text cells of a chapter, or the text of a page."""
    path = ROOT / f"{page}.ipynb"
    if not path.is_file():
        return (ROOT / f"{page}.md").read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


PLACED = {page: names for page in toc_pages() if (names := DIRECTIVE.findall(source(page)))}
PLACES = [(page, name) for page, names in PLACED.items() for name in names]


@pytest.fixture(scope="module")
def extension() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("widget_extension")


# What a page carries ------------------------------------------------------------------------------------------------


def asked_for(text: str) -> list[str]:
    """Scripts and style sheets of widgets, questions and models that a page names."""
    return re.findall(r'(?:src|href)="[^"]*_static/((?:widgets/|questions|models/)[^"?]*)', text)


def test_a_page_carries_the_scripts_of_its_widgets_and_no_others(html: Path) -> None:
    for path in [*html.glob("*.html"), *(html / "chapters").rglob("*.html")]:
        name = path.relative_to(html).with_suffix("").as_posix()
        scripts = [file for file in asked_for(path.read_text(encoding="utf-8")) if file.startswith("widgets/")]
        own = {"widget.js", "widget.css"} if name in PLACED else set()
        for widget in PLACED.get(name, []):
            tried = [f"data/{widget}.js", f"{widget}_numbers.js", f"{widget}.js"]
            own |= {file for file in tried if (html / "_static" / "widgets" / file).is_file()}
        assert sorted(scripts) == sorted(f"widgets/{file}" for file in own), name
        assert all((html / "_static" / file).is_file() for file in scripts)


def test_the_base_comes_first_then_numbers_then_what_is_seen(html: Path) -> None:
    for page, names in PLACED.items():
        text = (html / f"{page}.html").read_text(encoding="utf-8")
        scripts = [file.removeprefix("widgets/") for file in asked_for(text) if file.endswith(".js")]
        scripts = [file for file in scripts if not file.startswith("questions")]
        assert scripts[0] == "widget.js"
        for name in names:
            order = [scripts.index(file) for file in (f"data/{name}.js", f"{name}_numbers.js") if file in scripts]
            assert [*order, scripts.index(f"{name}.js")] == sorted([*order, scripts.index(f"{name}.js")])
        for tag in re.findall(r"<script[^>]*_static/widgets/[^>]*>", text):
            assert re.search(r" defer ", tag) and re.search(r"\.js\?v=[0-9a-f]{8}\"", tag), tag


def test_scripts_with_lists_of_their_own_leave_every_page(extension: ModuleType) -> None:
    from sphinx.builders.html import StandaloneHTMLBuilder

    listed = ["_static/page.js", "_static/widgets/widget.js", "_static/questions.js", "_static/models/tale.js", None]
    app = SimpleNamespace(builder=object.__new__(StandaloneHTMLBuilder))
    context = {kind: [SimpleNamespace(filename=file) for file in listed] for kind in ("script_files", "css_files")}
    lists = dict(context)
    extension.put_scripts(app, "search", "search.html", context, None)
    for kind, files in context.items():
        assert [file.filename for file in files] == ["_static/page.js", None]
        assert files is lists[kind]  # the list of the builder itself, which other extensions go on with


def test_the_words_of_a_widget_keep_no_rule_of_a_style_sheet(extension: ModuleType, tmp_path: Path) -> None:
    """The sheets of all pages keep the rules whose classes a script names: those of widgets and models do not count."""
    weight = importlib.import_module("page_weight")
    for name in ("page.js", "widgets/mask.js", "widgets/data/mask.js", "models/tale.js", "search/find.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in weight.scripts(tmp_path)]
    assert sorted(found) == ["page.js", "search/find.js"]


def test_an_epub_carries_none(extension: ModuleType, tmp_path: Path) -> None:
    for name, kept in (("html", True), ("epub", False)):
        script = tmp_path / "_static" / "widgets" / "mask.js"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.touch()
        app = SimpleNamespace(builder=SimpleNamespace(name=name), outdir=tmp_path)
        extension.only_for_browsers(app, None)
        assert script.exists() == kept


# What the directive asks for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```{widget} nowhere\n:alt: x\n\nStatic.\n```", "must be a script of _static/widgets, got nowhere"),
        ("```{widget} widget\n:alt: x\n\nStatic.\n```", "must be a script of _static/widgets, got widget"),
        ("```{widget} mask\n\nStatic.\n```", "must have :alt: and a static form"),
        ("```{widget} mask\n:alt: x\n```", "must have :alt: and a static form"),
    ],
)
def test_a_wrong_directive_is_refused(extension: ModuleType, text: str, said: str) -> None:
    from docutils.core import publish_doctree
    from docutils.parsers.rst import directives
    from myst_parser.docutils_ import Parser

    directives.register_directive("widget", extension.Widget)
    tree = publish_doctree(text, parser=Parser(), settings_overrides={"report_level": 5, "halt_level": 5})
    assert said in tree.astext()


def test_numbers_are_written_as_a_script_that_any_page_may_load(extension: ModuleType) -> None:
    script = extension.data_script("mask", {"words": ["é", "</script>"], "x": [1.5, None]})
    assert script.startswith('Widget.data("mask", {') and script.endswith("});\n")
    assert json.loads(script[len('Widget.data("mask", ') : -3]) == {"words": ["é", "</script>"], "x": [1.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        extension.data_script("mask", {"x": float("nan")})


def test_a_static_form_reads_as_text(html: Path) -> None:
    """In Jupyter the block is seen as it stands, and on paper it is all there is."""
    assert PLACES
    for page, name in PLACES:
        body = re.search(rf"^(```+)\{{widget\}} {name}\n(.*?)^\1$", source(page), re.DOTALL | re.MULTILINE)
        assert body and (alt := re.match(r":alt: (.+)\n\n", body[2]))
        assert 30 < len(alt[1]) < 200 and alt[1].endswith(".")
        assert len(body[2][alt.end() :].split()) > 15


@pytest.mark.parametrize("file", sorted(SCRIPTS.rglob("*.js")), ids=lambda file: file.name)
def test_a_script_is_short_strict_and_asks_nobody_else(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith("/* ") and '\n"use strict";\n' in text
    assert len(text.splitlines()) <= 300
    assert max(map(len, text.splitlines())) <= 120
    assert not re.search(r"\b(fetch|import|eval|XMLHttpRequest|localStorage|innerHTML)\b\s*[(=.]", text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


# In a browser -------------------------------------------------------------------------------------------------------

# What sticks out of the screen, and what a thumb would miss.
TOO_WIDE = """name => [...document.querySelectorAll(`#widget-${name} :is(.widget-live, .widget-live *)`)].filter(
    e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
        || e.clientWidth && e.scrollWidth > e.clientWidth + 1 && !e.matches("svg *, input, select")
).map(e => e.outerHTML.slice(0, 90))"""
TOO_SMALL = """name => [...document.querySelectorAll(`#widget-${name} .widget-live :is(
    button, select, summary, input[type=range], .widget-choice label, .widget-check)`)].filter(e => {
    const box = e.getBoundingClientRect();
    return e.checkVisibility() && (box.height < 43.5 || box.width < 43.5);
}).map(e => e.outerHTML.slice(0, 90))"""
# The controls that Tab should reach: of the radio buttons of a group one, of the cells of a grid one.
STOPS = """name => {
    const all = [...document.querySelectorAll(`#widget-${name} .widget-live :is(button, select, input, summary)`)];
    const stops = all.filter(e => e.checkVisibility() && e.tabIndex >= 0 && !e.disabled
        && !(e.type === "radio" && !e.checked));
    stops.forEach((stop, i) => stop.dataset.stop = i);
    stops[0].focus();
    return stops.length;
}"""


def alone(html: Path, path: str, name: str) -> str:
    """A page with one widget of a built page, its scripts and all style sheets: a chapter is slow to load.

    axe, too, then judges the widget alone; what stands around it is judged with every page.
    """
    page = html / f"{path}.html"
    text = page.read_text(encoding="utf-8")
    sheets = re.findall(r'<link [^>]*rel="stylesheet"[^>]*>', text)
    own = re.compile(rf"_static/widgets/(widget|data/{name}|{name}_numbers|{name})\.js")
    scripts = [tag for tag in re.findall(r"<script [^>]*></script>", text) if own.search(tag)]
    place = text[text.index(f'<div class="widget" data-widget="{name}"') :].partition("</div></div>")
    phone = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8"><title>Widget</title><base href="{page.as_uri()}">{phone}{"".join(sheets + scripts)}'
    body = f'<main><article class="bd-article"><h1>Widget</h1>{place[0]}{place[1]}</article></main>'
    return f'<!doctype html><html lang="en" data-theme="light"><head>{head}</head><body>{body}</body></html>'


@pytest.fixture
def opened(browser: BrowserContext, html: Path, tmp_path: Path) -> Iterator[Any]:
    """A way to open a widget alone, from a file; an error in a script fails the test."""
    pages: list[Page] = []

    def visit(path: str, name: str) -> Page:
        file = tmp_path / "widget.html"
        file.write_text(alone(html, path, name), encoding="utf-8")
        page = browser.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: pytest.fail(f"{path}, {name}: {error}"))
        page.goto(file.as_uri(), wait_until="load")
        return page

    yield visit
    for page in pages:
        page.close()


@needs_chromium
@pytest.mark.parametrize(("path", "name"), PLACES)
def test_a_widget_is_for_phones_keyboards_paper_and_the_dark(opened: Any, path: str, name: str) -> None:
    page = opened(path, name)
    place = page.locator(f"#widget-{name}")
    assert place.locator(".widget-live").is_visible() and place.locator(".widget-static").is_visible()
    page.evaluate("name => document.querySelectorAll(`#widget-${name} details`).forEach(e => e.open = true)", name)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(TOO_WIDE, name) == [] and page.evaluate(TOO_SMALL, name) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    stops = page.evaluate(STOPS, name)
    reached = [page.evaluate("document.activeElement.dataset.stop")]
    for _ in range(stops - 1):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.stop"))
    assert reached == [str(stop) for stop in range(stops)]

    page.emulate_media(media="print")
    assert place.locator(".widget-static").is_visible() and not place.locator(".widget-live").is_visible()
    page.emulate_media(media="screen")
    found = violations(page)
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark' }")
    found += pale(page)
    assert found == []


@needs_chromium
def test_what_is_large_is_loaded_once_and_only_on_request(opened: Any) -> None:
    page = opened(*PLACES[0])
    load = "file => Widget.load([file, file]).then(() => 'here', error => error.message)"
    count = "file => document.querySelectorAll(`script[src$='${file}']`).length"
    assert page.evaluate(count, "widgets/cache_numbers.js") == 0
    for _ in range(2):
        assert page.evaluate(load, "widgets/cache_numbers.js") == "here"
        assert page.evaluate(count, "widgets/cache_numbers.js") == 1
        assert page.evaluate("'bytes' in Widget.tools('cache').numbers")
        assert page.evaluate(load, "models/nowhere.js") == "models/nowhere.js could not be loaded"
        assert page.evaluate(count, "models/nowhere.js") == 0  # so that a second try asks again


@needs_chromium
def test_without_scripts_the_static_form_is_seen(browser: BrowserContext, html: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    browser.new_cdp_session(page).send("Emulation.setScriptExecutionDisabled", {"value": True})
    for number, (path, name) in enumerate(PLACES):
        file = tmp_path / f"{number}.html"
        file.write_text(alone(html, path, name), encoding="utf-8")
        page.goto(file.as_uri())
        assert page.locator(".widget-static").is_visible() and page.locator(".widget-live").count() == 0
    page.close()


@needs_chromium
@pytest.mark.parametrize("path", PLACED)
def test_a_chapter_opened_as_a_file_has_its_widgets(browser: BrowserContext, html: Path, path: str) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": 390, "height": 900})
    page.route(re.compile(r"/mathjax/|/_images/"), lambda route: route.abort())
    page.goto((html / f"{path}.html").as_uri(), wait_until="domcontentloaded")
    for name in PLACED[path]:
        page.locator(f"#widget-{name} .widget-live").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
