"""The built book, opened in a browser: nothing is fetched from elsewhere, nothing is broken, nothing is too wide.

Needs Chromium (Debian: apt-get install chromium); without it only the build itself is tested.
"""

import ast
import html as entities
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from tests.book.pages import LIBRARY, OPEN, needs_chromium, served, toc_pages
from tests.book.test_epub import load

LOOK = """() => {
    const article = document.querySelector(".bd-article") || document.body;
    const all = selector => [...article.querySelectorAll(selector)];
    return {
        width: document.documentElement.scrollWidth,
        plain: all(".math").filter(e => !e.querySelector("mjx-container")).map(e => e.textContent),
        errors: all("mjx-merror, [data-mjx-error]").map(e => e.textContent),
        silent: all("img").filter(e => !(e.getAttribute("alt") || "").trim()).map(e => e.getAttribute("src")),
    };
}"""


def faults(browser: BrowserContext, address: str, path: str, width: int) -> list[str]:
    """What a reader of this page would miss at this width, one line each."""
    found: list[str] = []
    page = browser.new_page()

    def local_only(route: Any) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            found.append(f"leaves the machine: {route.request.url}")
            route.abort()

    page.route("**/*", local_only)
    page.on("console", lambda message: found.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.on("response", lambda r: found.append(f"status {r.status}: {r.url}") if r.status >= 400 else None)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}/{path}", wait_until="networkidle")
    page.evaluate(OPEN)
    seen = page.evaluate(LOOK)
    page.close()
    found += [f"formula not rendered: {text[:60]}" for text in seen["plain"]]
    found += [f"formula with an error: {text[:60]}" for text in seen["errors"]]
    found += [f"image without alt text: {source}" for source in seen["silent"]]
    if seen["width"] > width:
        found.append(f"{seen['width']} pixels wide on a screen of {width}")
    return found


def test_the_book_builds_without_a_warning(html: Path) -> None:
    missing = [page for page in toc_pages() if not (html / f"{page}.html").is_file()]
    assert missing == []


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", [*toc_pages(), "search"])
def test_a_page_is_whole(browser: BrowserContext, site: str, path: str, width: int) -> None:
    assert faults(browser, site, f"{path}.html", width) == []


@needs_chromium
def test_formulas_are_there_to_be_checked(browser: BrowserContext, site: str) -> None:
    page = browser.new_page()
    page.goto(f"{site}/chapters/notation.html", wait_until="networkidle")
    page.evaluate(OPEN)
    assert page.locator(".bd-article .math mjx-container").count() > 10
    page.close()


# The reference pages: every public name of the library has an entry that shows its signature.


def public_names(library: Path) -> set[str]:
    """Every public function, class and method of a public class, by its full name."""
    found = set()
    for file in library.rglob("*.py"):
        module = ".".join(file.relative_to(library.parent).with_suffix("").parts)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            found.add(f"{module}.{node.name}")
            inside = node.body if isinstance(node, ast.ClassDef) else []
            methods = [part for part in inside if isinstance(part, ast.FunctionDef)]
            found |= {f"{module}.{node.name}.{method.name}" for method in methods if not method.name.startswith("_")}
    return found


def entries(built: Path) -> dict[str, str]:
    """The signature of every entry of the built pages, by full name and as text."""
    pattern = re.compile(r'<dt class="sig[^>]*? id="([\w.]+)">(.*?)</dt>', re.DOTALL)
    pages = [page.read_text(encoding="utf-8") for page in (built / "chapters" / "api").glob("*.html")]
    found = [entry for page in pages for entry in pattern.findall(page)]
    return {name: " ".join(entities.unescape(re.sub(r"<[^>]+>", "", text)).split()) for name, text in found}


def test_every_public_name_has_an_entry(html: Path) -> None:
    names = public_names(LIBRARY)
    assert {"transformer_lib.nn.attend.attend", "transformer_lib.nn.attention.Attention.forward"} <= names
    assert sorted(names - set(entries(html))) == []


