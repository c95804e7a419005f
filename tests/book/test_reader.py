"""Previews as the pages carry them; the line below a chapter's title, with its times and its level."""

import html as entities
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.book.pages import ROOT, toc_pages

NOTEBOOKS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix()
    for path in (ROOT / "chapters").rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)


@pytest.fixture(scope="module")
def tools() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield {name: importlib.import_module(name) for name in ("previews", "copy_facts")}


# --- Previews, cut from pages.

TERMS = (
    '<article class="bd-article"><section id="glossary"><h1>Glossary</h1><dl><dt id="term-mask">mask'
    '<a class="headerlink" href="#term-mask">#</a></dt><dd><p>Who may look at <a href="x.html">whom</a>.</p></dd>'
    '<dt id="term-w">w</dt><dd><p>A <span class="math">\\(W\\)</span>.</p></dd></dl></section></article>'
)
CHAPTER = (
    '<nav><a class="reference internal" href="terms.html#term-w">w</a></nav><article class="bd-article">'
    '<section id="one"><span id="label"></span><h1>One</h1><p>After it you can</p><p>First. So:</p>'
    '<p><a class="reference internal" href="../terms.html#term-mask">a</a> '
    '<a class="reference internal" href="#fig">b</a> <a class="reference internal" href="#label">c</a> '
    '<a class="reference internal" href="#eq">d</a> <a class="reference internal" href="#ex">e</a> '
    '<a class="reference internal" href="#nowhere">f</a> <a class="headerlink" href="#one">#</a></p>'
    '<figure id="fig"><img src="../i.png" alt="i"></figure>'
    '<div class="math notranslate nohighlight" id="eq"><span class="eqno">(1)<a class="headerlink" href="#eq">#</a>'
    "</span>\\[a &lt; b\\]</div>"
    '<div class="exercise admonition" id="ex"><p class="admonition-title">Exercise 1 (★)</p>'
    '<section id="exercise-content"><div><p>Show it.</p></div></section></div></section></article>'
)


def test_previews_are_cut_from_the_pages(tools: dict[str, Any]) -> None:
    page = tools["previews"].Page
    pages = {"terms": page("terms", TERMS), "part/one": page("part/one", CHAPTER)}
    assert tools["previews"].previews(pages["part/one"], pages) == {
        "../terms.html#term-mask": "<p><strong>mask</strong></p><p>Who may look at whom.</p>",
        "#fig": "",
        "#label": "<p><strong>One</strong></p><p>First.</p>",
        "#eq": '<div class="math"><span class="eqno">(1)</span>\\[a &lt; b\\]</div>',
        "#ex": "<p><strong>Exercise 1 (★)</strong></p><div><p>Show it.</p></div>",
    }


def test_a_part_of_the_library_is_carried_by_other_pages_alone(tools: dict[str, Any]) -> None:
    part = '<dl><dt class="sig" id="f">f(x)</dt><dd><p>Adds <a href="x.html">one</a>.</p><p>More.</p></dd></dl>'
    link = '<article class="bd-article"><a class="reference internal" href="{}#f">f</a>{}</article>'
    texts = {"nn": link.format("", part), "plain": link.format("nn.html", "")}
    pages = {name: tools["previews"].Page(name, text) for name, text in texts.items()}
    carried_there = {"nn.html#f": "<p><code>f(x)</code></p><p>Adds one.</p>"}
    assert tools["previews"].previews(pages["plain"], pages) == carried_there
    assert tools["previews"].previews(pages["nn"], pages) == {"#f": ""}


def test_a_preview_on_a_page_without_formulas_brings_its_own(tools: dict[str, Any]) -> None:
    link = '<article class="bd-article"><a class="reference internal" href="terms.html#term-w">w</a></article>'
    pages = {name: tools["previews"].Page(name, text) for name, text in {"terms": TERMS, "plain": link}.items()}
    [written] = tools["previews"].previews(pages["plain"], pages).values()
    assert "<math" in written and "<mi>W</mi>" in written and "\\(" not in written


def test_a_figure_of_another_folder_keeps_its_image(tools: dict[str, Any]) -> None:
    link = '<article class="bd-article"><a class="reference internal" href="part/one.html#fig">w</a></article>'
    pages = {name: tools["previews"].Page(name, text) for name, text in {"part/one": CHAPTER, "plain": link}.items()}
    assert tools["previews"].previews(pages["plain"], pages)["part/one.html#fig"] == (
        '<figure><img src="i.png" alt="i"></figure>'
    )


def test_what_a_preview_says_cannot_end_its_script(tools: dict[str, Any]) -> None:
    written = tools["previews"].script({"#a": "<p>x</p></script>"})
    assert written.count("</script>") == 1 and written.endswith("</script>\n")
    assert json.loads(re.sub(r"^<script[^>]*>|</script>\n$", "", written)) == {"#a": "<p>x</p></script>"}


