"""The pages as a reader uses them: by keyboard, on a phone, on a slow line, and with Chinese read aloud as Chinese."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import OPEN, ROOT, SET, needs_chromium, served, toc_pages

CHAPTERS = ["attention", "architecture", "math", "backward", "applications/extraction", "frontier/generation"]
SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def tool(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def visit(browser: BrowserContext, address: str, width: int = 1280, *, opened: bool = False) -> Page:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address, wait_until="load" if opened else "networkidle")
    if opened:
        page.evaluate(OPEN)
    page.evaluate(SETTLED)
    return page


def settled(page: Page, script: str) -> object:
    """What the script says in the end: the page may still be at work, for three minutes at most on a busy machine."""
    for _ in range(360):
        if not (said := page.evaluate(script)):
            break
        page.wait_for_timeout(500)
    return said


# Keyboard -----------------------------------------------------------------------------------------------------------

FOCUS = """() => {
    const e = document.activeElement, rings = [];
    for (const shown of [e, ...e.querySelectorAll(":scope > *")]) {
        const style = getComputedStyle(shown);
        rings.push(style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
        if (shown === e && style.opacity < 1) return e.outerHTML.slice(0, 120);
    }
    return e === document.body || rings.some(Boolean) ? null : e.outerHTML.slice(0, 120);
}"""


@needs_chromium
@pytest.mark.parametrize(("path", "width"), [("attention", 1280), ("attention", 390), ("intro", 1280)])
def test_focus_is_always_seen(browser: BrowserContext, site: str, path: str, width: int) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html", width)
    page.add_style_tag(content="* { transition: none !important }")
    unseen = []
    for _ in range(120):
        page.keyboard.press("Tab")
        unseen.append(page.evaluate(FOCUS))
    page.close()
    assert [element for element in unseen if element] == []


@needs_chromium
def test_the_skip_link_leads_to_the_text(browser: BrowserContext, site: str) -> None:
    page = visit(browser, f"{site}/chapters/attention.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('article') !== null")
    page.close()


@needs_chromium
@pytest.mark.parametrize("path", CHAPTERS)
def test_what_scrolls_is_a_tab_stop_and_no_other_formula_is(browser: BrowserContext, site: str, path: str) -> None:
    for width in (1280, 390):
        page = visit(browser, f"{site}/chapters/{path}.html", width, opened=True)
        wrong = settled(
            page,
            """() => [...document.querySelectorAll(
            "pre, mjx-container, .cell_output .output, .pst-scrollable-table-container")].filter(box => {
                const scrolls = getComputedStyle(box).overflowX !== "visible" && box.scrollWidth > box.clientWidth;
                return scrolls && box.clientWidth ? box.tabIndex !== 0 : box.matches("mjx-container[tabindex]");
            }).map(box => box.textContent.slice(0, 60))""",
        )
        page.close()
        assert wrong == [], width


@needs_chromium
def test_the_theme_switch_tells_its_state(browser: BrowserContext, site: str) -> None:
    page = visit(browser, f"{site}/chapters/intro.html")
    told = []
    for _ in range(3):
        told.append(page.locator(".theme-switch-button").first.get_attribute("aria-label"))
        page.locator(".theme-switch-button").first.click()
        page.evaluate(SETTLED)
    page.close()
    assert told == ["Colours: as the system", "Colours: dark", "Colours: light"]


# What can be seen ---------------------------------------------------------------------------------------------------

CUT = """() => {
    const box = e => e.getBoundingClientRect(), article = box(document.querySelector(".bd-article"));
    const found = [];
    const kinds = "pre, .output, .pst-scrollable-table-container, mjx-container[display]";
    const veiled = e => e.matches("pre") && getComputedStyle(e.parentElement, "::after").content !== "none";
    for (const e of document.querySelectorAll(`.bd-article :is(${kinds})`))
        if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).maskImage === "none" && !veiled(e))
            found.push(e.textContent);
    for (const e of document.querySelectorAll(".bd-article span.math > mjx-container")) {
        const line = e.closest("p, li, dd, figcaption");
        const scrolled = e.closest(".output, .pst-scrollable-table-container");
        if (line && !scrolled && box(e).right > Math.min(article.right, box(line).right) + 1) found.push(e.textContent);
    }
    return found.map(text => text.slice(0, 60));
}"""


@pytest.fixture(scope="module", params=[page for page in toc_pages() if "/api/" not in page])
def on_a_phone(browser: BrowserContext, site: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Each page in turn, opened; whoever takes it only looks at it."""
    page = visit(browser, f"{site}/{request.param}.html", 390, opened=True)
    yield page
    page.close()


