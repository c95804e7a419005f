"""Where the time of a compiled training step goes, ours and the peers', beside what its products alone must take.

The steps are those of `train_step`, profiled after the warm-up, with every generated kernel as an event of its own. The
bound is the step's products with weights, 6 FLOPs for each weight that multiplies and each token, at the rate of one
large product in the same process: whoever computes these numbers on this machine cannot take less. What the forward
pass keeps for the backward pass is counted too, weights left out: it decides about memory.
"""

import statistics
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench import train_step
from bench.harness import MIB, OURS, Build, Candidate, Facts, installed, measure

TITLE = "where the time of a compiled training step goes: milliseconds of processor time by kind of work"
ROUNDS = 3
PEERS = ("huggingface-llama", "nanogpt", "torch")
KINDS = {  # by the beginning of the operation's name; what is in none of them is "other"
    "attention": ("aten::_scaled_dot_product",),
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::", "mkl::", "aten::mkldnn"),
    "generated kernels": ("cpp_", "graph_"),
    "optimiser": ("aten::_fused_adamw", "Optimizer"),
    "copies and fills": ("aten::copy_", "aten::fill_", "aten::zero_", "aten::clone", "aten::empty", "aten::resize_"),
}
SQUARE = 2048  # of the product whose rate is taken as the peak


def rows(options: Namespace) -> list[str]:
    """Those of `train_step` that are compiled."""
    if options.quick:
        return ["quick float32 compiled"]
    return [row for row in train_step.rows(options) if row.endswith("compiled")]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """The kinds of work of each candidate, and the bound."""
    shape, precision, mode = row.split()
    wanted = [peer for peer in PEERS if peer != "nanogpt" or options.nanogpt]
    peers, left_out = installed(
        {peer: train_step.PEERS[peer] for peer in wanted if options.peers is None or peer in options.peers}, None
    )
    candidates = {name: Candidate(prepare, (name, options.nanogpt, shape, precision, mode)) for name in (OURS, *peers)}
    record = measure(candidates, rounds=options.rounds, steps=1, warmup=train_step.WARMUP, threads=options.threads)
    return {"row": row, "left_out": left_out, "candidates": {name: _summary(facts) for name, facts in record.items()}}


def lines(record: dict[str, Any]) -> str:
    """One line per candidate: milliseconds, and MiB kept."""
    kinds = [*KINDS, "other"]
    out = [f"  {'candidate':20} {'step':>7} {'bound':>7} {'kept':>7}  " + "  ".join(f"{kind:>17}" for kind in kinds)]
    for name, facts in record["candidates"].items():
        if "failed" in facts:
            out.append(f"  {name:20} failed: {facts['failed']}")
            continue
        parts = "  ".join(f"{facts['milliseconds'][kind]:17.0f}" for kind in kinds)
        numbers = f"{facts['step_milliseconds']:7.0f} {facts['bound_milliseconds']:7.0f} {facts['kept_mib']:7.0f}"
        out.append(f"  {name:20} {numbers}  {parts}")
    return "\n".join(out)


def prepare(peer: str, nanogpt: str | None, shape: str, precision: str, mode: str) -> Build:
    """The build of one candidate; its step performs one training step, profiled, and gives what was found."""
    import torch
    import torch._inductor.config as inductor
    from torch.profiler import ProfilerActivity, profile

    inductor.cpp.enable_kernel_profile = True
    inner = train_step.prepare(peer, nanogpt, shape, precision, mode)

    def build() -> tuple[Callable[[], Facts], Facts]:
        layers, width, _, context, batch, vocab = train_step.SHAPES[shape]
        flops = 6 * (12 * layers * width**2 + vocab * width) * batch * context
        train, facts = inner()

        def step() -> Facts:
            start = time.process_time()
            train()
            spent = time.process_time() - start
            with profile(activities=[ProfilerActivity.CPU]) as found:
                train()
            kinds = Counter[str]()
            for event in found.events():
                kinds[_kind(event.name)] += event.self_cpu_time_total / 1000
            rate = _rate(getattr(torch, precision))
            times = {"kinds": dict(kinds), "step": 1000 * spent, "products": flops / 1e9, "rate": rate / 1e9}
            return times | {"kept": _kept_bytes(train)}

        return step, facts

    return build


def _kind(name: str) -> str:
    fitting = (kind for kind, beginnings in KINDS.items() if name.startswith(beginnings))
    return next(fitting, "other")


def _kept_bytes(train: Callable[[], Any]) -> int:
    """What autograd holds between the passes of one step, each storage once; not the weights, nor views of them."""
    import torch

    kept = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        base = x._base if x._is_view() else x
        if not (base is not None and base.is_leaf and base.requires_grad):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        train()
    return sum(kept.values())


def _rate(dtype: Any) -> float:
    """FLOPs per second of processor time in a large square product, the best of three."""
    import torch

    a = torch.randn(SQUARE, SQUARE).to(dtype)
    a @ a
    rates = []
    for _ in range(3):
        start = time.process_time()
        a @ a
        rates.append(2 * SQUARE**3 / (time.process_time() - start))
    return max(rates)


def _summary(facts: Facts) -> Facts:
    """Medians over the rounds."""
    if "failed" in facts:
        return facts
    rounds = facts["values"][train_step.WARMUP :]

    def median(of: Callable[[Facts], float]) -> float:
        return round(statistics.median(map(of, rounds)), 1)

    rate = median(lambda found: found["rate"])
    return {
        "step_milliseconds": median(lambda found: found["step"]),
        "bound_milliseconds": round(1000 * rounds[0]["products"] / rate, 1),
        "giga_flops_per_second": rate,
        "kept_mib": round(rounds[0]["kept"] / MIB, 1),
        "milliseconds": {
            kind: median(lambda found, kind=kind: found["kinds"].get(kind, 0.0)) for kind in (*KINDS, "other")
        },
    }
