"""Must a model have overfitted before its losses tell which texts it was trained on?

Models of one block and width 64 learn 60, 400 or 1,600 windows of 32 characters for 150 steps of 30 windows. Up to
300 members are told from 500 windows that were never seen, by their loss alone: at the end, and at the step at which
the loss on further windows (`choice`) was lowest, where whoever stops early would stop. `auc` is the chance that a
member has the lower loss, `caught` the share of members caught when one other in a hundred is accused, `loss` the loss
on the others and `gap` how much lower that of the members is. The rate is tuned by `choice`, arm by arm.
"""

from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.corpora import stdlib_source
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.training import warmup_cosine

V, TIME, BATCH, STEPS, EVERY = 128, 32, 30, 150, 15
OTHERS, CHOICE, ATTACKED = 500, 300, 300
CONFIG = ModelConfig(
    vocab_size=V,
    d_model=64,
    num_layers=1,
    max_length=TIME,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=160),
    positions=Rope(),
    norm=Norm(kind="rms"),
)


@cache
def windows() -> Tensor:
    text = "".join(document.text for document in stdlib_source("small").train)
    return torch.tensor(list(text.encode())).unfold(0, TIME + 1, TIME + 1)


@torch.no_grad()
def losses(model: DecoderLM, rows: Tensor) -> Tensor:
    """Nats per character, a number for each window."""
    logits = model(rows[:, :-1]).transpose(1, 2)
    return F.cross_entropy(logits, rows[:, 1:], reduction="none").mean(dim=1)


def attack(members: Tensor, others: Tensor) -> dict[str, float]:
    lower = (members[:, None] < others).double() + (members[:, None] == others).double() / 2
    threshold = others.quantile(0.01, interpolation="lower")
    return {
        "auc": lower.mean().item(),
        "caught": (members < threshold).double().mean().item(),
        "loss": others.mean().item(),
        "gap": (others.mean() - members.mean()).item(),
    }


def run(seed: int, rate: float, size: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    generator = torch.Generator().manual_seed(seed)
    shuffled = windows()[torch.randperm(len(windows()), generator=generator)]
    seen, others = shuffled[:size], shuffled[-OTHERS:]
    chosen = shuffled[-OTHERS - CHOICE : -OTHERS]
    adam = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    schedule = partial(warmup_cosine, warmup=20, total=STEPS, peak=rate, floor=rate / 10)
    history: list[dict[str, float]] = []
    order = torch.empty(0, dtype=torch.int64)
    for step in range(1, STEPS + 1):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(size, generator=generator)])
        rows, order = seen[order[:BATCH]], order[BATCH:]
        adam.param_groups[0]["lr"] = schedule(step)
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % EVERY == 0:
            choice = losses(model, chosen).mean().item()
            history.append({"choice": choice} | attack(losses(model, seen[:ATTACKED]), losses(model, others)))
    best = min(history, key=lambda moment: moment["choice"])
    at = EVERY * (1 + history.index(best))
    early = {f"early {name}": value for name, value in best.items() if name != "choice"}
    curves = {f"{name} curve": [moment[name] for moment in history] for name in ("auc", "loss")}
    last = {name: value for name, value in history[-1].items() if name != "choice"}
    return {"choice": best["choice"], "stopped at": at} | early | last | curves


EXPERIMENT = Experiment(
    arms={f"{size:,} windows": {"size": size} for size in (60, 400, 1600)},
    run=run,
    seeds=(0, 1, 2),
    rates=(0.004, 0.008, 0.016),
    chosen_by="choice",
    choice_seeds=(100, 101),
    data=windows,
)
