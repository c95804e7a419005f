"""axe-core finds nothing wrong on any page, in the light and in the dark, opened and closed (WCAG 2.2, A and AA).

axe-core 4.12 comes with axe-playwright-python. Its rules of these levels are asked for, and two by name: a name that
differs from what is written, which axe leaves out unless told, and the size of targets.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import OPEN, needs_chromium

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
BY_NAME = {"label-content-name-mismatch": {"enabled": True}, "target-size": {"enabled": True}}
CLOSED = ["attention", "applications/extraction", "api/nn", "glossary", "references"]
# Thousands of words of code have a dozen colours between them: each colour is judged once on each ground.
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
STILL = "* { animation: none !important; transition: none !important; }"


def violations(page: Page, **options: Any) -> list[str]:
    """What axe finds on the page as it stands, one line for each element."""
    if not page.evaluate("() => 'axe' in window"):
        from axe_playwright_python.base import AXE_SCRIPT

        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(
        "options => axe.run(document, options).then(results => results.violations.flatMap("
        "rule => rule.nodes.map(node => `${rule.id}: ${node.target} ${node.html.slice(0, 90)}`)))",
        {"resultTypes": ["violations"], "preload": False, **options},
    )
    return found


def everything() -> dict[str, Any]:
    return {"runOnly": {"type": "tag", "values": LEVELS}, "rules": BY_NAME}


def built(html: Path) -> list[str]:
    """The paths of all pages of the build but the one that only leads to the first."""
    pages = (page.relative_to(html) for page in html.rglob("*.html"))
    return sorted(str(page) for page in pages if page.parts[0] != "_static" and str(page) != "index.html")


def visit(browser: BrowserContext, address: str, *, opened: bool, width: int = 1280) -> Page:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address, wait_until="networkidle")
    page.add_style_tag(content=STILL)
    if opened:
        page.evaluate(OPEN)
    page.evaluate(ONCE)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page


@needs_chromium
def test_no_page_keeps_a_reader_out(browser: BrowserContext, site: str, html: Path) -> None:
    paths, found = built(html), []
    assert len(paths) > 40
    for path in paths:
        page = visit(browser, f"{site}/{path}", opened=True)
        found += [f"{path}: {line}" for line in violations(page, **everything())]
        page.evaluate("() => { document.documentElement.dataset.theme = 'dark' }")
        contrast = violations(page, runOnly={"type": "rule", "values": ["color-contrast"]})
        found += [f"{path}, dark: {line}" for line in contrast]
        page.close()
    assert found == []


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", CLOSED)
def test_a_closed_page_keeps_no_reader_out(browser: BrowserContext, site: str, path: str, width: int) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html", opened=False, width=width)
    assert violations(page, **everything()) == []
    page.close()


WRONG = {
    "<p>fine</p>": None,
    '<p style="color: #999">pale</p>': "color-contrast",
    "<button></button>": "button-name",
    '<button aria-label="Close">Open it</button>': "label-content-name-mismatch",
    "<button style='width: 9px; padding: 0'>a</button><button style='width: 9px; padding: 0'>b</button>": "target-size",
    "<details><summary>more</summary><p style='color: #999'>pale</p></details>": "color-contrast",
}


@needs_chromium
@pytest.mark.parametrize("body", WRONG)
def test_what_is_wrong_is_found(browser: BrowserContext, body: str) -> None:
    page = browser.new_page()
    page.set_content(f'<!doctype html><html lang="en"><title>x</title><main><h1>x</h1>{body}</main>')
    page.evaluate(OPEN)
    found, rule = violations(page, **everything()), WRONG[body]
    page.close()
    assert any(line.startswith(rule) for line in found) if rule else found == [], found
