"""Schedules against torch's own, and where they begin, meet and end."""

import inspect
import itertools
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from transformer_lib.training import noam, warmup_cosine, warmup_stable_decay

WARMUP, DECAY, TOTAL, PEAK, FLOOR = 10, 30, 100, 2e-3, 1e-4
cosine = partial(warmup_cosine, warmup=WARMUP, total=TOTAL, peak=PEAK, floor=FLOOR)
stable = partial(warmup_stable_decay, warmup=WARMUP, decay=DECAY, total=TOTAL, peak=PEAK, floor=FLOOR)


def torch_rates(falls, milestones: list[int]) -> list[float]:
    """The rates of steps 1 to TOTAL from a linear warm-up followed by torch's own schedulers."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    warmup = lr_scheduler.LinearLR(optimizer, start_factor=1 / WARMUP, end_factor=1.0, total_iters=WARMUP - 1)
    parts = [warmup, *(make(optimizer) for make in falls)]
    scheduler = lr_scheduler.SequentialLR(optimizer, parts, milestones)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_warmup_cosine_is_torchs_linear_then_cosine():
    fall = partial(lr_scheduler.CosineAnnealingLR, T_max=TOTAL - WARMUP, eta_min=FLOOR)
    expected = torch_rates([fall], [WARMUP - 1])
    assert [cosine(step) for step in range(1, TOTAL + 1)] == pytest.approx(expected, rel=1e-10)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_warmup_stable_decay_is_torchs_linear_constant_linear():
    flat = partial(lr_scheduler.ConstantLR, factor=1.0, total_iters=1)
    fall = partial(lr_scheduler.LinearLR, start_factor=1.0, end_factor=FLOOR / PEAK, total_iters=DECAY)
    expected = torch_rates([flat, fall], [WARMUP - 1, TOTAL - DECAY - 1])
    assert [stable(step) for step in range(1, TOTAL + 1)] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("schedule", [cosine, stable])
def test_it_starts_peaks_and_ends_where_stated(schedule):
    ends = [schedule(step) for step in (0, WARMUP, TOTAL, TOTAL + 50)]
    assert ends == pytest.approx([0, PEAK, FLOOR, FLOOR], rel=1e-12)


@pytest.mark.parametrize("schedule", [cosine, stable, partial(noam, d_model=64, warmup=WARMUP)])
def test_no_step_jumps_and_there_is_one_top(schedule):
    rates = [schedule(step) for step in range(TOTAL + 2)]
    jumps = [after - before for before, after in itertools.pairwise(rates)]
    assert max(map(abs, jumps)) <= max(rates) / WARMUP * (1 + 1e-9)
    top = rates.index(max(rates))
    assert top == WARMUP and all(jump >= 0 for jump in jumps[:top]) and all(jump <= 1e-18 for jump in jumps[top:])


def test_noam_is_the_papers_formula_and_peaks_at_warmup():
    for step in range(1, 200):
        formula = 512**-0.5 * min(step**-0.5, step * 40**-1.5)
        assert noam(step, d_model=512, warmup=40) == pytest.approx(formula, rel=1e-12)
    assert noam(0, d_model=512, warmup=40) == 0
    assert noam(40, d_model=512, warmup=40, scale=2.0) == pytest.approx(2 / (512 * 40) ** 0.5, rel=1e-12)


@given(total=st.integers(20, 500), longer=st.integers(1, 500), step=st.integers(0, 20))
def test_the_stable_part_does_not_know_how_long_the_run_is(total, longer, step):
    keywords = {"warmup": 5, "decay": 0, "peak": 1.0}
    assert warmup_stable_decay(step, total=total, **keywords) == warmup_stable_decay(
        step, total=total + longer, **keywords
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(cosine, -1), "step must not be negative, got -1"),
        (partial(cosine, 1, warmup=101), "warmup must be from 0 to total=100, got 101"),
        (partial(cosine, 1, warmup=100), "warmup must leave steps to fall, total=100, got 100"),
        (partial(cosine, 1, floor=1.0), "floor must be from 0 to peak=0.002, got 1.0"),
        (partial(cosine, 1, total=0), "total must be at least 1, got 0"),
        (partial(stable, 1, decay=91), "decay must be from 0 to total - warmup = 90, got 91"),
        (partial(noam, 1, d_model=0, warmup=1), "d_model must be at least 1, got 0"),
        (partial(noam, 1, d_model=8, warmup=0), "warmup must be at least 1, got 0"),
    ],
)
def test_bad_settings_name_field_rule_and_value(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize("schedule", [warmup_cosine, warmup_stable_decay, noam])
def test_everything_but_the_step_is_a_keyword(schedule):
    kinds = [parameter.kind for parameter in inspect.signature(schedule).parameters.values()]
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds[1:])
