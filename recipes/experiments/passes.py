"""What hides the texts that a model was trained on: that there are more of them, or that each is seen less often?

The models of the experiment `membership`, which gives all amounts of text the same number of steps, get the same number
of passes here: 60 or 400 windows of 32 characters are each seen 30 times, in as many steps of 30 windows as there are
windows. Up to 300 members are told from 500 windows that were never seen, by their loss alone, at the end. `auc` is the
chance that a member has the lower loss, `loss` the loss on the others and `gap` how much lower that of the members is.
The rate is tuned, arm by arm, by the lowest loss on further windows (`choice`) at any of ten moments.
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

V, TIME, BATCH, MOMENTS = 128, 32, 30, 10
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
    gap = (others.mean() - members.mean()).item()
    return {"auc": lower.mean().item(), "loss": others.mean().item(), "gap": gap}


def run(seed: int, rate: float, size: int, steps: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    generator = torch.Generator().manual_seed(seed)
    shuffled = windows()[torch.randperm(len(windows()), generator=generator)]
    seen, others = shuffled[:size], shuffled[-OTHERS:]
    chosen = shuffled[-OTHERS - CHOICE : -OTHERS]
    adam = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    schedule = partial(warmup_cosine, warmup=20, total=steps, peak=rate, floor=rate / 10)
    history: list[dict[str, float]] = []
    order = torch.empty(0, dtype=torch.int64)
    for step in range(1, steps + 1):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(size, generator=generator)])
        rows, order = seen[order[:BATCH]], order[BATCH:]
        adam.param_groups[0]["lr"] = schedule(step)
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % (steps // MOMENTS) == 0:
            choice = losses(model, chosen).mean().item()
            history.append({"choice": choice} | attack(losses(model, seen[:ATTACKED]), losses(model, others)))
    curves = {f"{name} curve": [moment[name] for moment in history] for name in ("auc", "loss", "gap")}
    return history[-1] | {"choice": min(moment["choice"] for moment in history)} | curves


EXPERIMENT = Experiment(
    arms={f"{size} windows": {"size": size, "steps": size} for size in (60, 400)},
    run=run,
    seeds=(0, 1, 2),
    rates=(0.004, 0.008, 0.016),
    chosen_by="choice",
    choice_seeds=(100, 101),
    data=windows,
)
