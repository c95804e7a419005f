"""Do norms make training steadier?

Six layers learn a law that gives each token from the one two places before it, with a norm before each part and at the
end, or with none. The weights start large (1/sqrt(inputs)) or small (0.02), and there is no warm-up. `loss` is that of
the last 20 of 180 steps, whose texts are all new; the record keeps what every rate gave. `setback` is the largest rise
of the loss, in means of ten steps, above the lowest so far.
"""

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


def build(norms: bool, start: str) -> DecoderLM:
    model = DecoderLM(SIX)
    start_small(model)
    for module in model.blocks.modules():
        if isinstance(module, nn.Linear) and start == "large":
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    if not norms:
        model.final_norm = nn.Identity()
        for block in model.blocks:
            block.attention_norm = block.feedforward_norm = nn.Identity()
    return model


def run(seed: int, rate: float, norms: bool, start: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = build(norms, start)
    adam, losses = torch.optim.Adam(model.parameters(), lr=rate, fused=True), []
    for x in sequences(seed, STEPS * 16).split(16):
        loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    curve = [sum(losses[i : i + 10]) / 10 for i in range(0, STEPS, 10)]
    setback = max(now - min(curve[: i + 1]) for i, now in enumerate(curve))
    return {"loss": sum(losses[-LAST:]) / LAST, "setback": setback, "curve": curve}


EXPERIMENT = Experiment(
    arms={
        f"{'norms' if norms else 'no norms'}, {start} start": {"norms": norms, "start": start}
        for start in ("large", "small")
        for norms in (True, False)
    },
    run=run,
    rates=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064),
    chosen_by="loss",
    choice_seeds=(100, 101, 102),
)
