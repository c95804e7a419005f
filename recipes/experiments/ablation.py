"""Which part of a Transformer does it need to answer who was assigned what?

One part is taken away at a time, at one and at two layers, under two starts and two budgets; everything else stays, and
each arm has its learning rate tuned alike. The task is the programs of `a=3 b=5 a?`: `once` is the share of right
answers about names assigned once, `reassigned` about names assigned more often, where guessing gives a quarter.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib import nn as parts
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, NoPositions, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import (
    NAMES,
    TIME,
    VALUES,
    learn_programs,
    program_scores,
    start_as_pytorch,
    start_small,
)

CONFIG = ModelConfig(
    vocab_size=NAMES * (VALUES + 1),
    d_model=32,
    num_layers=1,
    max_length=2 * TIME,
    attention=AttentionConfig(num_heads=4),
    feedforward=Mlp(d_ff=128),
    positions=Rope(),
    tie_embeddings=False,
)
EVERY = 20  # steps a point of the learning curve


class Zero(nn.Module):
    """Adds nothing to the residual stream."""

    def forward(self, x: Tensor, **ignored: Any) -> Tensor:
        return torch.zeros_like(x)


class NoResidual(parts.Block):
    """Hands on only what its part makes of the stream."""

    def _add(self, x: Tensor, norm: nn.Module, part: Any) -> Tensor:
        return part(norm(x))


class SeesAll(parts.Attention):
    """Attention that may also look at what comes later."""

    def forward(self, x: Tensor, **given: Any) -> Tensor:
        time = x.shape[1]
        return super().forward(x, **given | {"mask": torch.ones(1, 1, time, time, dtype=torch.bool)})


def build(without: str, layers: int) -> DecoderLM:
    """The model without one of its parts."""
    positions = NoPositions() if without == "positions" else Rope()
    model = DecoderLM(replace(CONFIG, positions=positions, num_layers=layers))
    if without == "norms":
        model.final_norm = nn.Identity()
    for block in model.blocks:
        if without == "norms":
            block.attention_norm = block.feedforward_norm = nn.Identity()
        if without == "residual":
            block.__class__ = NoResidual
        if without == "feed-forward":
            block.feedforward = Zero()
        if without == "attention":
            block.attention = Zero()
        if without == "scale":
            block.attention.attend = partial(parts.attend, scale=1.0)
        if without == "mask":
            block.attention.__class__ = SeesAll
    return model


def run(seed: int, rate: float, without: str, layers: int, start: str, steps: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = build(without, layers)
    start_small(model) if start == "small" else start_as_pytorch(model)
    warmup = 0 if without == "warm-up" else None
    losses = learn_programs(model, rate=rate, seed=seed, steps=steps, warmup=warmup)
    curve = [sum(losses[i : i + EVERY]) / EVERY for i in range(0, len(losses), EVERY)]
    return program_scores(model) | {"curve": curve}


PARTS = ("nothing", "attention", "norms", "residual", "positions", "feed-forward", "scale", "warm-up", "mask")
EXPERIMENT = Experiment(
    arms={
        f"without {part}, {layers} layer{'s' * (layers > 1)}, {start} start, {steps} steps": {
            "without": part,
            "layers": layers,
            "start": start,
            "steps": steps,
        }
        # What seems vital in 120 steps from the small start gets more time.
        for steps, starts, taken in (
            (120, ("small", "pytorch"), PARTS),
            (600, ("small",), ("nothing", "norms", "residual")),
        )
        for layers in (1, 2)
        for start in starts
        for part in taken
    },
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.0015, 0.003, 0.006, 0.012),
    chosen_by="choice",
    choice_seeds=(100, 101),
)
