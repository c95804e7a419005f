"""Previews in a browser: they open for the mouse, the Tab key and a finger, stay where one can read them, and close."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import needs_chromium, served

CHAPTER = "chapters/attention"
LINKS = {  # one of each kind, and what its preview must show
    "term": ('a[href="glossary.html#term-softmax"]', "Exponentials divided by their sum"),
    "citation": ('a[href^="references.html#"]', re.compile(r"[12]\d{3}")),
    "equation": ('a[href="#equation-eq-soft-lookup"]', re.compile(r"\(\d+\.1\)")),
    "figure": ('a[href="#fig-step-alike"]', re.compile(r"Fig\. \d+\.1")),
    "theorem": ('a[href^="#thm-"]', re.compile(r"Theorem \d+\.\d")),
    "exercise": ('a[href="#ex-lookup-by-hand"]', re.compile(r"Exercise \d+\.\d\s+\(★★★\)")),
    "code": ('a.api[href$="causal_mask"]', "causal_mask("),
}
CONTRAST = """box => {
    const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const light = colour => {
        probe.fillStyle = colour;
        probe.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3).map(value => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = light(getComputedStyle(box).backgroundColor);
    return [box, ...box.querySelectorAll("p, strong, figcaption, .caption-text, code, a")].map(part => {
        const ink = light(getComputedStyle(part).color);
        return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    }).reduce((least, value) => Math.min(least, value));
}"""


@contextmanager
def opened(browser: BrowserContext, address: str, scheme: str = "light", width: int = 1280) -> Iterator[Page]:
    """A page that asks nothing of another address than its own; `touch` screens are 390 pixels wide."""
    assert browser.browser is not None
    touch = width < 600
    context = browser.browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=touch, is_mobile=touch
    )
    context.set_default_timeout(100_000)  # milliseconds
    page = context.new_page()
    faults: list[str] = []
    site = re.match(r"https?://[^/]+|file://", address)[0]

    def local_only(route: Any) -> None:
        if route.request.url.startswith((site, "data:", "blob:")):
            route.continue_()
        else:
            faults.append(route.request.url)
            route.abort()

    page.route("**/*", local_only)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address, wait_until="load")
    page.evaluate("() => window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => null)")
    yield page
    context.close()
    assert faults == []


@pytest.fixture(params=["http", "file"])
def address(request: pytest.FixtureRequest, html: Path) -> Iterator[str]:
    if request.param == "file":
        yield html.as_uri()
    else:
        with served(html) as site:
            yield site


def link(page: Page, kind: str) -> Any:
    found = page.locator(f".bd-article :not(.admonition-title) > {LINKS[kind][0]}:not(.headerlink):visible").first
    found.scroll_into_view_if_needed()
    return found


def shown(page: Page, kind: str) -> Any:
    """The preview, once it is seen and says what it should, within the screen."""
    box = page.locator("#preview")
    box.wait_for(state="visible")
    box.filter(has_text=LINKS[kind][1]).wait_for()
    if kind == "equation":
        box.locator("mjx-container").wait_for()
        assert "\\" not in box.inner_text()
    if kind == "figure":
        page.wait_for_function("() => [...document.querySelectorAll('#preview img')].every(e => e.naturalWidth)")
    place = box.bounding_box()
    assert place["x"] >= 0 and place["x"] + place["width"] <= page.viewport_size["width"]
    return box


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_mouse_opens_them(browser: BrowserContext, address: str, scheme: str) -> None:
    with opened(browser, f"{address}/{CHAPTER}.html", scheme) as page:
        for kind in LINKS:
            link(page, kind).hover()
            box = shown(page, kind)
            assert box.evaluate(CONTRAST) >= 4.5, kind
            box.hover()  # one can move onto it, and it stays
            page.wait_for_timeout(600)
            assert box.is_visible(), kind
            page.keyboard.press("Escape")
            box.wait_for(state="hidden")
        link(page, "term").hover()
        shown(page, "term")
        page.mouse.move(1, 1)
        page.locator("#preview").wait_for(state="hidden")


@needs_chromium
def test_the_tab_key_opens_them_and_they_stay(browser: BrowserContext, site: str) -> None:
    with opened(browser, f"{site}/{CHAPTER}.html") as page:
        found = link(page, "term")
        found.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")  # reached by the keyboard, so its focus is seen
        box = shown(page, "term")
        assert found.get_attribute("aria-describedby") == "preview"
        page.wait_for_timeout(600)
        assert box.is_visible()
        page.keyboard.press("Escape")
        box.wait_for(state="hidden")
        assert found.get_attribute("aria-describedby") is None
        assert page.evaluate("() => document.activeElement.getAttribute('href')") == "glossary.html#term-softmax"
        page.keyboard.press("Enter")
        page.wait_for_url("**/glossary.html#term-softmax")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_finger_opens_them_first_and_then_goes_there(browser: BrowserContext, address: str, scheme: str) -> None:
    with opened(browser, f"{address}/{CHAPTER}.html", scheme, width=390) as page:
        for kind in LINKS:
            link(page, kind).tap()
            box = shown(page, kind)
            assert page.url == f"{address}/{CHAPTER}.html"
            assert box.evaluate(CONTRAST) >= 4.5, kind
            assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
            page.touchscreen.tap(385, 100)
            box.wait_for(state="hidden")
        link(page, "theorem").tap()
        shown(page, "theorem").get_by_role("link", name="Go there").tap()
        page.wait_for_url("**#thm-*")
        page.locator("#preview").wait_for(state="hidden")
        link(page, "term").tap()
        shown(page, "term")
        link(page, "term").tap()
        page.wait_for_url("**/glossary.html#term-softmax")


@needs_chromium
def test_a_part_of_the_library_is_copied_from_its_place_in_the_page(browser: BrowserContext, address: str) -> None:
    with opened(browser, f"{address}/chapters/api/nn.html") as page:
        page.locator('.bd-article p a[href="#transformer_lib.nn.norm.LayerNorm"]').first.hover()
        box = page.locator("#preview")
        box.filter(has_text=re.compile(r"LayerNorm\(.*width.*\).*with a trained gain", re.DOTALL)).wait_for()
        assert "[source]" not in box.inner_text() and "#" not in box.inner_text()
        assert box.locator("a, [id]").count() == 0 and box.evaluate(CONTRAST) >= 4.5


@needs_chromium
def test_menus_have_none_and_code_is_copied_as_code(browser: BrowserContext, site: str) -> None:
    with opened(browser, f"{site}/{CHAPTER}.html") as page:
        page.locator('.bd-sidebar-secondary a[href="#masks-who-may-look-at-whom"]').first.hover()
        page.wait_for_timeout(600)
        assert not page.locator("#preview").is_visible()
        cell = page.locator("div.highlight:has(a.api):visible").first
        code = cell.locator("pre").inner_text()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        cell.hover()
        cell.locator("button.copybtn").click()
        cell.locator("button.copybtn.success").wait_for()
        assert page.evaluate("() => navigator.clipboard.readText()").strip() == code.strip()
        assert page.locator(".bd-article pre a.api:not([tabindex='-1'])").count() == 0


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_source_is_whole(browser: BrowserContext, html: Path, scheme: str) -> None:
    for width in (390, 1280):
        with opened(browser, f"{html.as_uri()}/source/transformer_lib.nn.attend.html#L1", scheme, width) as page:
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            assert page.locator("pre > span:target").count() == 1
            assert page.locator("body").evaluate(CONTRAST) >= 4.5
            page.get_by_role("link", name="Reference of transformer_lib.nn.attend").click()
            page.wait_for_url("**/chapters/api/nn.html#module-transformer_lib.nn.attend")


@needs_chromium
def test_the_page_for_wrong_addresses_works_at_any_depth(browser: BrowserContext, html: Path) -> None:
    text = (html / "404.html").read_text(encoding="utf-8")
    with served(html) as site, opened(browser, f"{site}/chapters/intro.html") as page:
        # A server that has a page for wrong addresses shows it there, whatever the address.
        page.route("**/no/such/page", lambda route: route.fulfill(status=404, body=text, content_type="text/html"))
        missing: list[str] = []
        page.on("response", lambda r: missing.append(r.url) if r.status >= 400 and "/no/such/" not in r.url else None)
        page.goto(f"{site}/no/such/page", wait_until="networkidle")
        assert missing == []
        assert page.get_by_role("heading", name="There is no such page").is_visible()
        assert page.locator(".bd-sidebar-primary").evaluate("e => getComputedStyle(e).position") == "sticky"  # styled
        page.get_by_role("link", name="first page").click()
        page.wait_for_url(f"{site}/chapters/intro.html")
