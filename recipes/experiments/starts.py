"""Do two layers learn slowly because they have no residual connection, or because they start with small weights?

Two layers learn to answer who was assigned what in 120 steps, with and without the residual connection (2 x 2 x 2): the
linear maps of the blocks start small, with standard deviation 0.02, or large, with one over the square root of their
inputs; and so do the embedding, which is large with standard deviation 1, and the output head. Each arm has its rate
tuned alike. `once` and `reassigned` are shares of right answers, where guessing gives a quarter.
"""

from typing import Any

import torch
from torch import nn

from transformer_lib import nn as parts
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import NAMES, TIME, VALUES, learn_programs, program_scores, start_small

CONFIG = ModelConfig(
    vocab_size=NAMES * (VALUES + 1),
    d_model=32,
    num_layers=2,
    max_length=2 * TIME,
    attention=AttentionConfig(num_heads=4),
    feedforward=Mlp(d_ff=128),
    positions=Rope(),
    tie_embeddings=False,
)


class NoResidual(parts.Block):
    """Hands on only what its part makes of the stream."""

    def _add(self, x: Any, norm: nn.Module, part: Any) -> Any:
        return part(norm(x))


def enlarge(modules: nn.Module) -> None:
    """Draw linear maps and embeddings anew, large."""
    for module in modules.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)


def run(seed: int, rate: float, residual: bool, blocks: str, ends: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    start_small(model)
    if blocks == "large":
        enlarge(model.blocks)
    if ends == "large":
        enlarge(model.embedding)
        enlarge(model.head)
    if not residual:
        for block in model.blocks:
            block.__class__ = NoResidual
    learn_programs(model, rate=rate, seed=seed)
    return program_scores(model)


EXPERIMENT = Experiment(
    arms={
        f"{'with' if residual else 'without'} residual, {blocks} blocks, {ends} embedding": {
            "residual": residual,
            "blocks": blocks,
            "ends": ends,
        }
        for residual in (True, False)
        for blocks in ("small", "large")
        for ends in ("small", "large")
    },
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.0015, 0.003, 0.006, 0.012),
    chosen_by="choice",
    choice_seeds=(100, 101),
)
