"""Each number that a widget computes, in a browser, against the library and against libraries that this project did not
write. No book is built for it: the scripts that compute need no page.
"""

import importlib
import math
import re
from collections.abc import Callable, Iterator
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import Page, sync_playwright

from tests.book.pages import CHROMIUM, FLAGS, ROOT, needs_chromium
from transformer_lib.models import DecoderLM
from transformer_lib.nn import apply_rope, causal_mask, padding_mask, rope_rotation
from transformer_lib.nn.cache import KVCache
from transformer_lib.runs.records import Spread
from transformer_lib.scratch import backward, forward, pencil

pytestmark = needs_chromium
SCRIPTS = ROOT / "_static" / "widgets"
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """An empty page with the scripts that compute."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(300_000)
        page.set_content("<!doctype html><title>numbers</title>")
        for file in ["widget.js", *sorted(path.name for path in SCRIPTS.glob("*_numbers.js"))]:
            page.add_script_tag(content=(SCRIPTS / file).read_text(encoding="utf-8"))
        yield page
        browser.close()


@pytest.fixture(scope="module")
def ask(page: Page) -> Ask:
    """What a function of a widget gives: ask("rope", "score", q, k, ...). All the calls of a list at once by `many`."""

    def asked(widget: str, function: str, *arguments: Any) -> Any:
        return many(widget, function, [arguments])[0]

    def many(widget: str, function: str, calls: list[Any]) -> Any:
        script = """([widget, name, calls]) => {
            const { numbers } = Widget.tools(widget);
            return calls.map(given => numbers[name](...given));
        }"""
        return page.evaluate(script, [widget, function, [list(given) for given in calls]])

    asked.many = many  # type: ignore[attr-defined]
    return asked


@pytest.fixture(scope="module")
def data() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("widget_data")


# Masks --------------------------------------------------------------------------------------------------------------


def test_presets_are_the_masks_of_the_library(ask: Ask) -> None:
    positions = torch.arange(6)[None]
    wanted = {
        "causal": causal_mask(positions, positions)[0, 0],
        "window": causal_mask(positions, positions, window=3)[0, 0],
        "padding": padding_mask(positions < 4)[0, 0].expand(6, 6),
        "prefix": causal_mask(positions, positions)[0, 0] | (positions < 3),
    }
    for kind, mask in wanted.items():
        assert ask("mask", "preset", kind, 6) == mask.tolist(), kind


def heard_by_gradient(mask: torch.Tensor, layers: int) -> list[list[bool]]:
    """Whether the output at each position depends on each input, in attention with residual connections of PyTorch."""
    torch.manual_seed(0)
    maps = torch.randn(layers, 3, 4, 4, dtype=torch.float64)

    def stack(x: torch.Tensor) -> torch.Tensor:
        for w_q, w_k, w_v in maps:
            q, k, v = ((x @ w)[None, None] for w in (w_q, w_k, w_v))
            x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=mask[None, None])[0, 0]
        return x

    slopes = torch.autograd.functional.jacobian(stack, torch.randn(len(mask), 4, dtype=torch.float64))
    return (slopes.abs().amax(dim=(1, 3)) > 0).tolist()


def test_who_is_heard_of_is_what_a_gradient_reaches(ask: Ask) -> None:
    generator = torch.Generator().manual_seed(3)
    masks = [torch.rand(6, 6, generator=generator) < share for share in (0.1, 0.2, 0.3, 0.5)]
    masks += [torch.tensor(ask("mask", "preset", kind, 6)) for kind in ("causal", "window", "padding", "prefix")]
    for mask in masks:
        first = ask("mask", "reached", mask.tolist(), 3)
        for layers in (1, 2, 3):
            by_gradient = heard_by_gradient(mask, layers)
            assert [[x is not None and x <= layers for x in row] for row in first] == by_gradient
        assert all(first[i][i] == 0 for i in range(6))


# Rotary positions ---------------------------------------------------------------------------------------------------


def test_a_turn_is_that_of_the_library_and_of_complex_numbers(ask: Ask) -> None:
    rng = np.random.default_rng(0)
    for width, position, base in product((2, 8), (0, 5, 40), (100.0, 10_000.0, 500_000.0)):
        x, half = rng.normal(size=width), width // 2
        speeds = base ** (-np.arange(0, width, 2) / width)
        np.testing.assert_allclose(ask("rope", "speeds", width, base), speeds, rtol=1e-12)
        turned = (x[:half] + 1j * x[half:]) * np.exp(1j * position * speeds)
        found = ask("rope", "turned", x.tolist(), position, base)
        np.testing.assert_allclose(found, [*turned.real, *turned.imag], atol=1e-12)
        rotation = rope_rotation(torch.tensor([[position]]), width, theta=base, dtype=torch.float64)
        ours = apply_rope(torch.tensor(x)[None, None, None], rotation)
        np.testing.assert_allclose(found, ours.flatten(), atol=1e-12)


def test_the_score_is_the_sum_of_its_parts_and_knows_the_distance_alone(ask: Ask, data: ModuleType) -> None:
    q, k = data.rope().values()
    pairs = np.array([np.array(x[:4]) + 1j * np.array(x[4:]) for x in (q, k)])
    for distance in range(-12, 13, 4):
        speeds = 10_000.0 ** (-np.arange(0, 8, 2) / 8)
        wanted = (pairs[0] * pairs[1].conj() * np.exp(1j * distance * speeds)).real
        for n in (12, 20, 28):
            np.testing.assert_allclose(ask("rope", "parts", q, k, n + distance, n, 10_000), wanted, atol=1e-10)
            assert ask("rope", "score", q, k, n + distance, n, 10_000) == pytest.approx(wanted.sum(), abs=1e-10)


def test_the_query_and_key_are_those_of_the_chapter(data: ModuleType) -> None:
    torch.manual_seed(1)
    drawn = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)  # as the chapter's cell draws them
    assert [*data.rope().values()] == drawn[:, 0, 0, 0].tolist()


# One query ----------------------------------------------------------------------------------------------------------


def test_a_lookup_is_attention_of_pytorch(ask: Ask) -> None:
    rng = np.random.default_rng(0)
    for scaled, temperature, hidden in product((True, False), (0.1, 1, 4), (0, 1, 2)):
        q, k, v = rng.normal(size=2) * 3, rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
        allowed = [i < 3 - hidden for i in range(3)]
        given = {"scaled": scaled, "temperature": temperature, "allowed": allowed}
        found = ask("query", "looked_up", q.tolist(), k.tolist(), v.tolist(), given)
        scale = (1 / math.sqrt(2) if scaled else 1) / temperature
        tensors = [torch.tensor(x)[None, None] for x in (q[None], k, v)]
        output = F.scaled_dot_product_attention(*tensors, attn_mask=torch.tensor([allowed]), scale=scale)[0, 0, 0]
        np.testing.assert_allclose(found["output"], output, atol=1e-10)
        np.testing.assert_allclose(found["scores"], k @ q, atol=1e-12)
        np.testing.assert_allclose(found["sharp"][: 3 - hidden], (k @ q * scale)[: 3 - hidden], atol=1e-10)
        masked = torch.tensor(k @ q * scale).where(torch.tensor(allowed), -torch.inf)
        np.testing.assert_allclose(found["weights"], masked.softmax(0), atol=1e-12)


def test_the_example_gives_the_numbers_of_the_chapter(ask: Ask, data: ModuleType) -> None:
    example = data.query()
    given = {"scaled": True, "temperature": 1, "allowed": [True] * 3}
    found = ask("query", "looked_up", example["queries"][2], example["keys"], example["values"], given)
    assert [round(x, 3) for x in found["weights"]] == [0.401, 0.198, 0.401]  # as the chapter finds them by hand
    assert round(found["output"][1], 3) == 2.192
    blind = ask("query", "looked_up", [1, 0], example["keys"], example["values"], given | {"allowed": [False] * 3})
    assert blind["weights"] == blind["output"] + [0] == [0, 0, 0]


# The pencil model ---------------------------------------------------------------------------------------------------


def settings(rng: np.random.Generator) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    """Weights, tokens and targets: the pencil's own, then others."""
    own = pencil.pencil_weights()
    yield own, pencil.TOKENS, pencil.TARGETS
    for size in (0.1, 0.5, 2.0):
        weights = {name: weight + rng.normal(size=weight.shape) * size for name, weight in own.items()}
        yield weights, rng.integers(4, size=3), rng.integers(4, size=3)


