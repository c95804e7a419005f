"""Sampling against exact probabilities, brute force and a chi-square test."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from transformer_lib.generation import distribution, draw, greedy, sample, truncate

PROBS = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2])
VOCAB = len(PROBS)


def kept(**limits: float) -> set[int]:
    row = truncate(PROBS.log()[None], **limits)[0]
    return set(row.isfinite().nonzero().flatten().tolist())


def law(draws: Tensor) -> Tensor:
    return torch.bincount(draws, minlength=VOCAB) / len(draws)


def test_greedy_takes_the_first_of_equals() -> None:
    assert greedy(torch.tensor([[0.0, 2.0, 2.0], [3.0, 1.0, 3.0]])).tolist() == [1, 0]


@pytest.mark.parametrize(("k", "expected"), [(1, {1}), (2, {1, 3}), (5, {0, 1, 2, 3, 4})])
def test_top_k_keeps_the_k_most_likely(k: int, expected: set[int]) -> None:
    assert kept(top_k=k) == expected


def test_top_k_keeps_exactly_k_of_equal_tokens() -> None:
    assert truncate(torch.zeros(1, 7), top_k=3).isfinite().sum() == 3


@given(
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=7),
    st.floats(0.01, 0.999),
)
def test_top_p_keeps_the_smallest_set_with_that_much_probability(weights: list[float], top_p: float) -> None:
    probs = torch.tensor(weights, dtype=torch.float64)
    probs /= probs.sum()
    chosen = truncate(probs.log()[None], top_p=top_p)[0].isfinite()
    sizes = [
        len(group)
        for size in range(1, len(weights) + 1)
        for group in itertools.combinations(range(len(weights)), size)
        if probs[list(group)].sum() >= top_p + 1e-9
    ]
    assert probs[chosen].sum() >= top_p - 1e-9
    assert chosen.sum() <= min(sizes, default=len(weights))
    assert probs[chosen].min() >= probs[~chosen].max() - 1e-12 if (~chosen).any() else True


def by_sorting(logits: Tensor, *, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """The definition: NumPy's stable sort of a whole row, of which the beginning stays."""
    kept = np.zeros(logits.shape, dtype=bool)
    for row, keep in zip(logits.numpy(), kept, strict=True):
        order = np.argsort(-row, kind="stable")
        probs = np.exp(row[order] - row.max()) / np.exp(row - row.max()).sum()
        before = np.cumsum(probs) - probs
        keep[order[: len(row) if top_k is None else top_k]] = True
        if top_p is not None:
            keep[order[1:][before[1:] >= top_p]] = False
    return torch.from_numpy(kept)


@given(
    st.integers(0, 2**32),
    st.sampled_from([0.3, 1.0, 4.0]),
    st.one_of(st.none(), st.integers(1, 700)),
    st.one_of(st.none(), st.floats(0.01, 1.0)),
)
def test_a_part_of_the_order_keeps_what_a_whole_sort_keeps(
    seed: int, size: float, top_k: int | None, top_p: float | None
) -> None:
    """Of 700 tokens with many equal logits, so that ties fall on the limit; flat laws need more than `SORTED`."""
    generator = torch.Generator().manual_seed(seed)
    logits = (size * torch.randn(2, 700, generator=generator, dtype=torch.float64)).round(decimals=1)
    found = truncate(logits, top_k=top_k, top_p=top_p).isfinite()
    if top_p is None:
        assert torch.equal(found, by_sorting(logits, top_k=top_k))
        return
    low, high = (by_sorting(logits, top_k=top_k, top_p=top_p + slack) for slack in (-1e-12, 1e-12))
    assert (low <= found).all() and (found <= high).all()  # but for rounding of the sum they are equal


def test_min_p_is_relative_to_the_most_likely() -> None:
    assert kept(min_p=0.45) == {1, 3, 4}
    assert kept(min_p=1.0) == {1}


