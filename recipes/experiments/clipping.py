"""What does clipping save when one batch has wrong answers, and does it cost anything when none has?

One layer learns programs with AdamW at one rate. In the middle of the training one batch may have every answer wrong.
The gradient is clipped to the norm 1, or not at all. `before` is the loss on other programs before the broken batch,
`at once` after it, and `ten later`, `thirty later` after so many good batches more; `step` is how far the weights move
in the step after the broken one, relative to the step before it.
"""

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
STEPS, BATCH, BROKEN = 240, 16, 180
NOTED = {BROKEN: "before", BROKEN + 1: "at once", BROKEN + 11: "ten later", BROKEN + 31: "thirty later"}


def run(seed: int, rate: float, clip: float, broken: bool) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(SMALL)
    start_small(model, std=0.1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    data = deal(STEPS * BATCH, seed)
    found: dict[str, Any] = {}
    norms, moves = [], []
    for step, (tokens, targets) in enumerate(zip(data.tokens.split(BATCH), data.targets.split(BATCH), strict=True)):
        if step in NOTED:
            found[NOTED[step]] = program_scores(model)["choice"]
        if broken and step == BROKEN:
            targets = torch.where(targets >= 0, (targets + 1) % VALUES, targets)
        optimiser.zero_grad()
        token_loss(model(tokens), targets).mean().backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip or torch.inf).item())
        old = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        optimiser.step()
        moves.append((nn.utils.parameters_to_vector(model.parameters()).detach() - old).norm().item())
    found["step"] = moves[BROKEN + 1] / moves[BROKEN - 1]
    found["norm"] = norms[BROKEN]
    found["clipped"] = sum(norm > 1 for norm in norms) / STEPS
    return found | program_scores(model)


EXPERIMENT = Experiment(
    arms={
        f"{'clipped' if clip else 'unclipped'}, {'a broken batch' if broken else 'all batches good'}": {
            "clip": clip,
            "broken": broken,
        }
        for broken in (False, True)
        for clip in (0.0, 1.0)
    },
    run=run,
    seeds=tuple(range(8)),
    rates=(0.0025, 0.005, 0.01, 0.02),
    chosen_by="choice",
)