def test_every_stage_and_every_gradient_is_that_of_the_numpy_model(page: Page) -> None:
    script = """([weights, tokens, targets]) => {
        const { numbers } = Widget.tools("pencil");
        const stages = numbers.forward(weights, tokens);
        const back = numbers.backward(weights, tokens, targets, stages);
        const stepped = numbers.stepped(weights, back.weights, 0.5);
        return { stages, back, stepped, loss: numbers.loss(stages, targets), p: numbers.probabilities(stages) };
    }"""
    for weights, tokens, targets in settings(np.random.default_rng(0)):
        listed = {name: weight.tolist() for name, weight in weights.items()}
        found = page.evaluate(script, [listed, tokens.tolist(), targets.tolist()])
        stages = forward(pencil.CONFIG, weights, tokens)
        p = np.exp(stages["logits"]) / np.exp(stages["logits"]).sum(axis=-1, keepdims=True)
        gradients, signals = backward(pencil.CONFIG, weights, tokens, stages, (p - np.eye(4)[targets]) / 3)
        for ours, theirs in ((stages, "stages"), (signals, "back.stages"), (gradients, "back.weights")):
            arrays = found["back"][theirs.partition(".")[2]] if "." in theirs else found[theirs]
            assert arrays.keys() == ours.keys(), theirs
            for name, array in ours.items():
                np.testing.assert_allclose(arrays[name], array, rtol=1e-9, atol=1e-9, err_msg=f"{theirs} {name}")
        np.testing.assert_allclose(found["p"], p, atol=1e-12)
        by_torch = F.cross_entropy(torch.tensor(stages["logits"]), torch.tensor(targets))
        assert found["loss"] == pytest.approx(by_torch.item(), abs=1e-12)
        for name, weight in weights.items():
            np.testing.assert_allclose(found["stepped"][name], weight - 0.5 * gradients[name], atol=1e-9)