def carried(text: str) -> dict[str, str]:
    found = re.search(r'<script type="application/json" id="previews">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1]) if found else {}


def test_every_term_citation_equation_and_figure_has_a_preview(html: Path, tools: dict[str, Any]) -> None:
    missing, kinds = [], {"term-": 0, "references.html#": 0, "#equation-": 0, "#fig-": 0, "#thm-": 0, "#ex-": 0}
    for name in toc_pages():
        text = (html / f"{name}.html").read_text(encoding="utf-8")
        article, previews = tools["previews"].article(text), carried(text)
        article = re.sub(r'<p class="admonition-title">.*?</p>', "", article)  # these links lead to what is above
        for address in re.findall(r'<a class="reference internal"[^>]*? href="([^"]*)"', article):
            for kind in kinds:
                if kind in address:
                    kinds[kind] += 1
                    missing += [] if entities.unescape(address) in previews else [f"{name}: {address}"]
        assert len(json.dumps(previews, ensure_ascii=False).encode()) < 60_000, name
    assert missing == []
    assert all(count > 3 for count in kinds.values()), kinds


# --- The head of a chapter.


def test_reading_time(tools: dict[str, Any], tmp_path: Path) -> None:
    cells = [
        nbformat.v4.new_markdown_cell("(label)=\n# A title\n\n" + "word $a + b$ " * 900),
        nbformat.v4.new_code_cell("x = 1\n\n" * 120),
        nbformat.v4.new_code_cell("x = 1\n" * 900, metadata={"tags": ["hide-input"]}),
        nbformat.v4.new_markdown_cell("## Exercises\n\n" + "word " * 9000),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    assert tools["copy_facts"].reading_minutes(tmp_path / "a.ipynb") == 15  # 1,802 words and 120 lines


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (7, "in a few seconds"),
        (14, "in a quarter of a minute"),
        (36, "in half a minute"),
        (50, "in about a minute"),
        (80, "in 2 minutes"),
        (185, "in 3 minutes"),
    ],
)
def test_run_time(tools: dict[str, Any], seconds: int, words: str) -> None:
    assert tools["copy_facts"].run_time(seconds) == words


def test_every_chapter_has_a_time_and_a_level(tools: dict[str, Any]) -> None:
    times = json.loads((ROOT / "chapters" / "times.json").read_text())
    assert sorted(times) == NOTEBOOKS
    assert all(0 < seconds < 300 for seconds in times.values())
    assert set(NOTEBOOKS) <= set(tools["copy_facts"].levels())


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_chapter_says_its_times(html: Path, name: str) -> None:
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    [facts] = re.findall(r'<p class="chapter-facts">(.*?)</p>', text)
    assert re.match(
        r"\d+ minutes to read · runs in [a-z0-9 ]+ · <a href=\"[./]*ways\.html#marks\">level ★{1,3}<", facts
    )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exercise_says_how_hard_it_is(name: str) -> None:
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    titles = re.findall(r"^`{3,}\{exercise\}(.*)$", text, re.M)
    assert titles and all(re.fullmatch(r" ★{1,3}", title) for title in titles), titles


def test_the_ways_link_the_sections_that_they_name(html: Path) -> None:
    text = (ROOT / "chapters" / "ways.md").read_text(encoding="utf-8")
    titles = set()
    for name in NOTEBOOKS:
        cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
        titles |= set(re.findall(r"^#+ (.*)$", "\n".join(c.source for c in cells if c.cell_type == "markdown"), re.M))
    several = {"Which model", "A sentence of your own"}  # each in more than one chapter: the chapters are linked
    assert set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)) & titles == several
    page = (html / "chapters" / "ways.html").read_text(encoding="utf-8")
    links = re.findall(r'<a class="reference internal" href="([\w/]+\.html)#([^"]+)"><span[^>]*>(.+?)</span>', page)
    assert len([shown for _, _, shown in links if shown in titles]) > 25


@pytest.mark.parametrize(
    ("code", "long"),
    [("a_b", False), ("x" * 26, False), ("&lt;" * 26, False), ("python -m transformer_lib --help", True)],
)
def test_code_that_is_longer_than_a_line_is_marked(monkeypatch: pytest.MonkeyPatch, code: str, long: bool) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    words = " ".join(f'<span class="pre">{word}</span>' for word in code.split())
    body = f'<p><code class="docutils literal notranslate">{words}</code></p>'
    marked = importlib.import_module("reader_extension").with_long_code(body)
    assert ('notranslate long">' in marked) == long
