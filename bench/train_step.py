"""One training step of a decoder-only language model, ours and the peers', eagerly on the CPU.

A step is forward, mean cross entropy, backward, fused AdamW, zero_grad; no clipping, no dropout, no data loading. The
tokens are random, the same for everybody, and the same at every step: this measures speed and memory, not learning.
"""

from collections.abc import Callable
from typing import Any

from bench.harness import Build, Candidate, Facts, measure, ratio

OURS = "transformer_lib"

# layers, d_model, heads, context, batch, vocabulary
SHAPES = {
    "small": (6, 256, 8, 256, 16, 8192),
    "slice": (4, 768, 12, 512, 2, 50_257),  # four layers of GPT-2 124M
    "quick": (2, 64, 4, 32, 4, 512),
}
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}


def prepare(peer: str, path: tuple[str, ...], shape: str, precision: str) -> Build:
    """The build of one candidate; runs in its worker."""
    import torch
    import torch._dynamo  # an optimiser imports it at its first step: 70 MiB that only some peers' imports bring along

    from bench.peers import PEERS, Shape

    make = PEERS[peer](*path)

    def build() -> tuple[Callable[[], float], Facts]:
        size = Shape(*SHAPES[shape])
        model, loss_of = make(size)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        stream = torch.randint(size.vocab, (size.batch, size.context + 1), generator=torch.Generator().manual_seed(1))
        tokens, targets = stream[:, :-1].contiguous(), stream[:, 1:].contiguous()

        def step() -> float:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = loss_of(tokens, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.item()

        return step, {"parameters": sum(parameter.numel() for parameter in model.parameters())}

    return build


def run_cell(
    shape: str, precision: str, peers: dict[str, tuple[str, ...]], *, rounds: int, steps: int, threads: int
) -> dict[str, Any]:
    """Measure ours against the peers in one shape and precision: the raw record and the ratios."""
    candidates = {
        name: Candidate(prepare, (name, path, shape, precision)) for name, path in ({OURS: ()} | peers).items()
    }
    record = measure(candidates, rounds=rounds, steps=steps, warmup=2, threads=threads)
    _require_equal_work(record, TOLERANCE[precision])
    _, _, _, context, batch, _ = SHAPES[shape]
    our = record[OURS]
    ratios = {
        name: {
            "cpu_time": ratio(our["cpu_seconds"], record[name]["cpu_seconds"]),
            "wall_time": ratio(our["wall_seconds"], record[name]["wall_seconds"]),
            "memory": record[name]["memory"]["added_mib"] / our["memory"]["added_mib"] if our["memory"] else None,
        }
        for name in peers
    }
    return {
        "shape": shape,
        "precision": precision,
        "tokens_per_step": batch * context,
        "candidates": record,
        "theirs_over_ours": ratios,
    }


def _require_equal_work(record: dict[str, Facts], tolerance: float) -> None:
    """Equal weights must give equal losses, before the first update and after all of them, and equal sizes."""
    our = record[OURS]
    for name, facts in record.items():
        sizes = facts["parameters"], our["parameters"]
        if sizes[0] != sizes[1]:
            raise RuntimeError(f"{name} has {sizes[0]} parameters, {OURS} has {sizes[1]}")
        for when, index in (("first", 0), ("last", -1)):
            values = facts["values"][index], our["values"][index]
            if abs(values[0] - values[1]) > tolerance * abs(values[1]):
                raise RuntimeError(f"{name} has {when} loss {values[0]}, {OURS} has {values[1]}")
