"""The pipeline's clock, against the formula of Huang et al. (2019) and the rules that a schedule must keep."""

from fractions import Fraction
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.training.pipeline import idle_share, most_waiting, pipeline_schedule

ORDERS: tuple[Literal["gpipe", "1f1b"], ...] = ("gpipe", "1f1b")


@given(st.integers(1, 6), st.integers(1, 9), st.sampled_from(ORDERS))
def test_the_bubble_is_stages_less_one_over_micro_batches(
    stages: int, micro_batches: int, order: Literal["gpipe", "1f1b"]
) -> None:
    assert idle_share(stages, micro_batches, order) == pytest.approx(float(Fraction(stages - 1, micro_batches)))


@given(st.integers(1, 6), st.integers(1, 9), st.sampled_from(ORDERS))
def test_no_pass_begins_before_what_it_needs(stages: int, micro_batches: int, order: Literal["gpipe", "1f1b"]) -> None:
    done = pipeline_schedule(stages, micro_batches, order)
    at = [{(task.micro_batch, task.forward): task for task in tasks} for tasks in done]
    for stage, tasks in enumerate(done):
        assert len(at[stage]) == len(tasks) == 2 * micro_batches
        assert all(one.end <= two.begin for one, two in pairwise(tasks))
        for task in tasks:
            if task.forward and stage > 0:
                assert at[stage - 1][task.micro_batch, True].end <= task.begin
            if not task.forward:
                assert at[stage][task.micro_batch, True].end <= task.begin
                if stage < stages - 1:
                    assert at[stage + 1][task.micro_batch, False].end <= task.begin


@pytest.mark.parametrize("stages, micro_batches", [(4, 8), (2, 1), (3, 2)])
def test_1f1b_holds_as_many_as_there_are_stages_and_gpipe_all(stages: int, micro_batches: int) -> None:
    assert most_waiting(stages, micro_batches, "gpipe") == micro_batches
    assert most_waiting(stages, micro_batches, "1f1b") == min(stages, micro_batches)


def test_two_stages_and_two_micro_batches_by_hand() -> None:
    first, second = pipeline_schedule(2, 2, "gpipe")
    assert [(task.begin, task.end) for task in first] == [(0, 1), (1, 2), (5, 7), (7, 9)]
    assert [(task.begin, task.end) for task in second] == [(1, 2), (2, 3), (3, 5), (5, 7)]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"stages must be .*at least 1"):
        pipeline_schedule(0, 1, "gpipe")
    with pytest.raises(ValueError, match="order must be one of"):
        pipeline_schedule(1, 1, "zb")