@needs_chromium
def test_nothing_is_cut_without_a_sign(on_a_phone: Page) -> None:
    assert settled(on_a_phone, CUT) == []


# Formulas that scroll although their number takes a part of the line.
CRAMPED = """() => [...document.querySelectorAll(".bd-article div.math > mjx-container")].filter(formula =>
    formula.scrollWidth > formula.clientWidth + 1 && formula.clientWidth < formula.parentElement.clientWidth - 1
    ).map(formula => formula.parentElement.id)"""


@needs_chromium
@pytest.mark.parametrize("path", ["architecture", "applications/translation", "applications/question_answering"])
def test_a_wide_formula_has_the_whole_line(browser: BrowserContext, site: str, path: str) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html", 390, opened=True)
    assert page.evaluate(CRAMPED) == []
    page.close()


# Formulas in a line that scroll although they fit into the cell around them, and cells that show a title and no more.
SQUEEZED = """() => [...document.querySelectorAll("table.stacked mjx-container.wide")].filter(formula =>
    formula.scrollWidth < formula.closest("td").clientWidth - 16).map(formula => formula.textContent)"""
BARE = """() => [...document.querySelectorAll("table.stacked td")].filter(cell =>
    cell.offsetHeight > 0 && cell.textContent.trim() === "").length"""


@needs_chromium
@pytest.mark.parametrize("path", ["corrections", "howto"])
def test_a_stacked_table_shows_all_of_a_cell_and_no_empty_one(browser: BrowserContext, site: str, path: str) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html", 390, opened=True)
    assert page.locator("table.stacked").count() > 0
    assert page.evaluate(SQUEEZED) == [] and page.evaluate(BARE) == 0
    page.close()


# Of code that scrolls: where it fades, the ground is that of the code; how both look at the right edge.
EDGE = """() => {
    const code = document.querySelector(".bd-article pre.more-right"), shown = getComputedStyle(code);
    const veil = getComputedStyle(code.parentElement, "::after");
    const first = getComputedStyle(code.parentElement, "::after").backgroundImage.match(/rgb\\([^)]*\\)/)[0];
    return {mask: shown.maskImage, ground: shown.backgroundColor, veil: first, place: veil.position, right: veil.right};
}"""


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_fades_to_its_own_ground(browser: BrowserContext, site: str, scheme: str) -> None:
    page = browser.new_page()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"{site}/chapters/attention.html", wait_until="networkidle")
    page.wait_for_selector(".bd-article pre.more-right", state="attached")  # a script finds what scrolls
    edge = page.evaluate(EDGE)
    page.close()
    assert edge["mask"] == "none" and edge["veil"] == edge["ground"]
    assert (edge["place"], edge["right"]) == ("absolute", "1px")


# The links of the text, wherever they stand, without those in code and the signs beside headings.
LINKS = """() => [...new Set([...document.querySelectorAll(".bd-article a[href]:not(.headerlink, .api, .btn)")]
    .filter(a => a.textContent.trim()).map(a => getComputedStyle(a.querySelector("code, .std") || a).color))]"""


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_links_have_one_colour(browser: BrowserContext, site: str, scheme: str) -> None:
    colours = set()
    for path in ("attention", "ways", "notation", "applications/index", "api/nn"):
        page = visit(browser, f"{site}/chapters/{path}.html")
        page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        colours |= set(page.evaluate(LINKS))
        page.close()
    assert len(colours) == 1, colours


