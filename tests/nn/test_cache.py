"""The cache's own bookkeeping and refusals; that it changes no number is in tests/models/test_laws.py."""

import pytest
import torch

from tests.oracles import CONFIG, bits, normal, rejects
from transformer_lib.nn import FixedCache, KVCache


def test_what_is_written_comes_back_in_order_for_each_layer() -> None:
    cache = KVCache(CONFIG, 3, 8, dtype=torch.float64)
    pieces = [normal(2, 3, 2, time, 4, seed=time) for time in (3, 1, 4)]
    for piece in pieces:
        start, time = cache.length, piece.shape[3]
        cache.extend(torch.arange(start, start + time)[None], None, batch=3, plain=True)
        for index in range(2):
            found = cache.layer(index).write(piece[index] + 10 * index, -piece[index])
    expected = torch.cat(pieces, dim=3)[1]
    assert cache.length == cache.max_length == 8 and cache.batch == 3 and cache.plain
    assert torch.equal(found[0], expected + 10) and torch.equal(found[1], -expected)
    assert torch.equal(cache.keys[0, :, :, :3], pieces[0][0])


def test_positions_and_valid_slots_are_kept_per_row() -> None:
    cache, valid, positions = KVCache(CONFIG, 2, 8), bits(2, 3), torch.tensor([[0, 1, 2], [5, 6, 7]])
    cache.extend(positions, valid, batch=2, plain=False)
    cache.extend(torch.tensor([[9]]), None, batch=2, plain=True)
    assert cache.positions.tolist() == [[0, 1, 2, 9], [5, 6, 7, 9]]
    assert torch.equal(cache.valid, torch.cat([valid, torch.ones(2, 1, dtype=torch.bool)], dim=1))
    assert not cache.plain


def test_its_size_is_what_it_says() -> None:
    cache = KVCache(CONFIG, 3, 8, dtype=torch.bfloat16)
    stored = cache.keys.nbytes + cache.values.nbytes
    assert stored == 2 * CONFIG.num_layers * 3 * CONFIG.attention.kv_heads * 8 * CONFIG.head_dim * 2


def test_each_layer_has_a_tensor_of_its_own() -> None:
    """In one tensor for all, each write of a compiled step copies the whole: measured, 5 times the time of a step."""
    for kind in (KVCache, FixedCache):
        cache = kind(CONFIG, 3, 8)
        tensors = [*cache.layer_keys, *cache.layer_values]
        assert len({x.untyped_storage().data_ptr() for x in tensors}) == 2 * CONFIG.num_layers
        assert sum(x.untyped_storage().nbytes() for x in tensors) == cache.keys.nbytes + cache.values.nbytes


@pytest.mark.parametrize("field, batch, max_length", [("batch", 0, 4), ("max_length", 4, 0), ("batch", -1, 4)])
def test_an_empty_cache_is_refused(field: str, batch: int, max_length: int) -> None:
    with rejects(field, "at least 1", str(min(batch, max_length))):
        KVCache(CONFIG, batch, max_length)


def test_a_wrong_batch_and_an_overflow_are_refused_and_change_nothing() -> None:
    cache = KVCache(CONFIG, 2, 4)
    cache.extend(torch.arange(3)[None], None, batch=2, plain=True)
    with rejects("tokens", "batch of 2", "3"):
        cache.extend(torch.arange(1)[None], None, batch=3, plain=True)
    with rejects("cache", "room for 1", "max_length=4", "2"):
        cache.extend(torch.arange(2)[None], None, batch=2, plain=True)
    assert cache.length == 3


@pytest.mark.parametrize("rows", [[2, 0, 1], [1, 1, 1], [0, 0, 1, 1, 2, 2], [2]])
def test_select_makes_each_row_what_the_chosen_one_was(rows: list[int]) -> None:
    cache, valid = KVCache(CONFIG, 3, 8), bits(3, 4)
    positions = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4], [5, 6, 7, 8]])
    cache.extend(positions, valid, batch=3, plain=False)
    k, v = normal(3, 2, 4, 4).float(), normal(3, 2, 4, 4, seed=1).float()
    cache.layer(1).write(k, v)
    cache.select(torch.tensor(rows))
    assert cache.batch == len(rows) and cache.length == 4 and cache.max_length == 8
    assert torch.equal(cache.keys[1, :, :, :4], k[rows]) and torch.equal(cache.values[1, :, :, :4], v[rows])
    assert torch.equal(cache.positions, positions[rows]) and torch.equal(cache.valid, valid[rows])


def test_rewind_forgets_what_came_last() -> None:
    cache = KVCache(CONFIG, 1, 8)
    for length in (5, 2):
        cache.extend(torch.arange(cache.length, cache.length + length)[None], None, batch=1, plain=True)
    cache.rewind(4)
    assert cache.length == 4 and cache.positions.tolist() == [[0, 1, 2, 3]]
    cache.extend(torch.tensor([[4]]), None, batch=1, plain=True)
    assert cache.positions.tolist() == [[0, 1, 2, 3, 4]]
    for length in (6, -1):
        with rejects("length", "at most 5", str(length)):
            cache.rewind(length)


def test_no_slot_is_given_back_before_it_is_filled() -> None:
    cache = KVCache(CONFIG, 3, 8, dtype=torch.float64)
    for time, filled in ((3, 3), (1, 4)):
        piece = normal(3, 2, time, 4)
        cache.extend(torch.arange(cache.length, cache.length + time)[None], None, batch=3, plain=True)
        keys, values = cache.layer(0).write(piece, piece)
        assert keys.shape == values.shape == (3, 2, filled, 4)
