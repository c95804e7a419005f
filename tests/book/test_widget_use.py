"""Each widget used as a reader uses it, by keys on a wide screen and by touch on a phone.

What it then says is compared with what Python computes for the same settings.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page

from tests.book.pages import ROOT, needs_chromium
from tests.book.test_widgets import opened as opened
from transformer_lib.book import fmt
from transformer_lib.runs.records import Record
from transformer_lib.scratch import backward, cross_entropy, cross_entropy_backward, forward, pencil

pytestmark = needs_chromium
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 900}  # for keys, and for fingers


class Reader:
    """A reader of one widget, who has keys and fingers."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.widget = page, page.locator(f"#widget-{name} .widget-live")
        self.fingers = page.context.new_cdp_session(page)
        self.fingers.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def part(self, role: str, name: str) -> Locator:
        return self.widget.get_by_role(role, name=name, exact=True)

    def keys(self, part: Locator, *keys: str) -> None:
        self.page.set_viewport_size(WIDE)
        part.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def tap(self, part: Locator, across: float = 0.5) -> None:
        self.page.set_viewport_size(PHONE)
        self.page.evaluate("element => element.scrollIntoView({block: 'center'})", part.element_handle())
        box = part.bounding_box()
        assert box
        point = {"x": box["x"] + across * box["width"], "y": box["y"] + box["height"] / 2}
        self.fingers.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
        self.fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def hears(self, text: str) -> None:
        """Waits until the line that is read out says so."""
        self.widget.locator(".widget-says").filter(has_text=text).wait_for()


Visit = Callable[..., Reader]


@pytest.fixture
def visit(opened: Any) -> Visit:
    """A way to open a widget of a chapter."""
    return lambda path, name: Reader(opened(f"chapters/{path}", name), name)


def test_a_mask_is_painted(visit: Visit) -> None:
    reader = visit("attention", "mask")
    corner = reader.part("button", "0 may look at 0")
    reader.keys(corner, "ArrowRight", "Space")
    assert reader.part("button", "0 may look at 1").get_attribute("aria-pressed") == "true"
    reader.hears("After 1 layer position 5 has heard of 6 of 6 tokens. In 1 pair a position looks into its future.")
    reader.tap(reader.part("button", "0 may look at 1"))
    assert reader.part("button", "0 may look at 1").get_attribute("aria-pressed") == "false"
    reader.tap(reader.part("radio", "window"))
    reader.hears("After 1 layer position 5 has heard of 3 of 6 tokens.")
    reader.keys(reader.part("radio", "1"), "ArrowRight")
    reader.hears("After 2 layers position 5 has heard of 5 of 6 tokens.")
    reader.tap(reader.part("button", "Forbid all"))
    reader.hears("May look at nothing, so that its weights are all 0: 0, 1, 2, 3, 4, 5.")


def test_a_mouse_paints_what_it_is_drawn_over(visit: Visit) -> None:
    reader = visit("attention", "mask")
    boxes = []
    for key in (1, 2, 3):
        cell = reader.part("button", f"0 may look at {key}")
        cell.scroll_into_view_if_needed()
        boxes.append(cell)
    places = [box.bounding_box() for box in boxes]
    middles = [(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2) for place in places if place]
    reader.page.mouse.move(*middles[0])
    reader.page.mouse.down()
    for middle in middles[1:]:
        reader.page.mouse.move(*middle, steps=5)
    reader.page.mouse.up()
    assert [box.get_attribute("aria-pressed") for box in boxes] == ["true"] * 3
    boxes[0].click()
    assert [box.get_attribute("aria-pressed") for box in boxes] == ["false", "true", "true"]


def test_a_query_is_followed(visit: Visit) -> None:
    reader = visit("attention", "query")
    reader.hears("a? asks with (1, 0) and reads 0.401·3 + 0.198·5 + 0.401·0 = 2.192.")
    reader.keys(reader.part("radio", "a?").last, "Space")  # of which the key is changed
    reader.keys(reader.widget.get_by_label("Key, about a"), "Home")
    powers = np.exp(np.array([1, 0, -3]) / np.sqrt(2))
    weights = powers / powers.sum()
    reader.hears(f"= {fmt(weights @ [3, 5, 0])}.")
    reader.tap(reader.widget.get_by_label("Hide the future"))
    reader.tap(reader.part("radio", "a=3").first)
    reader.hears("a=3 asks with (1, 0) and reads 1·3 + 0·5 + 0·0 = 3.")
    reader.tap(reader.part("button", "Begin again"))
    reader.hears("0.401·3 + 0.198·5 + 0.401·0 = 2.192.")


