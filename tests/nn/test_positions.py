"""Each way to tell positions, against an independent formula and Hugging Face, and the laws it is chosen for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tests.oracles import close, integers, normal, randomise, rejects
from transformer_lib.config import YarnScaling
from transformer_lib.nn import LearnedPositions, alibi_bias, alibi_slopes, apply_rope, rope_rotation, sinusoidal

POSITIONS = integers(5000, 2, 6)
F64 = torch.float64


@pytest.mark.parametrize("base", [10_000.0, 50.0])
def test_sinusoidal_is_the_formula_entry_by_entry(base: float) -> None:
    table = sinusoidal(POSITIONS, 10, base=base, dtype=F64)
    for (row, time), position in np.ndenumerate(POSITIONS.numpy()):
        for i in range(5):
            angle = float(position) / base ** (2 * i / 10)
            assert math.isclose(table[row, time, 2 * i], math.sin(angle), abs_tol=1e-10)
            assert math.isclose(table[row, time, 2 * i + 1], math.cos(angle), abs_tol=1e-10)


@pytest.mark.parametrize("theta", [10_000.0, 500.0])
def test_rope_is_a_multiplication_by_complex_numbers(theta: float) -> None:
    x = normal(2, 3, 6, 8)
    pairs = x[..., :4].numpy() + 1j * x[..., 4:].numpy()
    angles = POSITIONS.numpy()[:, None, :, None] * theta ** (-np.arange(4) / 4)
    turned = pairs * np.exp(1j * angles)
    expected = torch.from_numpy(np.concatenate([turned.real, turned.imag], axis=-1))
    close(apply_rope(x, rope_rotation(POSITIONS, 8, theta=theta, dtype=F64)), expected)


def test_rope_is_hugging_faces() -> None:
    q, k = normal(2, 4, 6, 8), normal(2, 2, 6, 8, seed=1)
    rotation = rope_rotation(POSITIONS, 8, dtype=F64)
    cos, sin = (torch.cat([half, half], dim=-1)[:, 0] for half in rotation)
    theirs = apply_rotary_pos_emb(q, k, cos, sin)
    for mine, expected in zip((apply_rope(q, rotation), apply_rope(k, rotation)), theirs, strict=True):
        close(mine, expected)


@given(query=st.integers(0, 500), key=st.integers(0, 500), shift=st.integers(0, 500), seed=st.integers(0, 99))
def test_rope_keeps_norms_and_its_scores_depend_on_the_distance_alone(
    query: int, key: int, shift: int, seed: int
) -> None:
    q, k = normal(1, 1, 1, 8, seed=seed), normal(1, 1, 1, 8, seed=seed + 1)

    def turn(x: torch.Tensor, position: int) -> torch.Tensor:
        return apply_rope(x, rope_rotation(torch.tensor([[position]]), 8, dtype=F64))

    close(turn(q, query).norm(), q.norm())
    close((turn(q, query) * turn(k, key)).sum(), (turn(q, query + shift) * turn(k, key + shift)).sum())


def test_rope_tells_before_from_after() -> None:
    q, k = normal(1, 1, 1, 8), normal(1, 1, 1, 8, seed=1)
    here, there = (rope_rotation(torch.tensor([[position]]), 8, dtype=F64) for position in (3, 7))
    assert (apply_rope(q, here) * apply_rope(k, there)).sum() != (apply_rope(q, there) * apply_rope(k, here)).sum()


def test_the_slopes_of_alibi_are_the_papers() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    between = [2.0**-0.5, 2.0**-1.5, 2.0**-2.5, 2.0**-3.5]
    close(alibi_slopes(12), torch.tensor([2.0**-i for i in range(1, 9)] + between, dtype=F64))
    assert alibi_slopes(1).tolist() == [2.0**-8]


@given(st.integers(1, 100))
def test_slopes_for_any_number_of_heads_are_distinct_and_below_one(heads: int) -> None:
    slopes = alibi_slopes(heads).tolist()
    assert len(set(slopes)) == heads
    assert all(2.0**-8 <= slope < 1 for slope in slopes)


@pytest.mark.parametrize("key_rows", [1, 2])
def test_alibi_lowers_a_score_by_slope_times_distance(key_rows: int) -> None:
    keys = integers(50, key_rows, 3, seed=1)
    bias = alibi_bias(POSITIONS, keys, 4, dtype=F64)
    slopes = alibi_slopes(4).tolist()
    for b, h, q, k in np.ndindex(2, 4, 6, 3):
        distance = abs(int(POSITIONS[b, q]) - int(keys[b % key_rows, k]))
        assert math.isclose(bias[b, h, q, k], -slopes[h] * distance)


def test_alibi_of_one_row_of_queries_serves_a_batch_of_keys() -> None:
    assert alibi_bias(torch.arange(2)[None], POSITIONS, 4).shape == (2, 4, 2, 6)


def test_low_precision_does_not_reach_the_angles() -> None:
    far = torch.tensor([[4001]])
    exact = rope_rotation(far, 8, dtype=F64)
    for rounded, true in zip(rope_rotation(far, 8, dtype=torch.bfloat16), exact, strict=True):
        assert rounded.dtype == torch.bfloat16
        assert (rounded.double() - true).abs().max() < 2**-8 + 4001 * 2**-23


def test_learned_positions_are_rows_of_a_table() -> None:
    table = randomise(LearnedPositions(8, 4))
    positions = torch.tensor([[0, 7], [3, 3]])
    rows = [[table.weight[int(position)] for position in row] for row in positions]
    assert torch.equal(table(positions), torch.stack([torch.stack(row) for row in rows]))


@pytest.mark.parametrize("positions, value", [([[0, 8]], "8"), ([[-1, 0]], "-1")])
def test_a_position_outside_the_table_is_refused(positions: list[list[int]], value: str) -> None:
    with rejects("positions", "max_length=8", value):
        LearnedPositions(8, 4)(torch.tensor(positions))


def test_odd_widths_are_refused() -> None:
    with rejects("d_model", "even", "7"):
        sinusoidal(POSITIONS, 7)
    with rejects("head_dim", "even", "7"):
        rope_rotation(POSITIONS, 7)


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_yarns_ramp_is_hugging_faces(head_dim: int, truncate: bool) -> None:
    """Wide heads, whose ramp has pairs in its middle: with the 4 pairs of a head of 8 it looks like a step."""
    rule = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096, "truncate": truncate}
    theirs = LlamaConfig(
        head_dim=head_dim, rope_theta=10_000.0, max_position_embeddings=16_384, rope_scaling=rule | {"beta_fast": 24.0}
    )
    expected, factor = ROPE_INIT_FUNCTIONS["yarn"](theirs, torch.device("cpu"))
    scaling = YarnScaling(factor=4.0, original_length=4096, beta_fast=24.0, truncate=truncate)
    cos, sin = rope_rotation(torch.tensor([[0, 1]]), head_dim, scaling=scaling, dtype=F64)
    found = torch.atan2(sin, cos)[0, 0, 1]
    torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=0)
    plain = 10_000.0 ** -(torch.arange(0, head_dim, 2) / head_dim)
    slowed = (plain / expected - 1) / 3  # 0 where a pair keeps its speed, 1 where it turns four times as slowly
    assert ((slowed > 0.05) & (slowed < 0.95)).sum() >= 3, "the case has a ramp"
    close((cos.square() + sin.square()).sqrt(), torch.full_like(cos, factor))
