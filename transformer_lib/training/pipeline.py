"""When each stage of a pipeline works and when it waits, tick by tick.

A forward pass of one micro-batch through one stage takes one tick, a backward pass two. In "gpipe" (Huang et al. 2018)
all forward passes come first; in "1f1b" (Narayanan et al. 2021) a stage turns to a backward pass as soon as it can, so
that fewer micro-batches wait for theirs. Both wait equally long.

Left out: sending, interleaved stages, and schedules that cut a backward pass in two (Qi et al. 2024).
"""

from typing import Literal, NamedTuple

from transformer_lib.checks import require_sizes
from transformer_lib.contract import checked

FORWARD, BACKWARD = 1, 2  # ticks


@checked
class Task(NamedTuple):
    """One pass of one micro-batch through one stage, from its first tick to the one after its last."""

    micro_batch: int
    forward: bool
    begin: int
    end: int


@checked
def pipeline_schedule(stages: int, micro_batches: int, order: Literal["gpipe", "1f1b"]) -> list[list[Task]]:
    """The passes of every stage in the order of time, each as early as it can be."""
    require_sizes(stages=stages, micro_batches=micro_batches)
    queues = [_order_of(stage, stages, micro_batches, order) for stage in range(stages)]
    ends: dict[tuple[int, int, bool], int] = {}
    done: list[list[Task]] = [[] for _ in range(stages)]
    while any(len(tasks) < 2 * micro_batches for tasks in done):
        for stage, queue in enumerate(queues):
            while len(done[stage]) < len(queue):
                number, forward = queue[len(done[stage])]
                ready = _ready(ends, stage, stages, number, forward)
                if ready is None:
                    break
                begin = max(ready, done[stage][-1].end if done[stage] else 0)
                task = Task(number, forward, begin, begin + (FORWARD if forward else BACKWARD))
                ends[stage, number, forward] = task.end
                done[stage].append(task)
    return done


@checked
def idle_share(stages: int, micro_batches: int, order: Literal["gpipe", "1f1b"] = "1f1b") -> float:
    """Ticks in which a stage waits, per tick in which it works: (stages - 1) / micro_batches."""
    done = pipeline_schedule(stages, micro_batches, order)
    working = micro_batches * (FORWARD + BACKWARD)
    return (max(tasks[-1].end for tasks in done) - working) / working


@checked
def most_waiting(stages: int, micro_batches: int, order: Literal["gpipe", "1f1b"]) -> int:
    """How many micro-batches' activations the first stage holds at the fullest moment."""
    held = most = 0
    for task in pipeline_schedule(stages, micro_batches, order)[0]:
        held += 1 if task.forward else -1
        most = max(most, held)
    return most


def _order_of(stage: int, stages: int, micro_batches: int, order: str) -> list[tuple[int, bool]]:
    """Micro-batch and direction of each pass of a stage, one after another."""
    first = micro_batches if order == "gpipe" else min(stages - stage, micro_batches)
    queue = [(number, True) for number in range(first)]
    for number in range(micro_batches):
        queue.append((number, False))
        if first + number < micro_batches:
            queue.append((first + number, True))
    return queue


def _ready(ends: dict[tuple[int, int, bool], int], stage: int, stages: int, number: int, forward: bool) -> int | None:
    """When the neighbour has finished what this pass needs; None if that is not known yet."""
    if forward:
        return 0 if stage == 0 else ends.get((stage - 1, number, True))
    last = stage == stages - 1
    return ends.get((stage, number, True) if last else (stage + 1, number, False))
