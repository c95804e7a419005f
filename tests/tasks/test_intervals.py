"""Intervals beside those of SciPy, and beside the formula where there is one."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap as theirs

from transformer_lib.tasks.intervals import bootstrap, f1_interval, mean_interval


def test_the_mean_of_normal_numbers_has_the_interval_of_the_formula() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = mean_interval(values.tolist(), draws=4000)
    half = 1.96 * values.std().item() / 20
    assert low == pytest.approx(values.mean().item() - half, abs=0.01)
    assert high == pytest.approx(values.mean().item() + half, abs=0.01)


def test_an_f1_has_the_interval_of_scipy() -> None:
    rng = np.random.default_rng(0)
    wanted, given = rng.integers(1, 6, 200), rng.integers(1, 6, 200)
    right = rng.binomial(np.minimum(wanted, given), 0.7)

    def f1(r: np.ndarray, g: np.ndarray, w: np.ndarray, axis: int) -> np.ndarray:
        return 2 * r.sum(axis) / (g.sum(axis) + w.sum(axis))

    other = theirs((right, given, wanted), f1, paired=True, method="percentile", n_resamples=4000, rng=1)
    mine = f1_interval(*(column.astype(float).tolist() for column in (right, given, wanted)), draws=4000)
    assert mine == pytest.approx(tuple(other.confidence_interval), abs=0.004)


def test_equal_rows_leave_no_room_and_a_wider_share_is_wider() -> None:
    assert mean_interval([2.0] * 5) == (2.0, 2.0)
    rows = torch.arange(50.0)[:, None]
    narrow, wide = (bootstrap(rows, lambda sums: sums[:, 0] / 50, share=share) for share in (0.5, 0.9))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_refused() -> None:
    with pytest.raises(ValueError, match="values must not be empty"):
        mean_interval([])
    with pytest.raises(ValueError, match="wanted must be 1 in number"):
        f1_interval([1.0], [1.0], [])
    with pytest.raises(ValueError, match="share must be between 0 and 1"):
        bootstrap(torch.ones(2, 1), lambda sums: sums[:, 0], share=1.0)
