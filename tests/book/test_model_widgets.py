"""Widgets with a model, in the built pages: nothing is loaded before the reader asks, then they show what Python says,
to keys, fingers and a mouse, on a phone and on a desk, from a server and from a disk.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import ROOT, needs_chromium
from tests.book.test_axe import pale, violations
from tests.book.test_widgets import PLACES, TOO_SMALL, TOO_WIDE
from transformer_lib.generation import beam_search, distribution
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.translation import Translator

MODELS = {"text": "shakespeare-small", "beam": "shakespeare-small", "translate": "tatoeba-en-zh"}
HERE = [(page, name) for page, name in PLACES if name in MODELS]
ONE_EACH = list({name: (page, name) for page, name in HERE}.values())
READY = {"text": ".model-bar", "beam": "svg rect", "translate": ".model-map canvas"}
MOST = 8_000_000  # bytes that a page may load more, with its model


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer.load(ROOT / "recipes" / "models" / "shakespeare-small")


@pytest.fixture
def opened(browser: BrowserContext, site: str) -> Iterator[Callable[..., Page]]:
    """A page with its widget loaded by the Enter key; closed afterwards."""
    pages: list[Page] = []

    def visit(path: str, name: str, width: int = 390, scheme: str = "light", address: str | None = None) -> Page:
        page = browser.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: pytest.fail(f"{path}: {error}"))
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(address or f"{site}/{path}.html", wait_until="load")
        page.locator(f"#widget-{name} button").focus()
        page.keyboard.press("Enter")
        page.locator(f"#widget-{name} {READY[name]}").first.wait_for()
        return page

    yield visit
    for page in pages:
        page.close()


def test_every_widget_with_a_model_is_in_a_chapter() -> None:
    assert {name for _, name in HERE} == MODELS.keys()


def test_the_site_has_the_scripts_of_the_models_and_the_tree_has_not(html: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        tool = importlib.import_module("page_models")
    assert {*tool.NAMES} == {*MODELS.values()} == {file.stem for file in (html / "_static" / "models").iterdir()}
    for name in tool.NAMES:
        written = (html / "_static" / "models" / f"{name}.js").read_text(encoding="utf-8")
        assert written == tool.script_of(ROOT / "recipes" / "models" / name)
    assert not (ROOT / "_static" / "models").exists()


@needs_chromium
@pytest.mark.parametrize(("path", "name"), ONE_EACH)
def test_a_model_is_loaded_when_the_reader_asks(
    browser: BrowserContext, site: str, html: Path, path: str, name: str
) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.split("/_static/")[-1].split("?")[0]))
    page.goto(f"{site}/{path}.html", wait_until="networkidle")
    assert not [file for file in asked if file.startswith(("models/", "widgets/engine/"))]
    before = len(asked)
    start = page.locator(f"#widget-{name} button")
    size = float(re.findall(r"([\d.]+) MB", start.inner_text())[0])
    start.click()
    page.locator(f"#widget-{name} {READY[name]}").first.wait_for()
    files = [file for file in asked[before:] if file.endswith(".js")]  # pictures come as the page scrolls
    page.close()
    assert f"models/{MODELS[name]}.js" in files
    assert all(file.startswith(("models/", "widgets/engine/")) for file in files)
    bytes_ = sum((html / "_static" / file).stat().st_size for file in files)
    assert bytes_ < MOST
    assert size == pytest.approx(bytes_ / 1e6, abs=0.06)


@needs_chromium
@pytest.mark.parametrize(("path", "name"), HERE)
def test_it_is_narrow_and_fits_a_thumb(opened: Any, path: str, name: str) -> None:
    page = opened(path, name)
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(TOO_WIDE, name) == [] and page.evaluate(TOO_SMALL, name) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@needs_chromium
@pytest.mark.parametrize(("path", "name"), ONE_EACH)
def test_axe_finds_nothing(opened: Any, path: str, name: str) -> None:
    page = opened(path, name)
    page.evaluate(
        "name => { for (const e of document.body.querySelectorAll('*')) "
        "if (!e.contains(name) && !name.contains(e)) e.remove() }",
        page.query_selector(f"#widget-{name}"),
    )
    found = violations(page)
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark' }")
    found += pale(page)
    assert [line for line in found if not line.startswith(("document-title", "page-has", "landmark"))] == []


@needs_chromium
@pytest.mark.parametrize(("path", "name"), ONE_EACH)
def test_it_works_from_a_disk_and_by_touch(browser: BrowserContext, html: Path, path: str, name: str) -> None:
    assert browser.browser is not None
    phone = browser.browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = phone.new_page()
    page.set_default_timeout(60_000)
    page.goto((html / f"{path}.html").as_uri(), wait_until="load")
    place = page.locator(f"#widget-{name}")
    place.get_by_role("button").tap()
    place.locator(READY[name]).first.wait_for()
    page.wait_for_function("name => document.querySelector(`#widget-${name} .widget-says`).innerText", arg=name)
    before = place.inner_text()
    choice = place.locator(".widget-choice").filter(has_text={"beam": "Beams"}.get(name, "Layer"))
    choice.locator("label").nth(1).tap()
    page.wait_for_function("([e, before]) => e.innerText !== before", arg=[place.element_handle(), before])
    assert choice.locator("input").nth(1).is_checked()
    phone.close()


@needs_chromium
def test_the_next_token_is_what_python_says(opened: Any, writer: Writer) -> None:
    path = next(page for page, name in HERE if name == "text")
    page = opened(path, "text", width=1280)
    place = page.locator("#widget-text")
    text = "KING:\nGood night"
    place.get_by_label("Text").fill(text)
    place.get_by_label("Temperature").fill("1.5")
    place.get_by_label("Top-k").select_option("5")
    place.get_by_label("Top-p").fill("0.6")
    ids = writer.tokenizer.encode(text)
    page.wait_for_function(
        "count => document.querySelectorAll('#widget-text .model-tokens *').length === count", arg=len(ids)
    )
    logits = writer.model(torch.tensor([ids]), newest=1)[0]
    probs = distribution(logits, temperature=1.5, top_k=5, top_p=0.6)[0]
    best = logits[0].topk(6).indices
    seen = place.locator(".model-bar").evaluate_all(
        "bars => bars.map(e => [e.children[0].innerText, e.children[2].innerText])"
    )
    spelled = [writer.tokenizer.decode([i]).replace(" ", "␣").replace("\n", "↵") for i in best.tolist()]
    shares = [f"{100 * share:.1f} %" if share else "0" for share in probs[best].tolist()]
    assert seen == [[*each] for each in zip(spelled, shares, strict=True)]
    assert "0" in shares and len({*shares}) > 2  # some are cut, and some are not


@needs_chromium
def test_a_text_is_written_on_and_the_same_after_begin_again(opened: Any) -> None:
    path = next(page for page, name in HERE if name == "text")
    page = opened(path, "text")
    place = page.locator("#widget-text")
    field, write = place.get_by_label("Text"), place.get_by_role("button", name="Write 40 tokens")
    begun = field.input_value()
    written = []
    for _ in range(2):
        place.get_by_role("button", name="Begin again").click()
        assert field.input_value() == begun
        write.focus()
        page.keyboard.press("Enter")
        page.wait_for_function("!document.querySelector('#widget-text').innerText.includes('Stop')")
        written.append(field.input_value())
    assert written[0] == written[1] and written[0].startswith(begun) and len(written[0]) > len(begun) + 40
    who = place.get_by_label("Token that looks")
    who.focus()
    page.keyboard.press("Home")
    assert who.input_value() == "1"
    assert "looks most at JULIET (100.0 %)" in place.locator(".model-map").first.inner_text()  # it sees itself alone


@needs_chromium
def test_the_tree_has_the_texts_of_the_library(opened: Any, writer: Writer) -> None:
    path = next(page for page, name in HERE if name == "beam")
    page = opened(path, "beam")
    place = page.locator("#widget-beam")
    place.get_by_label("4", exact=True).check()
    place.get_by_label("Length penalty").fill("0.5")
    prompt, [end] = writer.tokenizer.encode("ROMEO:\nI will"), writer.tokenizer.encode("\n")
    limits: dict[str, Any] = {"stop_ids": [end], "length_penalty": 0.5}
    found = beam_search(writer.model, torch.tensor([prompt]), beams=4, max_new_tokens=8, **limits)
    best = writer.tokenizer.decode(found.best()[0]).replace("\n", "↵")
    said = f"“{best}”, score {float(found.scores[0, 0]):.3g}".replace("-", "−")
    page.wait_for_function(
        "said => document.querySelector('#widget-beam .widget-says').innerText.includes(said)", arg=said
    )
    step = place.get_by_label("Step")
    step.focus()
    page.keyboard.press("Home")
    probs = writer.model(torch.tensor([prompt]), newest=1)[0].log_softmax(-1)
    first = probs[0].topk(5).values.tolist()
    rows = place.locator("tbody tr").evaluate_all("rows => rows.map(row => row.cells[1].innerText)")
    assert [float(row.replace("−", "-")) for row in rows] == pytest.approx(first, rel=1e-3)


@needs_chromium
def test_a_translation_is_that_of_translate(opened: Any) -> None:
    path = next(page for page, name in HERE if name == "translate")
    page = opened(path, "translate")
    place = page.locator("#widget-translate")
    translator = Translator.load(ROOT / "recipes" / "models" / "tatoeba-en-zh")
    for text in ("Where do you live?", "The archduke embezzled nine quaint tariffs."):
        place.get_by_label("English").fill(text)
        page.keyboard.press("Enter")
        [[best]] = translator.candidates([text])
        assert best.text in place.inner_text()
        unsure = best.per_token < (translator.unsure_below or 0)
        assert unsure == ("The model is unsure" in place.inner_text())
    place.get_by_label("English").fill("word " * 200)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('#widget-translate .widget-says').innerText.includes('at most 128 tokens')"
    )


def test_what_the_static_forms_promise_is_so(writer: Writer) -> None:
    text = "JULIET:\nO Romeo, Romeo! wherefore art thou Romeo?\n\nROMEO:\nI"
    greedy = writer(text, max_new_tokens=120, temperature=0.0)
    lines = [line for line in greedy.split("\n") if line.startswith("And")]
    assert len(lines) > len({*lines})  # it goes round in circles
    prompt, [end] = writer.tokenizer.encode("ROMEO:\nI will"), writer.tokenizer.encode("\n")
    search = partial(beam_search, writer.model, torch.tensor([prompt]), max_new_tokens=8, stop_ids=[end])
    likelier = [float(search(beams=beams).log_probs[0, 0]) for beams in (1, 2, 3)]
    assert likelier == sorted(likelier) and likelier[0] < likelier[1] - 1
    lengths = [int(search(beams=5, length_penalty=penalty).lengths[0, 0]) for penalty in (0.0, 1.0, 2.0)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[2]