# Columns of less than 9 em in which the words stand below each other: [width in em, text]. In some tables of widgets
# each cell has a number and, below it, another.
NARROW = """() => [...document.querySelectorAll(".bd-article table:not(.widget-two)")].flatMap(table => {
    const columns = [];
    for (const row of table.rows) [...row.cells].forEach((cell, number) => {
        if (!cell.matches("td") || getComputedStyle(cell).display !== "table-cell") return;
        const text = document.createRange(), style = getComputedStyle(cell), em = parseFloat(style.fontSize);
        text.selectNodeContents(cell);
        const room = cell.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
        const lines = text.getBoundingClientRect().height / parseFloat(style.lineHeight);
        if (lines > 1.5 && room < 9 * em) columns.push([room / em, cell.textContent.trim()]);
    });
    return columns;
})"""


# Cells whose text reaches into the next one.
LARGER = """() => [...document.querySelectorAll(".bd-article :is(td, th)")].filter(cell => {
    const right = e => e.getBoundingClientRect().right;
    return cell.clientWidth && [cell, ...cell.querySelectorAll("code, mjx-container, a")].some(part =>
        part.scrollWidth > part.clientWidth + 1 && part === cell || right(part) > right(cell) + 1);
}).map(cell => cell.textContent.trim())"""


@needs_chromium
def test_no_column_of_a_table_is_a_stack_of_words(on_a_phone: Page) -> None:
    assert on_a_phone.evaluate(NARROW) == []
    assert on_a_phone.evaluate(LARGER) == []


# What stands before the cells of the tables whose rows are paragraphs on a phone, and what should: the column's title.
TITLES = """() => [...document.querySelectorAll("table.stacked tbody td")].map(cell => [
    getComputedStyle(cell, "::before").content,
    `"${cell.closest("table").tHead.rows[0].cells[cell.cellIndex].textContent.trim()}: "`])"""


@needs_chromium
@pytest.mark.parametrize("path", ["intro", "ways", "corrections", "tokens"])
def test_a_row_that_is_a_paragraph_says_what_its_parts_are(browser: BrowserContext, site: str, path: str) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html", 390)
    shown = page.evaluate(TITLES)
    page.set_viewport_size({"width": 1280, "height": 900})
    wide = {before for before, _ in page.evaluate(TITLES)}
    page.close()
    assert len(shown) > 10 and all(before == title for before, title in shown)
    assert wide == {"none"}


@needs_chromium
def test_what_a_symbol_means_stands_beside_it(browser: BrowserContext, site: str) -> None:
    page = visit(browser, f"{site}/chapters/notation.html", 390)
    places = page.evaluate("""() => [...document.querySelectorAll(".bd-article th")].filter(
        head => head.textContent.trim() === "meaning").map(head => head.getBoundingClientRect().left)""")
    page.close()
    assert len(places) == 3 and max(places) < 390 / 2


# Titles of solutions whose words stand below each other, or under the button that opens them.
STACKED = """() => [...document.querySelectorAll(".bd-article .solution > .admonition-title")].filter(title => {
    const words = document.createRange(), button = title.querySelector("button").getBoundingClientRect();
    words.selectNodeContents(title.firstChild);
    const lines = words.getClientRects().length;
    words.setEndBefore(title.querySelector("button"));
    return lines > 1 || [...words.getClientRects()].some(line => line.right > button.left && line.top < button.bottom);
}).map(title => title.textContent)"""


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("path", ["attention", "applications/question_answering"])
def test_the_title_of_a_solution_is_a_line_of_text(browser: BrowserContext, site: str, path: str, width: int) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html", width, opened=True)
    assert page.locator(".solution > .admonition-title button").count() > 5
    assert page.evaluate(STACKED) == []
    page.close()


# Short code that stands on two lines, and code whose pieces are open boxes.
BROKEN_CODE = """() => [...document.querySelectorAll(".bd-article p code.literal")].filter(code =>
    code.textContent.length <= 26 && code.getClientRects().length > 1
    || getComputedStyle(code).boxDecorationBreak !== "clone").map(code => code.textContent)"""