def test_the_gradients_are_those_of_pytorch(ask: Ask) -> None:
    for weights, tokens, targets in settings(np.random.default_rng(1)):
        model = DecoderLM(pencil.CONFIG).double()
        model.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()}, strict=False)
        F.cross_entropy(model(torch.tensor(tokens)[None])[0], torch.tensor(targets)).backward()
        listed = {name: weight.tolist() for name, weight in weights.items()}
        stages = ask("pencil", "forward", listed, tokens.tolist())
        found = ask("pencil", "backward", listed, tokens.tolist(), targets.tolist(), stages)["weights"]
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(found[name], parameter.grad, rtol=1e-9, atol=1e-9, err_msg=name)


# The cache ----------------------------------------------------------------------------------------------------------


def test_published_models_keep_what_the_library_allocates_and_their_papers_say(ask: Ask, data: ModuleType) -> None:
    configs = {model["name"]: {**model, "batch": 1, "size": 2} for model in data.cache()["models"]}
    further = {name: ask("cache", "further", config) for name, config in configs.items()}
    assert further == {
        "GPT-2": 36_864,
        "Llama 3 8B": 131_072,
        "Qwen3 0.6B": 114_688,
        "DeepSeek-V3": 70_272,
        "Gemma 3 1B": 4096,
        "gpt-oss-20b": 24_576,
    }
    assert ask.many("cache", "bytes", [[config, 0] for config in configs.values()]) == [0] * 6


def allocated(config: Any, batch: int, tokens: int, dtype: torch.dtype) -> int:
    kept = KVCache(config, batch, tokens, dtype=dtype, device="meta")
    return sum(x.nbytes for x in kept.layer_keys + kept.layer_values) + sum(x.bytes for x in kept.states.values())