def test_a_query_and_a_key_are_turned(visit: Visit) -> None:
    reader = visit("architecture", "rope")
    reader.hears("Distance m − n = 3: the four parts add up to the score")
    score = reader.widget.locator(".widget-says").inner_text().rpartition(" ")[2]
    reader.keys(reader.part("button", "Both one later"), "Enter", "Enter")
    reader.page.wait_for_timeout(300)
    reader.hears(f"Distance m − n = 3: the four parts add up to the score {score}")
    assert reader.widget.get_by_label("Position m of the query").input_value() == "10"
    reader.keys(reader.widget.get_by_label("Position m of the query"), "ArrowRight")
    reader.hears("Distance m − n = 4:")
    reader.tap(reader.widget.get_by_label("Position n of the key"), 0.99)
    reader.hears("Distance m − n = −29:")
    reader.tap(reader.part("radio", "100"))
    reader.hears("Distance m − n = −29:")
    assert "Pair 1 turns 0.3162 radians" in reader.widget.inner_text()


@pytest.mark.parametrize("path", ["forward", "backward"])
def test_the_pencil_model_takes_steps_downhill(visit: Visit, path: str) -> None:
    reader = visit(path, "pencil")
    weights, losses = pencil.pencil_weights(), []
    for _ in range(3):
        stages = forward(pencil.CONFIG, weights, pencil.TOKENS)
        losses.append(float(cross_entropy(stages["logits"], pencil.TARGETS)[0]) / 3)
        slopes = cross_entropy_backward(stages["logits"], pencil.TARGETS) / 3
        gradients, _ = backward(pencil.CONFIG, weights, pencil.TOKENS, stages, slopes)
        weights = {name: weight - gradients[name] for name, weight in weights.items()}
    reader.hears(f"is {float(f'{losses[0]:.5g}')}.")
    reader.keys(reader.part("button", "One step downhill"), "Enter")
    reader.hears(f"is {float(f'{losses[1]:.5g}')}.")
    reader.tap(reader.part("button", "One step downhill"))
    reader.hears(f"is {float(f'{losses[2]:.5g}')}.")
    reader.tap(reader.part("button", "Begin again"))
    reader.hears(f"is {float(f'{losses[0]:.5g}')}.")

    changed = pencil.pencil_weights()
    changed["blocks.0.attention.to_qkv.weight"][3, 0] = -2  # row 0, column 3 of W_Q as the chapter writes it
    stages = forward(pencil.CONFIG, changed, pencil.TOKENS)
    reader.keys(reader.widget.locator(".widget-cell").first, "ArrowRight", "ArrowRight", "ArrowRight", "Enter")
    reader.keys(reader.widget.get_by_label("The chosen weight"), "Home")
    loss = float(cross_entropy(stages["logits"], pencil.TARGETS)[0]) / 3
    reader.hears(f"is {float(f'{loss:.5g}')}.")


def test_a_cache_grows(visit: Visit) -> None:
    reader = visit("frontier/generation", "cache")
    reader.hears("After 8,192 tokens the cache weighs 1 GiB.")
    reader.keys(reader.widget.get_by_label("Tokens read so far"), *["ArrowRight"] * 4)
    reader.hears("After 131,072 tokens the cache weighs 16 GiB.")  # as in the table of the chapter
    reader.keys(reader.widget.get_by_label("Model"), "ArrowUp")
    reader.hears("one more token adds 36,864 bytes")
    reader.tap(reader.widget.locator("summary"))
    reader.keys(reader.widget.get_by_label("Layers", exact=False).first, "ArrowLeft")
    reader.hears("one more token adds 33,792 bytes")
    assert reader.widget.get_by_label("Model").input_value() == "your own"
    reader.tap(reader.part("radio", "4"))
    reader.hears("one more token adds 67,584 bytes")


def test_a_part_is_switched_off(visit: Visit) -> None:
    record = Record(ROOT / "recipes" / "results" / "ablation.json")
    arm = "without {}, {}, small start, 120 steps"
    found = {
        (part, layers): str(record.spread(arm.format(part, layers), "reassigned"))
        for part in ("attention", "norms", "nothing")
        for layers in ("1 layer", "2 layers")
    }
    reader = visit("architecture", "ablation")
    reader.hears(f"attention: {found['attention', '1 layer']}; nothing: {found['nothing', '1 layer']}; lower, by more")
    reader.keys(reader.widget.get_by_label("Taken away"), "n", "o", "r")
    reader.hears(f"norms: {found['norms', '1 layer']}; nothing: {found['nothing', '1 layer']}; lower, by more")
    reader.tap(reader.part("radio", "2"))
    reader.hears(f"norms: {found['norms', '2 layers']}; nothing: {found['nothing', '2 layers']}; lower, by more")
    assert reader.widget.locator("polyline").count() == 12  # five seeds and their mean, twice
    reader.keys(reader.widget.get_by_label("Experiment"), "W", "h", "a", "t")
    block = Record(ROOT / "recipes" / "results" / "block.json")
    reader.hears(
        f"LayerNorm: {block.spread('LayerNorm', 'test')}; today's block: {block.spread(block.arms[0], 'test')}"
    )
    reader.hears("within the spread of the seeds: a tie")