@needs_chromium
@pytest.mark.parametrize("path", ["code", "tools", "outlook", "notation", "api/base"])
def test_code_in_a_line_breaks_only_where_it_must(browser: BrowserContext, site: str, path: str) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html", 390, opened=True)
    assert page.evaluate(BROKEN_CODE) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


@needs_chromium
def test_a_line_of_83_signs_fits_beside_the_side_bars(browser: BrowserContext, site: str) -> None:
    page = visit(browser, f"{site}/chapters/attention.html")
    room = page.evaluate("""() => {
        const code = document.querySelector(".bd-article > section > section > .cell pre");
        code.textContent = "x".repeat(83);
        return code.clientWidth - code.scrollWidth;
    }""")
    page.close()
    assert room == 0


@needs_chromium
def test_captions_are_as_legible_as_text(browser: BrowserContext, site: str) -> None:
    page = visit(browser, f"{site}/chapters/attention.html")
    style = "e => { const s = getComputedStyle(e); return [s.color, s.fontWeight]; }"
    caption = page.locator("figcaption .caption-text").first.evaluate(style)
    assert caption == page.locator(".bd-article p:not(.chapter-facts)").first.evaluate(style)
    page.close()


@needs_chromium
def test_a_finger_sees_the_copy_buttons_and_no_button_lies_on_the_text(browser: BrowserContext, site: str) -> None:
    page = browser.new_page()
    phone = browser.new_cdp_session(page)
    phone.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    screen = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    phone.send("Emulation.setDeviceMetricsOverride", screen)
    page.goto(f"{site}/chapters/attention.html", wait_until="networkidle")
    page.evaluate("scrollTo(0, 3000)")
    page.evaluate(SETTLED)
    page.evaluate("scrollTo(0, 2500)")
    top = page.locator("#pst-back-to-top")
    top.wait_for(state="visible")
    bar = page.locator(".bd-header-article").bounding_box()
    place = top.bounding_box()
    assert bar and place and place["y"] >= bar["y"] and place["y"] + place["height"] <= bar["y"] + bar["height"]
    assert page.evaluate("getComputedStyle(document.querySelector('button.copybtn')).opacity") == "1"
    page.close()


@needs_chromium
def test_a_reader_without_a_server_has_the_same_page(browser: BrowserContext, html: Path) -> None:
    page, failed = browser.new_page(), []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto((html / "chapters" / "attention.html").as_uri(), wait_until="networkidle")
    page.evaluate(OPEN)
    assert page.locator("mjx-container").count() > 100
    page.close()
    assert failed == []


# Language -----------------------------------------------------------------------------------------------------------

HAN = "[\u3400-\u4dbf\u4e00-\u9fff]"
UNMARKED = f"""() => {{
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    for (let text; text = walker.nextNode();)
        if (/{HAN}/.test(text.data) && !text.parentElement.closest("[lang^=zh], script, title, desc, mjx-container"))
            found.push(text.data.trim());
    return found;
}}"""


@needs_chromium
@pytest.mark.parametrize("path", ["notation", "glossary", "applications/translation", "api/data", "errata"])
def test_chinese_carries_its_language(browser: BrowserContext, site: str, path: str) -> None:
    page = visit(browser, f"{site}/chapters/{path}.html")
    assert page.evaluate(UNMARKED) == []
    assert page.locator("[lang=zh-Hans]").count() > 5
    page.close()


MARKED = {
    "<p>Attention, 注意力。</p>": "<p>Attention, <span L>注意力。</span></p>",
    '<img alt="注意"><i title="a > 意">x</i>': '<img alt="注意"><i title="a > 意">x</i>',
    "<title>注意</title><script>注意</script>": "<title>注意</title><script>注意</script>",
    r'<span class="math x">\(\text{注}\)</span>意': r'<span class="math x">\(\text{注}\)</span><span L>意</span>',
    "<svg><title>注</title><text>x 注</text></svg>": "<svg><title>注</title><text>x <tspan L>注</tspan></text></svg>",
    "<pre><span>'我 爱', 你</span></pre>": "<pre><span>'<span L>我 爱</span>', <span L>你</span></span></pre>",
}


