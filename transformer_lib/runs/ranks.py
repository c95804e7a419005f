"""Runs a function of a notebook in several processes that have joined, as torchrun would on several GPUs.

The function is handed over as its source, because a process that is started afresh knows nothing of the notebook: so it
must import what it uses, and gets what else it needs as an argument. The processes talk over gloo, on one machine, each
with one thread. Left out: GPUs, several machines, and restarts; for those, torchrun.
"""

import inspect
import multiprocessing
import runpy
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked

MOST = 16  # processes that one machine can be expected to bear
# Imported once, by the server that forks the processes; where there is no such server, by each process.
PRELOAD = ["transformer_lib.models", "transformer_lib.training.traffic", "transformer_lib.training.within"]


@checked
def on_ranks(function: Callable[..., Any], given: Mapping[str, Any], *, processes: int = 2) -> list[Any]:
    """What `function(**given)` gives back in each of so many processes: tensors, numbers, and lists and dicts of them.

    Raises `RuntimeError` with what a process said, if one fails.
    """
    require_positive(processes=processes)
    require(processes <= MOST, "processes", f"must be at most {MOST}", processes)
    context: Any = multiprocessing.get_context("spawn")
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = textwrap.dedent(inspect.getsource(function))
        (folder / "source.py").write_text("from __future__ import annotations\n\n" + source, encoding="utf-8")
        torch.save(dict(given), folder / "given.pt")
        started = [
            context.Process(target=_be_one, args=(function.__name__, place, rank, processes))
            for rank in range(processes)
        ]
        for process in started:
            process.start()
        while running := [process for process in started if process.is_alive()]:
            wait([process.sentinel for process in running])
            if any(process.exitcode for process in started):
                for process in running:
                    process.kill()  # it would wait for the one that failed
        for rank, process in enumerate(started):
            said = folder / f"{rank}.txt"
            if process.exitcode and (said.exists() or all(other.exitcode for other in started)):
                words = said.read_text(encoding="utf-8") if said.exists() else f"exit code {process.exitcode}"
                raise RuntimeError(f"{function.__name__} failed: {words[-2000:]}")
        return [torch.load(folder / f"{rank}.pt") for rank in range(processes)]


def _be_one(name: str, place: str, rank: int, processes: int) -> None:
    """Join the other processes, call the function, and leave in the folder what it gives back, or why it failed."""
    torch.set_num_threads(1)
    folder = Path(place)
    try:
        function = runpy.run_path(str(folder / "source.py"))[name]
        store = f"file://{folder / 'store'}"
        distributed.init_process_group("gloo", store, timedelta(minutes=5), processes, rank)
        torch.save(function(**torch.load(folder / "given.pt")), folder / f"{rank}.pt")
        distributed.barrier()
        distributed.destroy_process_group()
    except Exception:
        (folder / f"{rank}.txt").write_text(traceback.format_exc(), encoding="utf-8")
        sys.exit(1)