def test_a_signature_shows_shapes_and_defaults(html: Path) -> None:
    signature = entries(html)["transformer_lib.nn.attend.attend"]
    assert "q: Float[Tensor, 'batch heads query head_dim']" in signature
    assert "scale: float | None = None" in signature
    assert "→ Float[Tensor, 'batch heads query value_dim']" in signature


def test_a_name_without_entry_is_found(tmp_path: Path) -> None:
    library = tmp_path / "lib"
    (library / "nn").mkdir(parents=True)
    source = "class A:\n    def b(self): ...\n    def _c(self): ...\ndef _d():\n    def e(): ...\n"
    (library / "nn" / "new.py").write_text(source)
    assert public_names(library) == {"lib.nn.new.A", "lib.nn.new.A.b"}


def test_the_exports_of_a_package_are_links(html: Path) -> None:
    page = (html / "chapters" / "api" / "nn.html").read_text(encoding="utf-8")
    assert 'href="#transformer_lib.nn.attend.attend"' in page.split('<section id="nn-norm">')[0]


@needs_chromium
def test_from_the_source_a_way_leads_back(browser: BrowserContext, site: str) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{site}/source/transformer_lib.nn.attend.html#L60")
    ways = page.get_by_role("navigation", name="Book").get_by_role("link")
    assert all(way.bounding_box()["y"] >= 0 for way in ways.all())  # in sight, though the page has scrolled
    assert page.evaluate("scrollY") > 0 and page.evaluate("document.documentElement.scrollWidth") == 390
    assert ways.all_inner_texts() == ["Reference of transformer_lib.nn.attend", "Chapters"]
    places = [page.evaluate("a => [a.pathname, a.hash]", way.element_handle()) for way in ways.all()]
    page.close()
    assert places[0] == ["/chapters/api/nn.html", "#module-transformer_lib.nn.attend"]
    assert places[1] == ["/chapters/intro.html", "#the-map"]


BROKEN = {
    "<p>fine</p>": None,
    '<img src="http://example.invalid/x.png" alt="x">': "leaves the machine: http://example.invalid/x.png",
    "<script>console.error('oh no')</script>": "console: oh no",
    "<script>undefinedFunction()</script>": "script: ",
    '<img src="missing.png" alt="x">': "status 404",
    r'<span class="math">\(x\)</span>': r"formula not rendered: \(x\)",
    '<span class="math"><mjx-container><mjx-merror>x</mjx-merror></mjx-container></span>': "formula with an error: x",
    '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">': "image without alt text",
    '<details><div style="width: 500px">wide</div></details>': "pixels wide on a screen of 390",
}


@needs_chromium
@pytest.mark.parametrize("body", BROKEN)
def test_a_broken_page_is_found(browser: BrowserContext, tmp_path: Path, body: str) -> None:
    head = '<!doctype html><title>x</title><link rel="icon" href="data:,">'
    (tmp_path / "page.html").write_text(f'{head}<article class="bd-article">{body}</article>')
    with served(tmp_path) as address:
        found = faults(browser, address, "page.html", 390)
    complaint = BROKEN[body]
    assert any(complaint in fault for fault in found) if complaint else found == [], found


# A formula as Sphinx writes it for MathJax, alone in its element, and where MathJax begins and ends it.
FORMULA = re.compile(
    r'<(?:span|div) class="math[^"]*"[^>]*>(?:<span class="eqno">.*?</span>)?\s*(\\[(\[].*?\\[)\]])\s*<', re.DOTALL
)


def test_every_formula_can_stand_in_the_epub(html: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extension, unread = load("epub_extension"), []
    monkeypatch.setattr(extension.LOGGER, "warning", lambda message, tex, *_, **__: unread.append(tex))
    texts = [page.read_text(encoding="utf-8") for page in (html / "chapters").rglob("*.html")]
    formulas = {entities.unescape(tex)[2:-2] for text in texts for tex in FORMULA.findall(text)}
    assert len(formulas) > 2000
    for tex in sorted(formulas):
        extension.mathml(tex, None, block=False)
    assert unread == []
