"""Who writes when: requests that come over time, and a model that writes for a few of them at each step.

A step writes one token for each request that is in. Static batches let nobody in before the last of them has ended;
continuous batches fill a place at the step at which it becomes free (Yu et al. 2022, who call it iteration-level
scheduling). Requests enter in the order in which they came. Left out: how long a step takes, the reading of prompts,
and memory, of which a request may need more as it grows.
"""

import heapq
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from transformer_lib.checks import require, require_positive, require_whole
from transformer_lib.contract import checked


@checked
class Served(NamedTuple):
    """For each request the step that writes its first token, and the first step that writes none for it any more."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]


@checked
def static_batches(arrivals: Sequence[int], lengths: Sequence[int], *, rows: int) -> Served:
    """When each request is written if up to `rows` that wait begin together, and others only when all have ended.

    `arrivals` are the steps at which requests come, not falling, `lengths` how many tokens each is answered with, at
    least one. A batch does not wait to become full. Raises `ValueError` for anything else.
    """
    _check(arrivals, lengths, rows)
    starts: list[int] = []
    ends: list[int] = []
    free = 0  # the step at which the batch has ended
    while len(starts) < len(arrivals):
        first = len(starts)
        begin = max(free, arrivals[first])
        batch = [i for i in range(first, min(first + rows, len(arrivals))) if arrivals[i] <= begin]
        starts += [begin] * len(batch)
        ends += [begin + lengths[i] for i in batch]
        free = max(ends[first:])
    return Served(tuple(starts), tuple(ends))


@checked
def continuous_batches(arrivals: Sequence[int], lengths: Sequence[int], *, rows: int) -> Served:
    """When each request is written if the first that waits begins as soon as one of `rows` places is free.

    Arguments and errors as in `static_batches`. No request begins later than there.
    """
    _check(arrivals, lengths, rows)
    free = [0] * min(rows, len(arrivals))  # the step at which each place becomes free, least first
    starts: list[int] = []
    ends: list[int] = []
    for arrival, length in zip(arrivals, lengths, strict=True):
        starts.append(max(arrival, free[0]))
        ends.append(starts[-1] + length)
        heapq.heapreplace(free, ends[-1])
    return Served(tuple(starts), tuple(ends))


def _check(arrivals: Sequence[int], lengths: Sequence[int], rows: int) -> None:
    require_positive(rows=rows)
    require(len(lengths) == len(arrivals), "lengths", f"must be as many as the {len(arrivals)} arrivals", len(lengths))
    for arrival in arrivals:
        require_whole(arrivals=arrival)
    for length in lengths:
        require_positive(lengths=length)
    require(not arrivals or arrivals[0] >= 0, "arrivals", "must not be negative", arrivals[0] if arrivals else None)
    ordered = all(a <= b for a, b in itertools.pairwise(arrivals))
    require(ordered, "arrivals", "must not fall: requests stand in the order in which they come", list(arrivals))
