"""How candidates are measured: each in a fresh process of its own, in turns, by time spent and memory touched.

Every candidate is a worker: a spawned process that builds its step once and then performs it when told to. The parent
lets the workers take turns, so that a change of the machine's speed hits all of them, rotates who begins, and compares
within a round only. The workers sleep between turns. Because nothing is shared, one candidate's allocator, caches and
imports cannot help or hurt another, and the kernel's high-water mark of a worker is the candidate's own. A peer that
fails is recorded with its message, and the others go on.

Only the standard library is imported here: the parent stays small, and a worker imports what its candidate needs.
"""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

Step = Callable[[], Any]
Facts = dict[str, Any]
Build = Callable[[], tuple[Step, Facts]]
OURS = "transformer_lib"
MIB = 2**20


class Candidate(NamedTuple):
    """`prepare(*arguments)` runs in the worker and does the imports; the `Build` that it returns makes the step.

    The two are apart because imported code is not counted as the candidate's memory. `prepare` and its arguments must
    be picklable. With the step comes what is to be recorded about it.
    """

    prepare: Callable[..., Build]
    arguments: tuple[Any, ...]


class Turn(NamedTuple):
    """One turn of one candidate: seconds of processor time (all threads, user and kernel) and on the wall clock.

    Processor time includes that of finished child processes, such as a compiler's. `value` is what the step returned.
    """

    cpu: float
    wall: float
    value: Any


class Failed(RuntimeError):
    """A candidate raised something, or its process was killed."""


class Worker:
    """A process that performs one candidate's step on demand."""

    def __init__(self, name: str, candidate: Candidate, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, candidate, threads), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, question: int | str) -> Any:
        """A number of steps is answered by their `Turn`, "settle" by None, "memory" by what it took."""
        self.tell(question)
        return self.answer()

    def tell(self, question: int | str) -> None:
        """Ask without waiting for the answer."""
        with contextlib.suppress(OSError):  # it has ended: whoever waits for its answer will hear that
            self.pipe.send(question)

    def answer(self) -> Any:
        """What the worker says next; `Failed` with its message if its candidate raised something."""
        try:
            answer = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise Failed(f"the process ended with status {self.process.exitcode}") from None
        if isinstance(answer, Failed):
            raise answer
        return answer

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def measure(
    candidates: Mapping[str, Candidate], *, rounds: int, steps: int, warmup: int, threads: int
) -> dict[str, Facts]:
    """Let the candidates take turns of `steps` steps for `rounds` rounds; the raw record of each, by name.

    Seconds are per step. `values` are what the steps returned, the warm-up's too: the last of each turn. Memory is
    counted from the end of the warm-up, which as many candidates do side by side as the machine has cores for. The
    record of a candidate that failed is `{"failed": its message}`.
    """
    workers = [Worker(name, candidate, threads) for name, candidate in candidates.items()]
    record: dict[str, Facts] = {worker.name: {} for worker in workers}
    turns: dict[str, list[Turn]] = {worker.name: [] for worker in workers}

    def answers(workers: Iterable[Worker], ask: Callable[[Worker], Any]) -> Iterable[tuple[str, Any]]:
        for worker in workers:
            if "failed" not in record[worker.name]:
                try:
                    yield worker.name, ask(worker)
                except Failed as error:
                    record[worker.name] = {"failed": str(error)}
                    worker.stop()

    try:
        for name, facts in answers(workers, Worker.answer):
            record[name] = facts
        abreast = max(1, (os.cpu_count() or 1) // threads)
        for start in range(0, len(workers), abreast):
            group = workers[start : start + abreast]
            for _ in range(warmup):
                for worker in group:
                    worker.tell(1)
                for name, turn in answers(group, Worker.answer):
                    turns[name].append(turn)
        for _ in answers(workers, lambda worker: worker.ask("settle")):
            pass
        for number in range(rounds):
            first = number % len(workers)
            for name, turn in answers(workers[first:] + workers[:first], lambda worker: worker.ask(steps)):
                turns[name].append(turn)
        for name, memory in answers(workers, lambda worker: worker.ask("memory")):
            record[name] |= _raw(turns[name], warmup) | {"memory": memory}
    finally:
        for worker in workers:
            worker.stop()
    return record


def _raw(turns: Sequence[Turn], warmup: int) -> Facts:
    warm, timed = turns[:warmup], turns[warmup:]
    return {
        "warmup_cpu_seconds": [turn.cpu for turn in warm],
        "cpu_seconds": [turn.cpu for turn in timed],
        "wall_seconds": [turn.wall for turn in timed],
        "values": [turn.value for turn in turns],
    }


def installed(packages: Mapping[str, str | None], only: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Of the peers (by name, with the package that each needs or None), those to run and those left out.

    `only` are names of peers, or None for all; a peer not in it is neither run nor named as left out.
    """
    wanted = [name for name in packages if only is None or name in only]
    there = [name for name in wanted if packages[name] is None or version_of(str(packages[name])) is not None]
    return there, [name for name in wanted if name not in there]


def version_of(package: str) -> str | None:
    """The version that is installed, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _work(pipe: Connection, candidate: Candidate, threads: int) -> None:
    try:
        _serve(pipe, candidate, threads)
    except EOFError:
        return
    except Exception as error:  # whatever a peer raises belongs into the record
        pipe.send(Failed(_first_line(error)))


def _serve(pipe: Connection, candidate: Candidate, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    build = candidate.prepare(*candidate.arguments)
    before = memory_of("VmRSS")
    step, facts = build()
    pipe.send(facts)
    while True:
        match pipe.recv():
            case "settle":
                _settle()
                if torch.cuda.is_initialized():
                    torch.cuda.reset_peak_memory_stats()
                pipe.send(None)
            case "memory":
                peak = memory_of("VmHWM")
                if torch.cuda.is_initialized():  # the GPU's own, of which the model and the optimiser are a part
                    peak, before = torch.cuda.max_memory_allocated(), 0
                pipe.send({"peak_mib": peak / MIB, "added_mib": (peak - before) / MIB} if peak else None)
            case steps:
                cpu, wall = _cpu_seconds(), time.perf_counter()
                for _ in range(steps):
                    value = step()
                if isinstance(value, torch.Tensor):  # read once at the end, because a GPU must be waited for
                    value = value.item()
                cpu, wall = _cpu_seconds() - cpu, time.perf_counter() - wall
                pipe.send(Turn(cpu / steps, wall / steps, value))


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _first_line(error: Exception) -> str:
    """The name of the error and the first line that says something: one that ends with a colon only announces it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.endswith(":")] or lines
    return f"{type(error).__name__}: {said[0].strip()}" if said else type(error).__name__


def _settle() -> None:
    """Give back what the warm-up (a compiler's, say) left free, and count the highest memory from here on."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc only
        trim(0)
    if (mark := Path("/proc/self/clear_refs")).exists():
        mark.write_text("5")  # see proc(5)


def memory_of(field: str) -> int:
    """`VmRSS` (now) or `VmHWM` (highest so far) of this process in bytes; 0 where there is no /proc."""
    return int(field_of("/proc/self/status", field).split()[0]) * 1024 if os.path.exists("/proc/self/status") else 0


def field_of(path: str, name: str) -> str:
    """The first `name: value` line of a file of the kernel; empty if there is none."""
    lines = Path(path).read_text().splitlines() if os.path.exists(path) else []
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == name), "")
