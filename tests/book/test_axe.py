"""axe-core finds nothing wrong on any page, in the light and in the dark, opened and closed (WCAG 2.2, A and AA).

axe-core 4.12 comes with axe-playwright-python. Its rules of these levels are asked for, and two by name: a name that
differs from what is written, which axe leaves out unless told, and the size of targets.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import OPEN, needs_chromium, toc_pages

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
BY_NAME = {"label-content-name-mismatch": {"enabled": True}, "target-size": {"enabled": True}}
PAGES = [*toc_pages(), "404", "genindex", "py-modindex", "search"]
CLOSED = ["attention", "applications/extraction", "api/nn", "glossary", "references"]
# Thousands of words of code have a dozen colours between them: each colour is kept once on each ground.
ONCE = """() => {
    const seen = new Set();
    for (const code of document.querySelectorAll("pre, code, dt.sig")) {
        let ground = "";
        for (let e = code; e; e = e.parentElement) ground += getComputedStyle(e).backgroundColor;
        const colour = word => ground + word.className + getComputedStyle(word).color;
        const words = [...code.querySelectorAll("span")].map(word => [word, colour(word)]);
        words.forEach(([word, kind]) => seen.has(kind) ? word.replaceWith(...word.childNodes) : seen.add(kind));
        code.normalize();
    }
}"""
# Whether a colour can be read off its ground depends on nothing but the two and on the size of the letters, so three
# elements of each such kind are judged. Some of the first may be covered by another one, and then axe cannot tell.
KINDS = """() => {
    const grounds = new Map([[null, ""]]), seen = new Map();
    const ground = e => {
        if (!grounds.has(e)) {
            const style = getComputedStyle(e);
            const own = [style.backgroundColor, style.backgroundImage, style.opacity].join();
            grounds.set(e, ground(e.parentElement) + (own === "rgba(0, 0, 0, 0),none,1" ? "" : own + ";"));
        }
        return grounds.get(e);
    };
    for (const e of document.querySelectorAll("body *")) {
        e.removeAttribute("data-judged");
        if (!e.checkVisibility()) continue;
        const written = [...e.childNodes].some(child => child.nodeType === 3 && child.data.trim());
        if (!written && !e.matches("input, select, textarea")) continue;
        const style = getComputedStyle(e);
        const kind = [style.color, style.fill, style.fontSize, style.fontWeight, ground(e)].join();
        seen.set(kind, (seen.get(kind) || 0) + 1);
        if (seen.get(kind) <= 3) e.setAttribute("data-judged", "");
    }
}"""
DARK = "() => { document.documentElement.dataset.theme = 'dark' }"
STILL = "* { animation: none !important; transition: none !important; }"


def violations(page: Page) -> list[str]:
    """What axe finds on the page as it stands, one line for each element."""
    rules = {"runOnly": {"type": "tag", "values": LEVELS}, "rules": BY_NAME | {"color-contrast": {"enabled": False}}}
    return _found(page, "document", rules) + pale(page)


def pale(page: Page) -> list[str]:
    """What axe finds too little in contrast to its ground."""
    page.evaluate(KINDS)
    only = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    judged = page.locator("[data-judged]").count()
    return _found(page, "{include: [['[data-judged]']]}", only) if judged else []


def _found(page: Page, where: str, options: dict[str, Any]) -> list[str]:
    if not page.evaluate("() => 'axe' in window"):
        from axe_playwright_python.base import AXE_SCRIPT

        page.evaluate(AXE_SCRIPT)
    return page.evaluate(
        f"options => axe.run({where}, options).then(results => results.violations.flatMap("
        "rule => rule.nodes.map(node => `${rule.id}: ${node.target} ${node.html.slice(0, 90)}`)))",
        {"resultTypes": ["violations"], "preload": False, **options},
    )


def visit(browser: BrowserContext, address: str, *, opened: bool, width: int = 1280) -> Page:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address, wait_until="load" if opened else "networkidle")
    page.add_style_tag(content=STILL)
    if opened:
        page.evaluate(OPEN)
    page.evaluate(ONCE)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page


@needs_chromium
@pytest.mark.parametrize("path", PAGES)
def test_no_page_keeps_a_reader_out(browser: BrowserContext, site: str, path: str) -> None:
    page = visit(browser, f"{site}/{path}.html", opened=True)
    found = violations(page)
    page.evaluate(DARK)
    assert found + [f"dark: {line}" for line in pale(page)] == []
    page.close()


@needs_chromium
def test_no_source_keeps_a_reader_out(browser: BrowserContext, site: str, html: Path) -> None:
    """The modules of the library: hundreds of pages with nothing on them but code."""
    pages = (page.relative_to(html) for page in html.rglob("*.html"))
    paths = {str(page.with_suffix("")) for page in pages if page.parts[0] != "_static"}
    sources = sorted(path for path in paths if path.startswith("source/"))
    assert paths == {*sources, *PAGES, "index"} and len(sources) > 300  # the index leads to the first page
    page, found = browser.new_page(), []
    for path in sources:
        page.goto(f"{site}/{path}.html", wait_until="load")
        page.evaluate(ONCE)
        page.add_style_tag(content=STILL)
        found += [f"{path}: {line}" for line in violations(page)]
        page.evaluate(DARK)
        found += [f"{path}, dark: {line}" for line in pale(page)]
    page.close()
    assert found == []


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", CLOSED)
def test_a_closed_page_keeps_no_reader_out(browser: BrowserContext, site: str, path: str, width: int) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html", opened=False, width=width)
    assert violations(page) == []
    page.close()


WRONG = {
    "<p>fine</p>": None,
    '<p style="color: #999">pale</p>': "color-contrast",
    "<button></button>": "button-name",
    '<button aria-label="Close">Open it</button>': "label-content-name-mismatch",
    "<button style='width: 9px; padding: 0'>a</button><button style='width: 9px; padding: 0'>b</button>": "target-size",
    "<p>fine</p>" * 5 + "<p style='background: #bbb'><b style='color: #666'>grey</b> on grey</p>": "color-contrast",
    "<label>x <input value='y' style='color: #999'></label>": "color-contrast",
    "<details><summary>more</summary><p style='color: #999'>pale</p></details>": "color-contrast",
}


@needs_chromium
@pytest.mark.parametrize("body", WRONG)
def test_what_is_wrong_is_found(browser: BrowserContext, body: str) -> None:
    page = browser.new_page()
    page.set_content(f'<!doctype html><html lang="en"><title>x</title><main><h1>x</h1>{body}</main>')
    page.evaluate(OPEN)
    found, rule = violations(page), WRONG[body]
    page.close()
    assert any(line.startswith(rule) for line in found) if rule else found == [], found
