"""What an import costs: seconds on the wall clock until a fresh interpreter has done it and ended, in turns.

Seconds over torch are taken within each round, against `import torch` alone; the first round, which may compile files
and fills the disk cache, is not counted. Processor time is recorded too: unlike the wall clock it does not wait.
"""

import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness import OURS, Facts, installed
from bench.ratios import ratio, spread

TITLE = "start-up: a fresh interpreter that imports one library"
ROUNDS = 9
ROOT = Path(__file__).parent.parent
MOST_OVER_TORCH = 0.1  # seconds

OWN = {"nothing": "pass", "torch": "import torch", OURS: f"import {OURS}"}
PEERS: dict[str, str | None] = {
    "transformers": "transformers",
    "huggingface-gpt2": "transformers",
    "x-transformers": "x-transformers",
    "litgpt": "litgpt",
    "tokenizers": "tokenizers",
}
PEER_CODE = {
    "transformers": "import transformers",
    "huggingface-gpt2": "from transformers import GPT2LMHeadModel",
    "x-transformers": "import x_transformers",
    "litgpt": "from litgpt import GPT",
    "tokenizers": "import tokenizers",
}


def rows(options: Namespace) -> list[str]:
    """All candidates in one row."""
    return ["import"]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Start every candidate once per round; the order rotates."""
    peers, left_out = installed(PEERS, options.peers or (() if options.quick else None))
    record = measure(OWN | {name: PEER_CODE[name] for name in peers}, options.rounds, start)
    base, ours = record["torch"], record[OURS]
    for facts in record.values():
        if "failed" not in facts:
            for clock in ("wall", "cpu"):
                pairs = zip(facts[f"{clock}_seconds"], base[f"{clock}_seconds"], strict=True)
                facts[f"{clock}_seconds_over_torch"] = spread([mine - torch for mine, torch in pairs])
    ratios = {
        name: {
            "cpu_time": ratio(ours["cpu_seconds"], facts["cpu_seconds"]),
            "wall_time": ratio(ours["wall_seconds"], facts["wall_seconds"]),
        }
        for name, facts in record.items()
        if name != OURS and "failed" not in facts
    }
    reached = ours["wall_seconds_over_torch"]["median"]
    targets = [{"over": "torch", "at_most_seconds": MOST_OVER_TORCH, "is": reached}]
    return {"row": row, "left_out": left_out, "candidates": record, "theirs_over_ours": ratios, "targets": targets}


def lines(record: dict[str, Any]) -> str:
    """Seconds, and seconds over `import torch`, by both clocks: medians, and quartiles of the wall clock's."""
    shown = [f"  {'candidate':28} {'wall s':>7} {'cpu s':>7}   over torch: cpu s, wall s (quartiles)"]
    for name, facts in record["candidates"].items():
        if "failed" in facts:
            shown.append(f"  {name:28} failed: {facts['failed']}")
            continue
        wall, cpu = (spread(facts[f"{clock}_seconds"])["median"] for clock in ("wall", "cpu"))
        over = facts["wall_seconds_over_torch"]
        processor = facts["cpu_seconds_over_torch"]["median"]
        quartiles = f"({over['lower_quartile']:.3f} to {over['upper_quartile']:.3f})"
        shown.append(f"  {name:28} {wall:7.3f} {cpu:7.3f}   {processor:6.3f} {over['median']:7.3f} {quartiles}")
    (aim,) = record["targets"]
    shown.append(f"  target: at most {aim['at_most_seconds']} s over torch, reached: {aim['is']:.3f}")
    return "\n".join(shown)


def measure(codes: dict[str, str], rounds: int, start: Callable[[str], tuple[float, float]]) -> dict[str, Facts]:
    """`start` every code once per round, and once before that; seconds by name, or the message of one that failed."""
    record: dict[str, Facts] = {name: {"wall_seconds": [], "cpu_seconds": []} for name in codes}
    names = list(codes)
    for number in range(-1, rounds):
        first = max(number, 0) % len(names)
        for name in names[first:] + names[:first]:
            if "failed" in record[name]:
                continue
            try:
                wall, cpu = start(codes[name])
            except RuntimeError as error:
                if name in OWN:
                    raise
                record[name] = {"failed": str(error)}
                continue
            if number >= 0:
                record[name]["wall_seconds"].append(wall)
                record[name]["cpu_seconds"].append(cpu)
    return record


def start(code: str) -> tuple[float, float]:
    """Seconds that a fresh interpreter takes for the code: on the wall clock, and of the processor."""
    began, before = time.perf_counter(), _children_seconds()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    wall, cpu = time.perf_counter() - began, _children_seconds() - before
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}")
    return wall, cpu


def _children_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
