"""Causal attention as one operation: the explicit matrix of weights against the fused kernels, over the length.

Batch 1, 8 heads of width 64, float32. Memory is the highest that a call reaches above its inputs, so for the fused path
it is the result and little else, and grows linearly; the matrix of weights grows with the square of the length. The
record holds the slope of log memory, and of log time, over log length: 1 is linear, 2 the square. The peer is
`nn.MultiheadAttention`, whose four projections are inside its time.
"""

import math
import statistics
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from bench.harness import MIB, OURS, Build, Candidate, Facts, field_of, measure
from bench.ratios import compare

TITLE = "causal attention alone: time and added memory over the number of keys"
ROUNDS = 3
WARMUP = 1
HEADS, HEAD_DIM = 8, 64
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
QUICK_LENGTHS = (512, 2048)
FIT_FROM = 1024  # below, a few pages more or less decide what a call seems to take
MATRICES = {"forward": 4, "forward+backward": 6}  # of size heads x n x n that the explicit path holds at its peak

EXPLICIT, MASKED, MULTIHEAD = f"{OURS}-explicit", f"{OURS}-mask", "torch-multihead"
CANDIDATES = (OURS, MASKED, EXPLICIT, MULTIHEAD)
TOLERANCE = 1e-4


def rows(options: Namespace) -> list[str]:
    """One row per direction; each goes through all lengths."""
    return ["forward"] if options.quick else ["forward", "forward+backward"]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Measure every length; `slopes` are fitted over those of at least `FIT_FROM` keys, or all if there are fewer."""
    wanted = [name for name in CANDIDATES if name != MULTIHEAD or MULTIHEAD in (options.peers or [MULTIHEAD])]
    if options.quick:
        wanted = [OURS, EXPLICIT]
    lengths: list[Facts] = []
    for n in QUICK_LENGTHS if options.quick else LENGTHS:
        needs = MATRICES[row] * 4 * HEADS * n * n
        fits = needs < available_memory() * 0.6
        there = [name for name in wanted if name != EXPLICIT or fits]
        record = measure(
            {name: Candidate(prepare, (name, n, row == "forward+backward")) for name in there},
            rounds=options.rounds,
            steps=options.steps,
            warmup=WARMUP,
            threads=options.threads,
        )
        check_equal_work(record)
        left_out = [] if fits else [f"{EXPLICIT} (would need about {needs / 2**30:.0f} GiB)"]
        lengths.append({"keys": n, "left_out": left_out} | compare(record, threads=options.threads))
    return {"row": row, "lengths": lengths, "slopes": slopes(lengths)}


def lines(record: dict[str, Any]) -> str:
    """For each length, milliseconds of processor time and added MiB, and how both grow."""
    head = "".join(f" {name:>22}" for name in CANDIDATES)
    shown = [f"  {'keys':>6}{head}   ms, MiB"]
    for length in record["lengths"]:
        cells = []
        for name in CANDIDATES:
            facts = length["candidates"].get(name, {"failed": "left out"})
            if "failed" in facts:
                cells.append(f"{facts['failed'][:22]:>22}")
                continue
            memory = f"{facts['memory']['added_mib']:.1f}" if facts["memory"] else "-"
            cells.append(f"{1000 * statistics.median(facts['cpu_seconds']):13.2f} {memory:>8}")
        shown.append(f"  {length['keys']:>6} {' '.join(cells)}")
    for kind, found in record["slopes"].items():
        shown.append(f"  slope of {kind}: " + ", ".join(f"{name} {slope:.2f}" for name, slope in found.items()))
    return "\n".join(shown)


def prepare(path: str, n: int, backward: bool) -> Build:
    """The build of one candidate.

    The inputs are made here and a short call is done, so that neither they nor what a first call sets up counts as
    memory; a mask is made in the build and does count.
    """
    import torch
    from torch import Tensor

    from transformer_lib.nn.attend import attend, attend_explicit

    weight = torch.linspace(-1, 1, HEAD_DIM)  # a loss in which no two channels count alike

    def draw(n: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        parts = [torch.randn(1, HEADS, n, HEAD_DIM, generator=generator) for _ in range(3)]
        if path == MULTIHEAD:  # it takes the heads side by side
            parts = [part.transpose(1, 2).flatten(2) for part in parts]
        return [part.requires_grad_(backward) for part in parts]

    def caller(n: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        if path == OURS:
            return lambda q, k, v: attend(q, k, v, mask="causal")
        if path == EXPLICIT:
            return lambda q, k, v: attend_explicit(q, k, v, mask="causal")
        if path == MULTIHEAD:
            return _multihead(n)
        mask = torch.ones(n, n, dtype=torch.bool).tril()[None, None]
        return lambda q, k, v: attend(q, k, v, mask=mask)

    def step_of(n: int, inputs: list[Tensor]) -> Callable[[], list[float]]:
        call = caller(n)

        def step() -> list[float]:
            with torch.set_grad_enabled(backward):
                out = call(*inputs)
            found = (out[:, :, -1] @ weight).flatten().tolist()
            if backward:
                (out * weight).sum().backward()
                found += [part.grad.abs().mean().item() for part in inputs if part.grad is not None]
                for part in inputs:
                    part.grad = None
            return found

        return step

    step_of(64, draw(64))()
    inputs = draw(n)

    def build() -> tuple[Callable[[], list[float]], Facts]:
        return step_of(n, inputs), {}

    return build


def _multihead(n: int) -> Callable[..., Any]:
    """Torch's module with projections that change nothing, so that it must give what the others give."""
    import torch

    width = HEADS * HEAD_DIM
    module = torch.nn.MultiheadAttention(width, HEADS, bias=False, batch_first=True).requires_grad_(False)
    module.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
    module.out_proj.weight.copy_(torch.eye(width))
    # It asks for a mask even where it then says "causal" to the kernel; a boolean one it would convert at each call.
    mask = torch.nn.Transformer.generate_square_subsequent_mask(n)

    def call(q: Any, k: Any, v: Any) -> Any:
        out, _ = module(q, k, v, need_weights=False, attn_mask=mask, is_causal=True)
        return out.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)

    return call


