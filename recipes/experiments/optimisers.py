"""What makes Adam learn where SGD does not: the mean of the gradients, or the division by their size?

One layer learns the programs of `a=3 b=5 a?` from weights that start large or small, and from a loss that is multiplied
by 1 or by 0.01. SGD has neither, SGD with momentum has the mean, Adam without it (beta1 = 0) has the division, Adam has
both. Each arm has its rate tuned alike.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Norm, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import NAMES, TIME, VALUES, deal, program_scores, start_small
from transformer_lib.training import token_loss

SMALL = ModelConfig(
    vocab_size=NAMES * (VALUES + 1),
    d_model=32,
    num_layers=1,
    max_length=TIME,
    attention=AttentionConfig(num_heads=2),
    feedforward=Mlp(d_ff=64),
    positions=Rope(),
    norm=Norm(kind="rms"),
)
STEPS, BATCH = 240, 16


def optimiser_of(kind: str, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    match kind:
        case "SGD":
            return torch.optim.SGD(parameters, lr=rate)
        case "SGD with momentum":
            return torch.optim.SGD(parameters, lr=rate, momentum=0.9)
        case "Adam without the mean":
            return torch.optim.Adam(parameters, lr=rate, betas=(0.0, 0.999), fused=True)
        case _:
            return torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.999), fused=True)


def run(seed: int, rate: float, kind: str, std: float, scale: float) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(SMALL)
    start_small(model, std=std)
    optimiser = optimiser_of(kind, model.parameters(), rate)
    data = deal(STEPS * BATCH, seed)
    for tokens, targets in zip(data.tokens.split(BATCH), data.targets.split(BATCH), strict=True):
        loss = scale * token_loss(model(tokens), targets).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return program_scores(model)


EXPERIMENT = Experiment(
    arms={
        f"{kind}, start {std:g}, loss times {scale:g}": {"kind": kind, "std": std, "scale": scale}
        for std, scale in ((0.1, 1.0), (0.02, 1.0), (0.1, 0.01))
        for kind in ("SGD", "SGD with momentum", "Adam without the mean", "Adam")
    },
    run=run,
    seeds=(0, 1, 2, 3, 4),
    # SGD wants rates a hundred times as large as Adam's, so the grid reaches from one to the other.
    rates=(0.0025, 0.01, 0.04, 0.16, 0.64, 2.56),
    chosen_by="choice",
)
