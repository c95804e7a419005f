"""On paper: light colours whichever the screen has, and nothing is cut. The paper is A4 with Chromium's margins."""

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import OPEN, needs_chromium, toc_pages

WIDTH = 717  # A4 is 794 pixels wide, and the margins take 0.4 inches on each side

# What is wider than its box, or than the paper. A formula holds a hidden copy for screen readers, so in a line only
# its place counts.
CUT = """() => [...document.querySelectorAll(
    ".bd-article :is(pre, table, mjx-container, .output, .pst-scrollable-table-container, figure, p, dt)")].filter(e =>
        e.getBoundingClientRect().right > innerWidth + 1
        || e.clientWidth && e.scrollWidth > e.clientWidth + 1 && !e.matches("mjx-container:not([display])")
    ).map(e => `${e.tagName} ${e.scrollWidth} > ${e.clientWidth}: ${e.textContent.trim().slice(0, 60)}`)"""

# The lightest text and the ground, from 0 (black) to 1 (white), and what is folded.
LOOK = """() => {
    const kinds = "p, li, h2, figcaption, .caption-text, pre, pre span";
    const texts = [...document.querySelectorAll(`.bd-article :is(${kinds})`)];
    const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number); return (r + g + b) / 765 };
    const shown = texts.filter(e => e.getClientRects().length);
    return {
        lightest: Math.max(...shown.map(e => light(getComputedStyle(e).color))),
        ground: light(getComputedStyle(document.body).backgroundColor),
        folded: document.querySelectorAll(".bd-article details:not([open])").length,
        filters: [...document.querySelectorAll(".bd-article img")].map(e => getComputedStyle(e).filter),
    };
}"""


def printed(page: Page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@needs_chromium
@pytest.mark.parametrize("path", toc_pages())
def test_nothing_is_cut_on_paper(browser: BrowserContext, site: str, path: str) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": WIDTH, "height": 1000})
    page.goto(f"{site}/{path}.html", wait_until="load")
    page.evaluate(OPEN)
    printed(page)
    cut = page.evaluate(CUT)
    page.close()
    assert cut == []


@needs_chromium
@pytest.mark.parametrize("path", ["attention", "applications/question_answering", "api/nn"])
def test_paper_is_white_when_the_screen_is_dark(browser: BrowserContext, site: str, path: str) -> None:
    page = browser.new_page()
    page.emulate_media(color_scheme="dark")
    page.goto(f"{site}/chapters/{path}.html", wait_until="networkidle")
    before = page.evaluate(LOOK)
    printed(page)
    paper = page.evaluate(LOOK)
    page.emulate_media(media="screen", color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    after = page.evaluate(LOOK)
    page.close()
    assert before["ground"] < 0.2 and before["lightest"] > 0.7
    assert paper["ground"] > 0.9 and paper["lightest"] < 0.6
    assert before["folded"] > 0 or path == "api/nn"
    assert paper["folded"] == 0 and set(paper["filters"]) <= {"none"}
    assert after["folded"] == before["folded"]


@needs_chromium
def test_frames_and_formulas_are_not_cut_in_two(browser: BrowserContext, site: str) -> None:
    page = browser.new_page()
    page.goto(f"{site}/chapters/attention.html", wait_until="networkidle")
    printed(page)
    parts = page.evaluate("""() => [...document.querySelectorAll(
        ".bd-article :is(pre, .highlight, .cell_input, div.math, tr, figure)")].map(
        e => [e.tagName, e.className, getComputedStyle(e).breakInside])""")
    page.close()
    assert len(parts) > 100 and [part for part in parts if part[2] != "avoid"] == []


@needs_chromium
def test_the_pdf_of_a_dark_page_is_made_in_the_light(browser: BrowserContext, site: str) -> None:
    page = browser.new_page()
    page.emulate_media(color_scheme="dark")
    page.goto(f"{site}/chapters/intro.html", wait_until="networkidle")
    page.evaluate("""() => addEventListener("beforeprint", () => {
        window.printedIn = document.documentElement.dataset.theme;
    })""")
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("window.printedIn") == "light"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.close()


@needs_chromium
@pytest.mark.parametrize(("path", "title"), [("attention", "3. Attention"), ("glossary", "Glossary")])
def test_the_title_on_paper_has_the_number_of_the_chapter(
    browser: BrowserContext, site: str, path: str, title: str
) -> None:
    page = browser.new_page()
    page.goto(f"{site}/chapters/{path}.html", wait_until="networkidle")
    printed(page)
    shown = page.evaluate("[...document.querySelectorAll('h1')].filter(e => e.offsetHeight).map(e => e.innerText)")
    page.close()
    assert shown == [title]
