"""Masks are functions of positions: checked against the plain definition, pair by pair."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import bits, rejects
from transformer_lib.nn import causal_mask, padding_mask

positions = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=2)


@given(queries=positions, keys=positions, window=st.none() | st.integers(1, 5))
def test_a_query_sees_keys_at_and_before_its_position_within_the_window(
    queries: list[list[int]], keys: list[list[int]], window: int | None
) -> None:
    expected = [
        [[[k <= q and (window is None or q - k < window) for k in row_keys] for q in row_queries]]
        for row_queries, row_keys in zip(queries, keys, strict=True)
    ]
    assert causal_mask(torch.tensor(queries), torch.tensor(keys), window=window).tolist() == expected


@pytest.mark.parametrize("query_rows, key_rows", [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_one_row_of_positions_serves_a_batch(query_rows: int, key_rows: int) -> None:
    mask = causal_mask(torch.arange(4).expand(query_rows, 4), torch.arange(5).expand(key_rows, 5))
    assert mask.shape == (max(query_rows, key_rows), 1, 4, 5)
    assert torch.equal(mask, torch.ones(4, 5, dtype=torch.bool).tril().expand_as(mask))


def test_padding_hides_a_key_from_every_query_and_head() -> None:
    valid = bits(3, 5)
    mask = padding_mask(valid)
    assert mask.shape == (3, 1, 1, 5)
    assert torch.equal(mask[:, 0, 0], valid)


def test_bad_masks_are_refused() -> None:
    with rejects("window", "at least 1", "0"):
        causal_mask(torch.arange(3)[None], torch.arange(3)[None], window=0)
    with rejects("valid", "boolean", "int64"):
        padding_mask(torch.ones(2, 3, dtype=torch.int64))
