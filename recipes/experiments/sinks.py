"""Where does a head look when it has nothing to bring: with neither, with an output gate, with a learned sink?

One layer with one head reads texts that begin with the same token. After one of three triggers the token before the
trigger comes again; elsewhere the next token follows from the present one by a fixed law, for which no head is needed
(the task is after Guo et al. 2024, arXiv 2410.13835). `idle` means that the present token is no trigger, `busy` that it
is. `first` is the weight on the first token, `nowhere` that of the learned sink, `even` what the first would get if all
tokens seen got the same, `brings` the size of what the head adds when idle, in units of that when busy. The
feed-forward part gives up as many weights as the gate has. Each arm has its rate tuned alike.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.viz import record_attention

V, TRIGGERS, TIME, WIDTH = 32, 3, 32, 32  # the token V begins every text
STEPS, BATCH, LATE = 800, 32, 8  # weights are measured from position LATE on
KINDS: dict[str, tuple[dict[str, bool], int]] = {
    "neither": ({}, 64),
    "gate": ({"gate": True}, 53),  # 32 x 32 of the gate for 3 x 32 x 11
    "sink": ({"sinks": True}, 64),
}


def texts(rows: int, seed: int) -> Tensor:
    """Texts of TIME + 1 tokens by the same law, whatever the seed."""
    law = torch.softmax(2 * torch.randn(V, V, generator=torch.Generator().manual_seed(5)), dim=-1)
    generator = torch.Generator().manual_seed(seed)
    found = torch.full((rows, TIME + 1), V)
    found[:, 1] = torch.randint(V, (rows,), generator=generator)
    for t in range(2, TIME + 1):
        by_law = torch.multinomial(law[found[:, t - 1]], 1, generator=generator)[:, 0]
        again = (found[:, t - 1] < TRIGGERS) & (found[:, t - 2] < V)
        found[:, t] = torch.where(again, found[:, t - 2], by_law)
    return found


def loss_of(model: DecoderLM, text: Tensor) -> Tensor:
    return F.cross_entropy(model(text[:, :-1]).mT, text[:, 1:], reduction="none")


def learn(model: DecoderLM, rate: float, seed: int) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    for step, batch in enumerate(texts(STEPS * BATCH, seed).split(BATCH)):
        up, down = (step + 1) / (STEPS / 10), (STEPS - step) / (0.3 * STEPS)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, up, down)
        optimiser.zero_grad()
        loss_of(model, batch).mean().backward()
        optimiser.step()


@torch.no_grad()
def measures(model: DecoderLM) -> dict[str, float]:
    chosen, text, brought = texts(256, 10_000), texts(512, 10_001), []
    block = model.blocks[0]
    hook = block.attention.register_forward_hook(lambda part, given, result: brought.append(result.norm(dim=-1)))
    with record_attention(model) as looks:
        losses = loss_of(model, text)
    hook.remove()
    here, place = text[:, :-1], torch.arange(TIME)
    asks, late = (here < TRIGGERS) & (place >= 2), place >= LATE
    idle, busy, weights = ~asks & late, asks & late, looks[0].weights[:, 0]
    x = block.attention_norm(model.embedding(here, place[None]))
    seen = {"first": weights[..., 0], "nowhere": 1 - weights.sum(-1)}
    if block.attention.to_gate is not None:
        seen["gate"] = block.attention.to_gate(x).sigmoid().mean(-1)
    found = {
        f"{name}, {when}": part[group].mean().item()
        for name, part in seen.items()
        for when, group in (("idle", idle), ("busy", busy))
    }
    sizes = block.attention.keys_values(x).v[:, 0].norm(dim=-1)
    found["value of the first"] = (sizes[:, 0].mean() / sizes[:, 1:].mean()).item()
    found["brings"] = (brought[0][idle].mean() / brought[0][busy].mean()).item()
    return found | {
        "even": (1 / (place[late] + 1)).mean().item(),
        "choice": loss_of(model, chosen).mean().item(),
        "law": losses[~asks & (place >= 1)].mean().item(),
        "copy": losses[asks].mean().item(),
        "weights": sum(weight.numel() for weight in model.parameters()),
    }


def run(seed: int, rate: float, kind: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    extra, hidden = KINDS[kind]
    config = ModelConfig(
        vocab_size=V + 1,
        d_model=WIDTH,
        num_layers=1,
        max_length=TIME,
        attention=AttentionConfig(num_heads=1, **extra),
        feedforward=SwiGlu(d_ff=hidden),
        positions=Rope(),
        norm=Norm(kind="rms"),
        tie_embeddings=False,
    )
    model = DecoderLM(config)
    learn(model, rate, seed)
    return measures(model)


EXPERIMENT = Experiment(
    arms={kind: {"kind": kind} for kind in KINDS},
    run=run,
    seeds=(0, 1, 2),
    rates=(0.005, 0.01, 0.02),
    chosen_by="choice",
)
