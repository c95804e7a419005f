"""How candidates are measured: each in a fresh process of its own, in turns, by time spent and memory touched.

Every candidate is a worker: a spawned process that builds its step once and then performs it when told to. The parent
lets the workers take turns, so that a change of the machine's speed hits all of them, rotates who begins, and compares
within a round only. The workers sleep between turns. Because nothing is shared, one candidate's allocator, caches and
imports cannot help or hurt another, and the kernel's high-water mark of a worker is the candidate's own.

Only the standard library is imported here: the parent stays small, and a worker imports what its candidate needs.
"""

import hashlib
import multiprocessing
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

Step = Callable[[], float]
Facts = dict[str, Any]
Build = Callable[[], tuple[Step, Facts]]
MIB = 2**20
ROOT = Path(__file__).parent.parent
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # the instructions; avx512bw serves to emulate them at fair speed


class Candidate(NamedTuple):
    """`prepare(*arguments)` runs in the worker and does the imports; the `Build` that it returns makes the step.

    The two are apart because imported code is not counted as the candidate's memory. `prepare` and its arguments must
    be picklable. With the step comes what is to be recorded about it.
    """

    prepare: Callable[..., Build]
    arguments: tuple[Any, ...]


class Turn(NamedTuple):
    """One turn of one candidate: seconds of processor time (all threads, user and kernel) and on the wall clock."""

    cpu: float
    wall: float
    value: float


class Worker:
    """A process that performs one candidate's step on demand."""

    def __init__(self, name: str, candidate: Candidate, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, candidate, threads), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, steps: int) -> Any:
        """A `Turn` of so many steps; for 0 steps, the worker's last words on its memory, in bytes."""
        self.pipe.send(steps)
        return self.answer()

    def answer(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            raise RuntimeError(f"candidate {self.name!r} failed; its own message is above") from None

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def measure(
    candidates: Mapping[str, Candidate], *, rounds: int, steps: int, warmup: int, threads: int
) -> dict[str, Facts]:
    """Let the candidates take turns of `steps` steps for `rounds` rounds; the raw record of each, by name.

    Seconds are per step. `values` are what the steps returned, the warm-up's too: the last of each turn.
    """
    workers = [Worker(name, candidate, threads) for name, candidate in candidates.items()]
    try:
        facts = {worker.name: worker.answer() for worker in workers}
        turns = {worker.name: [worker.ask(1) for _ in range(warmup)] for worker in workers}
        for number in range(rounds):
            first = number % len(workers)
            for worker in workers[first:] + workers[:first]:
                turns[worker.name].append(worker.ask(steps))
        return {
            worker.name: facts[worker.name]
            | {
                "cpu_seconds": [turn.cpu for turn in turns[worker.name][warmup:]],
                "wall_seconds": [turn.wall for turn in turns[worker.name][warmup:]],
                "values": [turn.value for turn in turns[worker.name]],
                "memory": worker.ask(0),
            }
            for worker in workers
        }
    finally:
        for worker in workers:
            worker.stop()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Their time over ours, round by round, and the spread of that: above 1, ours is the faster."""
    return spread([their / our for our, their in zip(ours, theirs, strict=True)])


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """What a reader must know of machine and software to read the numbers; nothing that names machine or user."""
    return {
        "machine": {
            "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "instructions": [flag for flag in ("avx2", "avx512bw", *BFLOAT16) if flag in _cpu_flags()],
            "system": platform.system(),
        },
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
        "commit": _commit(),
    }


def has_bfloat16() -> bool:
    """Whether torch has kernels for products in bfloat16 here; without them they are far slower than in float32."""
    return bool(_cpu_flags() & {"avx512bw", *BFLOAT16})


def file_digest(path: str) -> str:
    """What tells one version of a single file from another where there is no version number."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


def _work(pipe: Connection, candidate: Candidate, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    build = candidate.prepare(*candidate.arguments)
    before = _memory("VmRSS")
    step, facts = build()
    _reset_high_water_mark()
    pipe.send(facts)
    while True:
        try:
            steps = pipe.recv()
        except EOFError:
            return
        if not steps:
            peak = _memory("VmHWM")
            pipe.send({"peak_mib": peak / MIB, "added_mib": (peak - before) / MIB} if peak else None)
            continue
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            value = step()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        pipe.send(Turn(cpu / steps, wall / steps, value))


def _reset_high_water_mark() -> None:
    if (mark := Path("/proc/self/clear_refs")).exists():
        mark.write_text("5")  # see proc(5)


def _memory(field: str) -> int:
    """`VmRSS` (now) or `VmHWM` (highest so far) of this process in bytes; 0 where there is no /proc."""
    return int(_field("/proc/self/status", field).split()[0]) * 1024 if os.path.exists("/proc/self/status") else 0


def _field(path: str, name: str) -> str:
    """The first `name: value` line of a file of the kernel; empty if there is none."""
    lines = Path(path).read_text().splitlines() if os.path.exists(path) else []
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == name), "")


def _cpu_flags() -> set[str]:
    return set((_field("/proc/cpuinfo", "flags") or _field("/proc/cpuinfo", "Features")).split())


def _commit() -> str:
    """The commit that was measured, marked if the code that is measured differs from it."""
    changes = _git("status", "--porcelain", "--", "transformer_lib", "bench", ":(exclude)bench/results")
    return _git("rev-parse", "HEAD") + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
