"""What failures cost: against runs played out at random, and against the formulas' own limits."""

import math

import pytest

from transformer_lib.training.failures import daly_interval, slowdown, young_interval


def played(work: float, every: float, save: float, between: float, restart: float, seed: int) -> float:
    """How long a run takes that is interrupted at random; the interruptions come from a generator of its own."""
    state, clock, done = seed, 0.0, 0.0

    def until_next() -> float:
        nonlocal state
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64  # Knuth's constants
        return -between * math.log((state // 2**11 + 1) / 2**53)

    left = until_next()
    while done < work:
        need = every + save
        while left < need:
            clock += left
            left = until_next()
            while left < restart:  # failures while it starts again
                clock += left
                left = until_next()
            clock += restart
            left -= restart
        clock += need
        left -= need
        done += every
    return clock / work


@pytest.mark.parametrize("every, restart", [(50.0, 0.0), (100.0, 20.0), (300.0, 50.0)])
def test_the_expected_time_is_that_of_runs_played_out(every: float, restart: float) -> None:
    """60,000 pieces a case: their mean has a standard error below half a per cent."""
    found = played(60_000 * every, every, 10.0, 200.0, restart, seed=7)
    assert found == pytest.approx(slowdown(every=every, save=10.0, between=200.0, restart=restart), rel=0.02)


def test_young_by_hand() -> None:
    assert young_interval(save=50.0, between=10_000.0) == 1000.0


@pytest.mark.parametrize("save", [1.0, 60.0, 600.0])
def test_dalys_interval_is_the_best_and_youngs_nearly(save: float) -> None:
    between = 10_000.0

    def lost(every: float) -> float:
        return slowdown(every=every, save=save, between=between)

    steps = [10 ** (exponent / 200) for exponent in range(300, 860)]
    best = min(steps, key=lost)
    assert daly_interval(save=save, between=between) == pytest.approx(best, rel=0.02)
    assert lost(young_interval(save=save, between=between)) < lost(best) * 1.005


def test_where_saving_takes_longer_than_runs_last() -> None:
    assert daly_interval(save=30.0, between=10.0) == 10.0


def test_without_failures_only_saving_is_lost() -> None:
    assert slowdown(every=90.0, save=10.0, between=1e12) == pytest.approx(100 / 90)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"every": 0.0}, "every must be positive, got 0.0"),
        ({"save": -1.0}, "save must be positive, got -1.0"),
        ({"between": 0.0}, "between must be positive, got 0.0"),
        ({"restart": -1.0}, "restart must not be negative, got -1.0"),
        ({"every": 1e9}, "every / between must be at least 0 and at most 500"),
        ({"restart": 1e9}, "restart / between must be at least 0 and at most 500"),
    ],
)
def test_bad_input(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slowdown(**({"every": 60.0, "save": 5.0, "between": 1000.0, "restart": 1.0} | change))