def check_equal_work(record: dict[str, Facts]) -> None:
    """All paths give the same last row and the same mean gradients; who does not counts as failed."""
    values = {name: facts.pop("values")[-1] for name, facts in record.items() if "failed" not in facts}
    for name, found in values.items():
        expected = values.get(OURS, found)
        worst = max(abs(one - two) for one, two in zip(found, expected, strict=True))
        if not worst <= TOLERANCE * max(map(abs, expected)):
            record[name] = {"failed": f"other work: a result differs by {worst:.1e}"}


def slopes(lengths: Sequence[Facts]) -> dict[str, dict[str, float]]:
    """How time and added memory of each candidate grow: the exponent of the length."""
    long = [length for length in lengths if length["keys"] >= FIT_FROM]
    points = long if len(long) > 1 else lengths
    found: dict[str, dict[str, float]] = {"time": {}, "memory": {}}
    for name in CANDIDATES:
        facts = [(length["keys"], length["candidates"].get(name, {"failed": ""})) for length in points]
        there = [(n, fact) for n, fact in facts if "failed" not in fact]
        if len(there) > 1:
            found["time"][name] = slope([(n, statistics.median(fact["cpu_seconds"])) for n, fact in there])
            if all(fact["memory"] and fact["memory"]["added_mib"] > 0 for _, fact in there):
                found["memory"][name] = slope([(n, fact["memory"]["added_mib"]) for n, fact in there])
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the least-squares line through (log x, log y)."""
    return statistics.linear_regression([math.log(x) for x, _ in points], [math.log(y) for _, y in points]).slope


def available_memory() -> int:
    """Bytes that the kernel could give away now; without /proc, all that a laptop has."""
    there = field_of("/proc/meminfo", "MemAvailable").split()
    return int(there[0]) * 1024 if there else 8192 * MIB