def test_limits_combine_to_their_intersection() -> None:
    assert kept(top_k=4, top_p=0.8, min_p=0.55) == kept(top_k=4) & kept(top_p=0.8) & kept(min_p=0.55) == {1, 3}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_law(temperature: float) -> None:
    """Chi-square, 4 degrees of freedom: correct code exceeds 23.5 with probability 1e-4; the seed is fixed."""
    draws = 20_000
    generator = torch.Generator().manual_seed(0)
    logits = PROBS.log().expand(draws, -1)
    counts = torch.bincount(sample(logits, temperature=temperature, generator=generator), minlength=VOCAB)
    expected = draws * PROBS ** (1 / temperature) / (PROBS ** (1 / temperature)).sum()
    assert ((counts - expected) ** 2 / expected).sum() < 23.5


def test_limits_renormalise_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    found = law(sample(PROBS.log().expand(20_000, -1), top_k=2, generator=generator))
    torch.testing.assert_close(found, torch.tensor([0, 0.4, 0, 0.25, 0]) / 0.65, atol=0.015, rtol=0)


def test_temperature_zero_is_greedy_and_the_limit_is_continuous() -> None:
    logits = torch.randn(64, 11, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sample(logits, temperature=0.0), greedy(logits))
    assert torch.equal(sample(logits, temperature=1e-4), greedy(logits))


LOGITS = torch.tensor([[1.0, 3.0, 3.0, 2.0, -math.inf], [0.0, -1e30, 1e30, 5.0, 5.0]])


@pytest.mark.parametrize("temperature", [1e-30, 1e-40, 1e-46, 5e-324])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_smallest_temperatures_leave_the_most_likely_tokens_alone(temperature: float, dtype: torch.dtype) -> None:
    found = distribution(LOGITS.to(dtype), temperature=temperature)
    assert found.tolist() == [[0.0, 0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]]
    assert torch.equal(sample(LOGITS[1:], temperature=temperature), greedy(LOGITS[1:]))


def test_the_largest_temperature_leaves_all_possible_tokens_alike() -> None:
    assert distribution(LOGITS[:1], temperature=1e308).tolist() == [[0.25, 0.25, 0.25, 0.25, 0.0]]


@pytest.mark.parametrize("top_p", [1e-46, 5e-324, 1e-8])
def test_the_most_likely_token_stays_however_small_top_p_is(top_p: float) -> None:
    assert distribution(PROBS.log()[None], top_p=top_p).tolist() == [[0.0, 1.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("probs", [[0.5, -0.1], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_what_is_no_law_is_not_drawn_from(probs: list[float]) -> None:
    with pytest.raises(ValueError, match="probs must be finite, not negative, and above 0 for at least one token"):
        draw(torch.tensor([probs]))


def test_equal_seeds_give_equal_draws() -> None:
    logits = torch.zeros(100, 50)
    first, again, other = (sample(logits, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"temperature": -1.0}, "temperature must not be negative, got -1.0"),
        ({"temperature": math.inf}, "temperature must be a finite number, got inf"),
        ({"temperature": math.nan}, "temperature must not be NaN, got nan"),
        ({"top_k": 0}, "top_k must be at least 1 and at most the vocabulary of 3, got 0"),
        ({"top_k": 6}, "top_k must be at least 1 and at most the vocabulary of 3, got 6"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
        ({"min_p": 2.0}, "min_p must be above 0 and at most 1, got 2.0"),
    ],
)
def test_bad_limits(limits: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(torch.zeros(1, 3), **limits)


@pytest.mark.parametrize(
    ("temperature", "limits", "expected"),
    [
        (0.5, {"top_p": 0.6}, [1, 0, 0]),  # before the temperature two tokens would stay: 0.5 is below 0.6
        (0.5, {"min_p": 0.25}, [25 / 34, 9 / 34, 0]),  # 0.04 / 0.25 is below 0.25, 0.2 / 0.5 is not
        (2.0, {"top_p": 0.45}, [5**0.5 / (5**0.5 + 3**0.5), 3**0.5 / (5**0.5 + 3**0.5), 0]),
        (2.0, {"min_p": 0.7}, [5**0.5 / (5**0.5 + 3**0.5), 3**0.5 / (5**0.5 + 3**0.5), 0]),
    ],
)
def test_limits_look_at_the_tempered_law(temperature: float, limits: dict[str, float], expected: list[float]) -> None:
    """Of 0.5, 0.3 and 0.2: at 1/2 their squares 25 : 9 : 4, at 2 their roots."""
    logits = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    found = distribution(logits, temperature=temperature, **limits)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), atol=1e-10, rtol=0)
