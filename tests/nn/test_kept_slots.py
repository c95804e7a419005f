"""Slots that are given up against slots that a mask hides, and against NumPy's indexing."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import CONFIG, close, integers, randomise, rejects
from transformer_lib.config import AttentionConfig, GatedDelta, LatentAttention, LayerConfig, ModelConfig, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.fixed_cache import FixedCache
from transformer_lib.nn.kept_slots import can_give_up_slots, keep_slots
from transformer_lib.nn.rolling_cache import RollingCache

LATENT = LatentAttention(num_heads=2, head_dim=4, rope_dim=4, value_dim=4, kv_rank=6)


def stack(*mixers: AttentionConfig | LatentAttention | GatedDelta) -> ModelConfig:
    layers = tuple(LayerConfig(attention=mixer, positions=Rope()) for mixer in mixers)
    return dataclasses.replace(CONFIG, num_layers=len(layers), pattern=layers)


MIXED = randomise(DecoderLM(stack(AttentionConfig(num_heads=2, num_kv_heads=1), LATENT)))


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_what_is_given_up_is_as_if_it_were_hidden(seed: int, kept: int) -> None:
    """Two more tokens read behind the slots that are left, and behind all of them with the others hidden by a mask."""
    texts, (one, two) = integers(13, 2, 9, seed=seed), (MIXED.new_cache(2, 11), MIXED.new_cache(2, 11))
    slots = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(seed + row)) for row in (0, 1)])
    slots = slots[:, :kept]
    seen = torch.zeros(2, 1, 9, dtype=torch.bool).scatter(2, slots[:, None], True)
    with torch.inference_mode():
        for cache in (one, two):
            MIXED(texts, cache=cache)
        keep_slots(one, slots)
        assert one.length == kept
        for number in range(2):
            token, positions = integers(13, 2, 1, seed=seed + 7), torch.full((2, 1), 9 + number)
            new = torch.ones(2, 1, number + 1, dtype=torch.bool)
            hidden = MIXED(token, positions=positions, cache=two, past=torch.cat([seen, new], dim=2))
            close(MIXED(token, positions=positions, cache=one), hidden)


def test_every_vector_stands_where_numpy_would_put_it() -> None:
    cache = MIXED.new_cache(2, 8)
    with torch.inference_mode():
        MIXED(integers(13, 2, 5), valid=torch.tensor([[False, True, True, True, True], [True] * 5]), cache=cache)
    slots = torch.tensor([[4, 0, 3], [2, 2, 1]])
    stored = [*cache.layer_keys, *cache.layer_values, cache.states[1].entries[:, None]]
    before = [part.numpy().copy() for part in stored]
    positions, valid = cache.positions.numpy().copy(), cache.valid.numpy().copy()
    keep_slots(cache, slots)
    rows = np.arange(2)[:, None]
    for part, old in zip(stored, before, strict=True):
        for head in range(old.shape[1]):
            np.testing.assert_array_equal(part[:, head, :3].numpy(), old[:, head][rows, slots.numpy()])
    np.testing.assert_array_equal(cache.positions.numpy(), positions[rows, slots.numpy()])
    np.testing.assert_array_equal(cache.valid.numpy(), valid[rows, slots.numpy()])


WINDOW = stack(AttentionConfig(num_heads=2, window=3))


@pytest.mark.parametrize(
    "cache",
    [
        KVCache(WINDOW, 2, 8),
        KVCache(stack(GatedDelta(num_heads=2, key_dim=4, value_dim=4)), 2, 8),
        FixedCache(stack(AttentionConfig(num_heads=2)), 2, 8),
        RollingCache(stack(AttentionConfig(num_heads=2)), 2, window=8),
    ],
    ids=["window", "recurrent", "fixed", "rolling"],
)
def test_caches_whose_slots_have_an_order_are_refused(cache: KVCache) -> None:
    cache.extend(torch.zeros(1, 1, dtype=torch.int64), None, batch=2, plain=True)
    assert not can_give_up_slots(cache)
    with rejects("cache", "without windows and recurrent states"):
        keep_slots(cache, torch.tensor([[0], [0]]))


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ([[0]], "2 rows"),
        ([[], []], "at least 1 and at most 3"),
        ([[0, 1, 2, 0]] * 2, "at least 1 and at most 3"),
        ([[0], [3]], "below the 3 that are filled"),
        ([[0], [-1]], "at least 0"),
    ],
)
def test_bad_slots(slots: list[list[int]], words: str) -> None:
    cache = MIXED.new_cache(2, 8)
    cache.extend(torch.arange(3)[None], None, batch=2, plain=True)
    with rejects("slots", words):
        keep_slots(cache, torch.tensor(slots, dtype=torch.int64))