@pytest.mark.parametrize("text", MARKED)
def test_only_text_is_marked(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tool("page_extension", monkeypatch).in_chinese(text, "L") == MARKED[text]


# Weight -------------------------------------------------------------------------------------------------------------


DRAWING = re.compile(r"<svg[^>]*data-drawing.*?</svg>", re.DOTALL)


def cold(browser: BrowserContext, html: Path, path: str) -> dict[str, int]:
    """The bytes of every file that a first visit asks for, without the figures, whether files or in the page."""
    asked: set[str] = set()
    page = browser.new_page()
    with served(html) as address:  # an address of its own, of which the browser keeps nothing
        page.on("request", lambda request: asked.add(re.split("[?#]", request.url.removeprefix(f"{address}/"))[0]))
        page.goto(f"{address}/{path}", wait_until="networkidle")
        page.evaluate(SET)
        page.close()
    weights = {name: (html / name).stat().st_size for name in asked if not name.startswith(("_images/", "data:"))}
    drawings = DRAWING.findall((html / path).read_text(encoding="utf-8"))
    weights[path] -= sum(len(drawing.encode()) for drawing in drawings)
    return weights


@needs_chromium
@pytest.mark.parametrize("path", CHAPTERS)
def test_a_chapter_weighs_less_than_two_megabytes(browser: BrowserContext, html: Path, path: str) -> None:
    weights = cold(browser, html, f"chapters/{path}.html")
    assert "_static/mathjax/startup.js" in weights
    assert sum(weights.values()) < 2_000_000, sorted(weights.items(), key=lambda item: -item[1])


@needs_chromium
def test_the_first_page_asks_for_nothing_that_it_does_not_use(browser: BrowserContext, html: Path) -> None:
    weights = cold(browser, html, "chapters/intro.html")
    unused = re.compile("mathjax|fontawesome.js|searchtools|searchindex|language_data|design")
    assert [name for name in weights if unused.search(name)] == []
    assert sum(weights.values()) < 950_000, sorted(weights.items(), key=lambda item: -item[1])


def test_a_style_sheet_keeps_what_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    purged = tool("page_weight", monkeypatch).purged
    sheet = (
        "/*! Whose it is */ /* gone */ .a,.b:hover,p{x:1} .b .c{x:2} @media print{.b{x:3}.a{x:4}} "
        "@media screen{.b{x:5}}@font-face{src:url(a.woff)} .a:not(.b){x:6} #a>:is(.b,.a){x:7} @keyframes k{from{x:8}}"
    )
    kept = "/*! Whose it is */ .a,p{x:1} @media print{.a{x:4}} @font-face{src:url(a.woff)} .a:not(.b){x:6}"
    kept += "#a>:is(.b,.a){x:7} @keyframes k{from{x:8}}"
    assert "".join(purged(sheet, {"a"}).split()) == "".join(kept.split())


def test_names_are_those_of_pages_and_all_words_of_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    names = tool("page_weight", monkeypatch).names
    page = '<p class="one two-three" id="four">five</p>'
    assert names([page], ['e.className = "six-seven"']) == {"one", "two-three", "four", "e", "className", "six-seven"}


def test_brackets_of_code_have_no_mark_and_the_colour_of_code(html: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uncoloured = tool("page_weight", monkeypatch).uncoloured
    assert uncoloured('<span class="n">f</span><span class="p">()</span><span class="w"> </span>') == (
        '<span class="n">f</span>() '
    )
    sheet = (html / "_static" / "pygments.css").read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        colours = re.findall(rf'data-theme="{theme}"\] \.highlight(?: \.[pw])? {{[^}}]*?[ {{]color: (#\w+)', sheet)
        assert len(colours) == 3 and len(set(colours)) == 1, colours
