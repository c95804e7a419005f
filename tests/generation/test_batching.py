"""Requests over time, against traces worked out by hand, a count step by step, and the theory of queues."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_lib.generation import Served, continuous_batches, static_batches

RULES = {"static": static_batches, "continuous": continuous_batches}


def test_four_requests_by_hand() -> None:
    """Two places: 4 and 1 tokens begin; the third request waits for the 4, or for the 1."""
    arrivals, lengths = [0, 0, 0, 0], [4, 1, 1, 2]
    assert static_batches(arrivals, lengths, rows=2) == Served((0, 0, 4, 4), (4, 1, 5, 6))
    assert continuous_batches(arrivals, lengths, rows=2) == Served((0, 0, 1, 2), (4, 1, 2, 4))


def test_requests_that_come_later_by_hand() -> None:
    """Two places. The second comes at 1; a static batch has begun without it. Nobody is there from 7 to 9."""
    arrivals, lengths = [0, 1, 2, 9], [3, 2, 2, 1]
    assert static_batches(arrivals, lengths, rows=2) == Served((0, 3, 3, 9), (3, 5, 5, 10))
    assert continuous_batches(arrivals, lengths, rows=2) == Served((0, 1, 3, 9), (3, 3, 5, 10))


def test_nobody_comes() -> None:
    for rule in RULES.values():
        assert rule([], [], rows=3) == Served((), ())


def test_one_place_is_one_line() -> None:
    """Lindley's recursion (1952): each begins when it has come and the one before has ended."""
    arrivals, lengths, end, expected = [0, 1, 1, 8, 9], [2, 3, 1, 4, 1], 0, []
    for arrival, length in zip(arrivals, lengths, strict=True):
        expected.append(max(arrival, end))
        end = expected[-1] + length
    for rule in RULES.values():
        assert rule(arrivals, lengths, rows=1).starts == tuple(expected)


def waits_by_queueing_theory(arrivals: Sequence[int], lengths: Sequence[int], rows: int) -> list[int]:
    """The recursion of Kiefer and Wolfowitz (1955): the work before each place, in order, as each request finds it."""
    work, waits, before = [0] * rows, [], 0
    for arrival, length in zip(arrivals, lengths, strict=True):
        work = sorted(max(0, left - (arrival - before)) for left in work)
        waits.append(work[0])
        work[0] += length
        before = arrival
    return waits


def step_by_step(arrivals: Sequence[int], lengths: Sequence[int], rows: int, *, continuous: bool) -> list[int]:
    """The first steps of all, from a loop over single steps that knows no more than who is in."""
    waiting, left, starts, step = list(range(len(arrivals))), {}, {}, 0
    while waiting or left:
        while waiting and arrivals[waiting[0]] <= step and len(left) < rows:
            if not continuous and any(starts[other] < step for other in left):
                break
            request = waiting.pop(0)
            starts[request], left[request] = step, lengths[request]
        left = {request: tokens - 1 for request, tokens in left.items() if tokens > 1}
        step += 1
    return [starts[request] for request in range(len(arrivals))]


TRACES = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=25)


@settings(max_examples=100)
@given(trace=TRACES, rows=st.integers(1, 6))
def test_no_request_is_lost_and_no_place_is_taken_twice(trace: list[tuple[int, int]], rows: int) -> None:
    gaps, lengths = [gap for gap, _ in trace], [length for _, length in trace]
    arrivals = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    served = {name: rule(arrivals, lengths, rows=rows) for name, rule in RULES.items()}
    for name, (starts, ends) in served.items():
        assert len(starts) == len(ends) == len(arrivals)
        assert all(start >= arrival for start, arrival in zip(starts, arrivals, strict=True))
        assert [end - start for start, end in zip(starts, ends, strict=True)] == lengths
        assert list(starts) == sorted(starts)
        last = max(ends, default=0)
        written = [sum(s <= step < e for s, e in zip(starts, ends, strict=True)) for step in range(last)]
        assert sum(written) == sum(lengths) and max(written, default=0) <= rows
        assert list(starts) == step_by_step(arrivals, lengths, rows, continuous=name == "continuous")
    for step in range(max(served["continuous"].ends, default=0)):  # nobody waits while a place is free
        starts, ends = served["continuous"]
        waits = any(arrival <= step < start for arrival, start in zip(arrivals, starts, strict=True))
        taken = sum(s <= step < e for s, e in zip(starts, ends, strict=True))
        assert taken == rows or not waits
    pairs = zip(served["continuous"].starts, served["static"].starts, strict=True)
    assert all(early <= late for early, late in pairs)


@settings(max_examples=100)
@given(trace=TRACES, rows=st.integers(1, 6))
def test_continuous_batches_wait_as_queueing_theory_says(trace: list[tuple[int, int]], rows: int) -> None:
    gaps, lengths = [gap for gap, _ in trace], [length for _, length in trace]
    arrivals = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    starts = continuous_batches(arrivals, lengths, rows=rows).starts
    waits = [start - arrival for start, arrival in zip(starts, arrivals, strict=True)]
    assert waits == waits_by_queueing_theory(arrivals, lengths, rows)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(
    ("arrivals", "lengths", "rows", "said"),
    [
        ([0, 1], [1], 1, "lengths must be as many as the 2 arrivals, got 1"),
        ([1, 0], [1, 1], 1, "arrivals must not fall"),
        ([-1], [1], 1, "arrivals must not be negative, got -1"),
        ([0], [0], 1, "lengths must be a whole number of at least 1, got 0"),
        ([0], [1], 0, "rows must be a whole number of at least 1, got 0"),
    ],
)
def test_what_is_no_trace_is_refused(rule, arrivals, lengths, rows, said) -> None:
    with pytest.raises(ValueError, match=said):
        rule(arrivals, lengths, rows=rows)


def test_a_length_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(TypeError, match="lengths"):
        static_batches([0], [1.5], rows=1)  # type: ignore[list-item]