def test_bytes_are_those_of_the_library_for_any_batch_length_and_kind_of_number(ask: Ask, data: ModuleType) -> None:
    from transformer_lib.models import presets

    stacks = {
        "GPT-2": presets.gpt2(),
        "Llama 3 8B": presets.llama3_8b(),
        "DeepSeek-V3": data.published()["DeepSeek-V3"],
    }
    for name, stack in stacks.items():
        settings = data.kept(stack)
        for batch, tokens, dtype in product((1, 16), (64, 8192), (torch.bfloat16, torch.float32)):
            given = {**settings, "batch": batch, "size": dtype.itemsize}
            assert ask("cache", "bytes", given, tokens) == allocated(stack, batch, tokens, dtype), name


def test_a_window_keeps_as_many_tokens_as_the_newest_query_sees(ask: Ask, data: ModuleType) -> None:
    for name in ("Gemma 3 1B", "gpt-oss-20b"):
        stack = data.published()[name]
        for tokens in (64, 128, 512, 700):
            kept = 0
            positions = torch.arange(tokens)[None]
            for layer in stack.layers:
                seen = causal_mask(positions[:, -1:], positions, window=layer.attention.window)
                kept += int(seen.sum()) * 2 * layer.attention.kv_heads * layer.head_dim
            given = {**data.kept(stack), "batch": 3, "size": 2}
            assert ask("cache", "bytes", given, tokens) == 3 * 2 * kept, (name, tokens)


# Records ------------------------------------------------------------------------------------------------------------


def test_means_spreads_and_ties_are_those_of_the_records(ask: Ask, data: ModuleType) -> None:
    for record in data.ablation()["records"]:
        values = [arm["values"] for arm in record["arms"]]
        spreads = [Spread(tuple(value)) for value in values]
        for found, spread in zip(ask.many("ablation", "spread", [[v] for v in values]), spreads, strict=True):
            assert found["mean"] == pytest.approx(spread.mean, rel=1e-14)
            assert (found["least"], found["greatest"]) == (spread.least, spread.greatest)
        assert ask.many("ablation", "written", [[value] for value in values]) == [str(spread) for spread in spreads]
        pairs = list(product(range(len(values)), repeat=2))
        ties = ask.many("ablation", "ties", [[values[i], values[j]] for i, j in pairs])
        assert ties == [spreads[i].ties(spreads[j]) for i, j in pairs], record["name"]


def test_every_arm_of_a_record_is_found_by_its_settings(ask: Ask, data: ModuleType) -> None:
    from transformer_lib.runs.records import Record

    for record in data.ablation()["records"]:
        read = Record(ROOT / "recipes" / "results" / f"{record['name']}.json")
        assert len({tuple(arm["at"]) for arm in record["arms"]}) == len(read.arms)
        found = ask.many("ablation", "arm", [[record, arm["at"]] for arm in record["arms"]])
        assert found == record["arms"]
        for arm in record["arms"]:
            assert all(value in factor["options"] for value, factor in zip(arm["at"], record["factors"], strict=True))
        assert ask("ablation", "arm", record, ["nothing of the kind"] * len(record["factors"])) is None
    ablation = data.ablation()["records"][0]
    [norms] = [arm for arm in ablation["arms"] if arm["at"] == ["norms", "1", "small", "120"]]
    read = Record(ROOT / "recipes" / "results" / "ablation.json")
    arm = "without norms, 1 layer, small start, 120 steps"
    assert norms["values"] == read.each(arm, "reassigned") and norms["curves"] == read.each(arm, "curve")


# As they are written ------------------------------------------------------------------------------------------------


def test_a_number_has_four_significant_digits(page: Page) -> None:
    numbers = [0.0, 1.0, -0.5, 1 / 3, 2.1923, 12345.678, 99999.4, 0.00098765, 0.000012345, 3.2e9, -2.5e-7, 131072.0]
    found = page.evaluate("numbers => numbers.map(x => Widget.tools('mask').format(x))", numbers)
    for text, number in zip(found, numbers, strict=True):
        assert float(text.replace("−", "-")) == float(f"{number:.4g}"), text
        assert re.fullmatch(r"−?[\d.]+(e[+−]\d+)?", text), text
    said = page.evaluate("() => [Infinity, -Infinity, NaN, 0.98765].map(x => Widget.tools('mask').format(x, 2))")
    assert said == ["∞", "−∞", "–", "0.99"]
