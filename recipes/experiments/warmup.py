"""Does warm-up help, and does it depend on where the norm stands?

Six layers learn a law that gives each token from the one two places before it. The norm stands before the parts or
after the sums, the weights start large (1/sqrt(inputs)) or small (0.02), and the rate rises over 0, 15 or 45 of the 180
steps and then stays. Each arm has its rate tuned alike, and the record keeps what every other rate gave.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import start_small

SIX = ModelConfig(
    vocab_size=16,
    d_model=32,
    num_layers=6,
    max_length=16,
    attention=AttentionConfig(num_heads=2),
    feedforward=Mlp(d_ff=64),
    positions=Rope(),
)
STEPS, LAST = 180, 20


def sequences(seed: int, rows: int) -> Tensor:
    """Texts of 17 tokens; nine times of ten a token follows by law from the one two places before it."""
    generator = torch.Generator().manual_seed(seed)
    law = torch.randperm(16, generator=generator)
    texts = torch.randint(16, (rows, 17), generator=generator)
    lawful = torch.rand(rows, 17, generator=generator) < 0.9
    for t in range(1, 17):
        texts[:, t] = torch.where(lawful[:, t], law[texts[:, max(t - 2, 0)]], texts[:, t])
    return texts


def run(seed: int, rate: float, order: str, warmup: int, start: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(replace(SIX, norm_order=order))
    start_small(model)
    for module in model.blocks.modules():
        if isinstance(module, nn.Linear) and start == "large":
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    adam, losses = torch.optim.Adam(model.parameters(), fused=True), []
    for step, x in enumerate(sequences(seed, STEPS * 16).split(16)):
        adam.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / max(warmup, 1))
        loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    # Every batch is new, so the loss of the last steps is that of texts which were never seen before.
    return {"loss": sum(losses[-LAST:]) / LAST, "curve": [sum(losses[i : i + 10]) / 10 for i in range(0, STEPS, 10)]}


EXPERIMENT = Experiment(
    arms={
        f"{order}-norm, {start} start, {'no' if warmup == 0 else warmup} warm-up": {
            "order": order,
            "warmup": warmup,
            "start": start,
        }
        for start in ("large", "small")
        for order in ("post", "pre")
        for warmup in (0, 15, 45)
    },
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.002, 0.004, 0.008, 0.016, 0.032, 0.064),
    chosen_by="loss",
    choice_seeds=(100, 101, 102),
)
