"""Platt scaling against gradients and a grid, the curve and its error by hand."""

import math
import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_lib.tasks.calibration import (
    Bin,
    Platt,
    calibration_curve,
    expected_calibration_error,
    fit_platt,
    read_platt,
)


def drawn(count: int, slope: float, intercept: float) -> tuple[list[float], list[bool]]:
    """Scores that are right as often as a known curve says."""
    rng = random.Random(0)
    scores = [rng.gauss(2, 3) for _ in range(count)]
    return scores, [rng.random() < 1 / (1 + math.exp(-slope * x - intercept)) for x in scores]


def test_the_curve_that_the_examples_were_drawn_from_is_found() -> None:
    found = fit_platt(*drawn(20_000, 0.7, -1.5))
    assert abs(found.slope - 0.7) < 0.03 and abs(found.intercept + 1.5) < 0.06


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=1, max_size=40))
def test_no_change_of_either_number_makes_the_targets_likelier(rows: list[tuple[float, bool]]) -> None:
    scores, right = ([row[side] for row in rows] for side in (0, 1))
    found = fit_platt(scores, right)
    count = sum(right)
    targets = [(count + 1) / (count + 2) if hit else 1 / (len(right) - count + 2) for hit in right]
    weights = torch.tensor([found.slope, found.intercept], dtype=torch.float64, requires_grad=True)
    x = torch.tensor(scores, dtype=torch.float64)
    wanted = torch.tensor(targets, dtype=torch.float64)
    loss = F.binary_cross_entropy_with_logits(weights[0] * x + weights[1], wanted)
    [gradient] = torch.autograd.grad(loss, weights)
    assert gradient.abs().max() < 1e-6  # of scores up to 50


def test_what_is_parted_perfectly_has_a_finite_slope() -> None:
    found = fit_platt([-1.0, -2.0, 1.0, 2.0], [False, False, True, True])
    assert 0.5 < found.slope < 10 and abs(found.intercept) < 1e-6
    same = fit_platt([3.0, 3.0, 3.0], [True, True, False])
    assert same.slope == 0 and abs(same.probability(3.0) - (2 * 3 / 4 + 1 / 3) / 3) < 1e-12


def test_a_probability_is_the_sigmoid() -> None:
    assert abs(Platt(2.0, -1.0).probability(1.5) - 1 / (1 + math.exp(-2))) < 1e-15
    assert Platt(1.0, 0.0).probability(-1000.0) == 0.0 and Platt(1.0, 0.0).probability(1000.0) == 1.0


def test_the_curve_by_hand() -> None:
    curve = calibration_curve([0.0, 0.05, 0.5, 0.55, 0.9, 1.0], [False, True, True, False, True, True], bins=5)
    assert curve == [Bin(0.0, 0.2, 2, 0.025, 0.5), Bin(0.4, 0.6, 2, 0.525, 0.5), Bin(0.8, 1.0, 2, 0.95, 1.0)]
    error = (2 * 0.475 + 2 * 0.025 + 2 * 0.05) / 6
    assert abs(expected_calibration_error(curve) - error) < 1e-12


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.integers(1, 12))
def test_the_error_is_that_of_the_definition(rows: list[tuple[float, bool]], bins: int) -> None:
    curve = calibration_curve(*([row[side] for row in rows] for side in (0, 1)), bins=bins)
    total = 0.0
    for number in range(bins):
        inside = [r for r in rows if number / bins <= r[0] < (number + 1) / bins or (number == bins - 1 and r[0] == 1)]
        total += abs(sum(p for p, _ in inside) - sum(hit for _, hit in inside)) / len(rows)
    assert abs(expected_calibration_error(curve) - total) < 1e-9 or any((r[0] * bins) % 1 < 1e-9 for r in rows)
    assert sum(point.examples for point in curve) == len(rows)


def test_what_is_refused() -> None:
    for value in (None, [1, 2], {"slope": 1.0}, {"slope": True, "intercept": 1.0}, {"slope": "1", "intercept": 0}):
        with pytest.raises(ValueError, match="calibration must be an object with a finite slope"):
            read_platt(value)
    with pytest.raises(ValueError, match="finite slope"):
        read_platt({"slope": math.inf, "intercept": 0.0})
    assert read_platt({"slope": 2, "intercept": 0.5}) == Platt(2.0, 0.5)
    with pytest.raises(ValueError, match="right must be 2 in number, got 1"):
        fit_platt([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="scores must not be empty"):
        fit_platt([], [])
    with pytest.raises(ValueError, match="probabilities must be from 0 to 1"):
        calibration_curve([1.5], [True])
    with pytest.raises(ValueError, match="curve must not be empty"):
        expected_calibration_error([])
