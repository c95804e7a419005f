"""Layers with a window keep no more than it and what a rewind may need; no number changes by that."""

import dataclasses
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import CONFIG, close, integers, randomise, rejects
from transformer_lib.config import LayerConfig, ModelConfig, Rope
from transformer_lib.generation import beam_search, generate, speculate
from transformer_lib.models import DecoderLM
from transformer_lib.nn import KVCache, local
from transformer_lib.nn.local import SPARE

TIME = 24


def near(window: int) -> LayerConfig:
    return LayerConfig(attention=dataclasses.replace(CONFIG.attention, window=window))


STACK = dataclasses.replace(
    CONFIG, num_layers=4, positions=Rope(), pattern=(near(3), near(5), LayerConfig(), near(3)), max_length=32
)
MODEL = randomise(DecoderLM(STACK))
TOKENS = integers(13, 2, TIME)
WHOLE = MODEL(TOKENS).detach()


def cache_of(spare: int, rows: int = 2, slots: int = TIME) -> KVCache:
    with mock.patch.object(local, "SPARE", spare):
        return MODEL.new_cache(rows, slots)


def test_five_of_six_layers_of_a_long_text_keep_their_window() -> None:
    """The shape of Gemma 3: five local layers, then a global one; 4096 tokens, and windows of 1024."""
    layers = [near(1024)] * 5 + [LayerConfig()]
    config = dataclasses.replace(STACK, num_layers=12, max_length=4096, pattern=tuple(layers))
    cache = KVCache(config, 1, 4096)
    slots = [keys.shape[2] for keys in cache.layer_keys]
    assert slots == [*[1024 + 2 * SPARE] * 5, 4096] * 2
    a_slot = 2 * CONFIG.attention.kv_heads * CONFIG.head_dim * 4
    assert cache.bytes == a_slot * (10 * (1024 + 2 * SPARE) + 2 * 4096)
    everything = KVCache(dataclasses.replace(config, pattern=()), 1, 4096)
    assert cache.bytes / everything.bytes == pytest.approx(0.388, abs=0.001)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, TIME), max_size=12), spare=st.integers(0, 4))
def test_any_split_is_one_pass_and_keeps_the_windows_alone(cuts: list[int], spare: int) -> None:
    cache, ends = cache_of(spare), sorted({*cuts, TIME})
    size = cache.bytes
    parts = [MODEL(TOKENS[:, i:j], cache=cache) for i, j in zip([0, *ends], ends, strict=False)]
    close(torch.cat(parts, dim=1), WHOLE)
    assert cache.bytes == size
    assert [keys.shape[2] for keys in cache.layer_keys] == [3 + 2 * spare, 5 + 2 * spare, TIME, 3 + 2 * spare]


@settings(max_examples=25)
@given(data=st.data(), spare=st.integers(0, 4))
def test_as_many_tokens_as_are_spared_can_be_forgotten(data: st.DataObject, spare: int) -> None:
    cache, held = cache_of(0), 0
    cache.reserve(spare)
    for _ in range(6):
        new = data.draw(st.integers(0, min(9, TIME - held)))
        if new:
            close(MODEL(TOKENS[:, held : held + new], cache=cache), WHOLE[:, held : held + new])
        back = data.draw(st.integers(0, min(spare, held + new)))
        held += new - back
        cache.rewind(held)
        if back:  # who writes something else there leaves no trace
            MODEL(TOKENS[:, :1], cache=cache)
            cache.rewind(held)
            break
    if held < TIME:
        close(MODEL(TOKENS[:, held:], cache=cache), WHOLE[:, held:])


def test_rewinding_further_than_kept_is_refused_and_changes_nothing() -> None:
    cache = cache_of(2)
    MODEL(TOKENS[:, :12], cache=cache)
    with rejects("length", "must be 0, or at least 10", "9"):
        cache.rewind(9)
    with rejects("tokens", "at most 2", "3"):
        cache.reserve(3)
    with rejects("tokens", "at least 0", "-1"):
        cache.reserve(-1)
    with rejects("cache", "all 24 slots in every layer"):
        cache.keys  # noqa: B018
    assert cache.length == 12
    close(MODEL(TOKENS[:, 12:], cache=cache), WHOLE[:, 12:])
    cache.rewind(0)
    close(MODEL(TOKENS, cache=cache), WHOLE)


def test_tokens_that_would_look_at_what_is_gone_are_refused() -> None:
    cache = cache_of(0)
    MODEL(TOKENS[:, :12], cache=cache)
    with rejects("positions", "above the oldest that a layer with window=", "3"):
        MODEL(TOKENS[:, 12:13], positions=torch.tensor([[3]]), cache=cache)
    assert cache.length == 12
    later = torch.arange(20, 32)[None]  # a gap is none of these: what is seen there is what a window leaves
    whole = MODEL(TOKENS, positions=torch.cat([torch.arange(12)[None], later], dim=1))
    close(MODEL(TOKENS[:, 12:], positions=later, cache=cache), whole[:, 12:])


def test_a_cache_made_for_other_windows_is_refused() -> None:
    other = DecoderLM(dataclasses.replace(STACK, pattern=())).double()
    with rejects("cache", "the model's windows", "[3, 5, None, 3]"):
        other(TOKENS, cache=cache_of(0))


@pytest.mark.parametrize("spare", [0, 1])
def test_what_writes_text_writes_the_same(spare: int) -> None:
    """Left padding, several texts in one row, and drafts that are thrown away."""
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[1, :5] = False
    prompts = TOKENS[:, :12]
    found = []
    for spared in (TIME, spare):
        with mock.patch.object(local, "SPARE", spared):
            beams = beam_search(MODEL, prompts, beams=3, max_new_tokens=8, valid=valid)
            texts = generate(MODEL, prompts, max_new_tokens=8, valid=valid)
            draft = speculate(MODEL, MODEL, prompts[:1], max_new_tokens=8, lookahead=5, temperature=0.0)
            found.append((beams.tokens, beams.scores, texts.tokens, draft.tokens))
    for mine, whole in zip(found[1], found[0], strict=True):
        close(mine.double(), whole.double())


def test_the_same_weights_without_a_window_would_see_more() -> None:
    """Else the tests above would compare nothing."""
    config: ModelConfig = dataclasses.replace(STACK, pattern=())
    other = DecoderLM(config).double().eval()
    other.load_state_dict(MODEL.state_dict())
    assert (other(TOKENS) - WHOLE).abs().amax(dim=(0, 2))[3:].min() > 1e-3
