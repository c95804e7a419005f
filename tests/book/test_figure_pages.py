"""Figures in the built pages: they keep their place while they load, can be enlarged, and follow a dark page."""

import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import OPEN, ROOT, needs_chromium, toc_pages
from tests.book.test_figures import PHONE, figures
from transformer_lib.viz.style import WIDTH

LOOK = """() => [...document.querySelectorAll(".bd-article img")].map(image => {
    const box = image.getBoundingClientRect();
    return {
        name: image.getAttribute("src"), given: [image.getAttribute("width"), image.getAttribute("height")].map(Number),
        loading: image.getAttribute("loading"), shape: box.width / box.height, wide: box.width,
    };
})"""
CHAPTER_PAGES = [page for page in toc_pages() if (ROOT / f"{page}.ipynb").is_file()]


def opened(browser: BrowserContext, site: str, page: str, width: int, scheme: str = "light") -> Page:
    tab = browser.new_page()
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 900})
    tab.goto(f"{site}/{page}.html", wait_until="load")
    tab.evaluate(OPEN)
    return tab


@needs_chromium
@pytest.mark.parametrize("path", CHAPTER_PAGES)
def test_figures_take_their_place_before_they_are_loaded(browser: BrowserContext, site: str, path: str) -> None:
    tab = opened(browser, site, path, 390)
    seen = tab.evaluate(LOOK)
    tab.close()
    chapter = nbformat.read(ROOT / f"{path}.ipynb", as_version=4)
    assert len(seen) == len(list(figures(chapter)))
    for number, image in enumerate(seen):
        width, height = image["given"]
        assert width == round(WIDTH * 96), image
        assert image["shape"] == pytest.approx(width / height, rel=0.02), image
        assert image["loading"] == ("lazy" if number else None), image
        assert image["wide"] >= PHONE - 1, image


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_a_figure_is_enlarged_by_keyboard_and_by_click(browser: BrowserContext, site: str, width: int) -> None:
    tab = opened(browser, site, "chapters/forward", width)
    figure = tab.locator("#fig-forward-weights")
    small = figure.locator("img").bounding_box()
    button, dialog = figure.get_by_role("button", name="Enlarge"), tab.get_by_role("dialog")
    assert not dialog.is_visible()

    button.focus()
    tab.keyboard.press("Enter")
    large = dialog.locator("img").bounding_box()
    assert large["x"] >= 0 and large["x"] + large["width"] <= width and large["y"] + large["height"] <= 900
    assert large["width"] >= (1.9 * small["width"] if width > 600 else small["width"])
    assert large["width"] / large["height"] == pytest.approx(small["width"] / small["height"], rel=0.02)
    assert dialog.locator("img").get_attribute("alt") == figure.locator("img").get_attribute("alt")
    assert dialog.get_attribute("aria-label").startswith("Fig.")
    tab.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("element => element === document.activeElement")

    figure.locator("img").click()
    assert dialog.is_visible()
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    figure.locator("img").click()
    dialog.locator("img").click(position={"x": 20, "y": 20})
    assert dialog.is_visible() == (width < 600)  # there a tap makes it larger
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()


@needs_chromium
def test_on_a_phone_a_tap_makes_a_figure_larger_around_that_place(browser: BrowserContext, site: str) -> None:
    tab = opened(browser, site, "chapters/forward", 390)
    tab.locator("#fig-forward-weights").get_by_role("button", name="Enlarge").click()
    dialog = tab.get_by_role("dialog")
    image, room = dialog.locator("img"), dialog.get_by_role("region")
    fitted = image.bounding_box()
    image.click(position={"x": 0.8 * fitted["width"], "y": 0.5 * fitted["height"]})
    large = image.bounding_box()
    assert large["width"] == pytest.approx(2 * fitted["width"], abs=1)
    assert large["x"] + 0.8 * large["width"] == pytest.approx(fitted["x"] + 0.8 * fitted["width"], abs=2)
    room.evaluate("room => room.scrollTo(0, 0)")
    assert image.bounding_box()["x"] >= 0
    room.evaluate("room => room.scrollTo(9999, 0)")
    assert image.bounding_box()["x"] + large["width"] <= 391
    dialog.get_by_role("button", name="Fit").click()
    assert image.bounding_box() == fitted
    dialog.get_by_role("button", name="Larger").press("Enter")
    assert image.bounding_box()["width"] == large["width"]
    tab.close()


@needs_chromium
def test_a_drawing_within_the_page_is_enlarged_with_names_of_its_own(browser: BrowserContext, tmp_path: Path) -> None:
    drawing = """<svg role="img" aria-labelledby="d-title" width="300" height="100" viewBox="0 0 300 100">
    <title id="d-title">A box</title><clipPath id="d-clip"><rect width="9" height="9"/></clipPath>
    <rect id="d-box" width="9" height="9" clip-path="url(#d-clip)"/><use href="#d-box"/></svg>"""
    script = (ROOT / "_static" / "figures.js").read_text()
    body = f'<article class="bd-article"><figure>{drawing}<figcaption><p>A box.</p></figcaption></figure></article>'
    (tmp_path / "page.html").write_text(f"<!doctype html><title>x</title><script>{script}</script>{body}")
    tab = browser.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    tab.get_by_role("button", name="Enlarge").click()
    names = tab.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    copy = tab.evaluate("document.querySelector('dialog svg').outerHTML")
    tab.close()
    assert sorted(names) == sorted(set(names)) and "d-box-large" in names
    assert 'aria-labelledby="d-title-large"' in copy and 'href="#d-box-large"' in copy and "url(#d-clip-large)" in copy


@needs_chromium
@pytest.mark.parametrize("path", ["chapters/forward", "chapters/attention"])
def test_dark_figures_have_the_ground_of_the_page(browser: BrowserContext, site: str, path: str) -> None:
    tab = opened(browser, site, path, 1280, "dark")
    image = tab.locator(".bd-article img").nth(1)
    image.scroll_into_view_if_needed()
    tab.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())
    box = image.bounding_box()
    corner = {"x": box["x"] - 8, "y": box["y"] + 2, "width": 16, "height": 2}  # half page, half figure
    pixels = colours_of(tab.screenshot(clip=corner))
    tab.emulate_media(media="print", color_scheme="dark")
    on_paper = image.evaluate("element => getComputedStyle(element).filter")
    tab.close()
    assert np.abs(pixels[:, :8] - pixels[:, 8:]).max() <= 2, pixels
    assert pixels.max() < 40
    assert on_paper == "none"


def colours_of(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
