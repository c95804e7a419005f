"""Links between the chapters and the reference pages: from names in code cells, to the source, and back."""

import html as entities
import importlib
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import urldefrag, urljoin

import nbformat
import pytest

from tests.book.pages import ROOT

NOTEBOOKS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix()
    for path in (ROOT / "chapters").rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)


@pytest.fixture(scope="module")
def code_links() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("code_links")


CELL = (
    '<section id="s"><h2>S</h2><div class="cell_input docutils container">\n<div class="highlight-python notranslate">'
    '<div class="highlight"><pre><span></span>{}</pre></div></div></div></section>'
)
IMPORT = '<span class="kn">from</span> <span class="nn">transformer_lib.nn</span> <span class="kn">import</span> '


def in_cell(code_links: ModuleType, code: str) -> list[str]:
    linked = code_links.linked(CELL.format(code), lambda path: path, lambda entry: f"api.html#{entry}")
    assert re.sub("<[^>]+>", "", linked.partition("</pre>")[0]) == re.sub(
        "<[^>]+>", "", CELL.format(code).partition("</pre>")[0]
    )
    return re.findall(r'<a class="api" tabindex="-1" href="api.html#([\w.]+)">', linked)


def test_names_in_a_cell_lead_to_the_reference(code_links: ModuleType) -> None:
    name, other = '<span class="n">attend</span>', '<span class="n">x</span>'
    call = f'{name}<span class="p">(</span>{other}<span class="p">)</span>'
    assert in_cell(code_links, f"{IMPORT}{name}\n{call}") == ["transformer_lib.nn.attend"]  # once in a cell
    assert in_cell(code_links, call) == []  # nobody imported it
    assert in_cell(code_links, f'{IMPORT}{name}\n{name} <span class="o">=</span> {other}')[1:] == []
    chain = '<span class="n">nn</span><span class="o">.</span><span class="n">attend</span>'
    package = '<span class="kn">from</span> <span class="nn">transformer_lib</span> <span class="kn">import</span> '
    assert in_cell(code_links, f'{package}<span class="n">nn</span>\n{chain}') == [
        "transformer_lib.nn",
        "transformer_lib.nn.attend",
    ]
    method = f'{IMPORT}<span class="n">y</span>\n{other}<span class="o">.</span>{name}'
    assert in_cell(code_links, method) == ["transformer_lib.nn.y"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_chapter_links_its_code_and_the_code_stays_what_it_was(html: Path, code_links: ModuleType, name: str) -> None:
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    cells = [match[2] for match in code_links.CELL.finditer(text)]
    shown = [entities.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in cells]
    sources = [
        cell.source.strip()
        for cell in nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
        if cell.cell_type == "code" and not {"remove-cell", "remove-input"} & set(cell.metadata.get("tags", []))
    ]
    assert shown == [source for source in sources if source]
    links = re.findall(r'<a class="api" tabindex="-1" href="([^"]+)">', text)
    listed = re.search(r'<details class="library-used">.*?</details>', text, re.DOTALL)
    assert links and listed
    assert set(links) == set(re.findall(r'href="([^"]+)"', listed[0]))


def broken(html: Path, pages: list[Path], pattern: str) -> list[str]:
    """The links of that form that lead to no place of the book."""
    ids: dict[str, set[str]] = {}
    found, count = [], 0
    for page in pages:
        here = page.relative_to(html).as_posix()
        for address in re.findall(pattern, page.read_text(encoding="utf-8")):
            count += 1
            path, target = urldefrag(urljoin(here, address))
            if path not in ids:
                file = html / path
                ids[path] = (
                    set(re.findall(r'\bid="([^"]+)"', file.read_text(encoding="utf-8"))) if file.exists() else set()
                )
            found += [] if target in ids[path] else [f"{here}: {address}"]
    assert count > 50
    return found


def test_links_between_chapters_and_reference_arrive(html: Path) -> None:
    reference = sorted((html / "chapters" / "api").glob("*.html"))
    assert broken(html, [html / f"{name}.html" for name in NOTEBOOKS], r'<a class="api" [^>]*href="([^"]+)"') == []
    assert broken(html, reference, r'<a class="source" href="([^"]+)"') == []
    users = r'(?<=Used in )<a class="reference internal" href="([^"]+)"'
    assert broken(html, reference, users) == []


def test_a_reference_page_names_its_chapters(html: Path) -> None:
    page = (html / "chapters" / "api" / "nn.html").read_text(encoding="utf-8")
    entry = page.split('id="transformer_lib.nn.attend.attend"')[1].split("<dt ")[0]
    assert re.search(r'<p class="used-in">Used in .*href="\.\./attention\.html#', entry)
    assert re.search(r'</h1>\s*<p class="used-in">Used in the chapters .*href="\.\./attention\.html"', page)


def test_a_source_link_shows_the_definition(html: Path) -> None:
    page = (html / "chapters" / "api" / "nn.html").read_text(encoding="utf-8")
    address = re.search(
        r'id="transformer_lib\.nn\.norm\.layer_norm">.*?<a class="source" href="([^"]+)"', page, re.DOTALL
    )
    path, line = urldefrag(posixpath.normpath(posixpath.join("chapters/api", address[1])))
    lines = re.sub(r"<(?!span id)[^>]+>", "", (html / path).read_text(encoding="utf-8")).split(f'<span id="{line}">')[1]
    assert "def layer_norm" in "".join(re.sub("<[^>]+>", "", lines).splitlines(keepends=True)[:3])
