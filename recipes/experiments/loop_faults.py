"""What do faults of a training loop cost a language model, and does the loss that the loop prints tell?

One fault at a time: no causal mask, or targets that are not shifted; both make the task too easy. (A softmax before the
loss and gradients that are never cleared, which the program knows too, show on a single batch.) A decoder of one layer
reads the standard library's source byte by byte, 600 steps of 16 windows of 32 bytes. Each arm tunes its rate as
whoever has the fault would, by the validation loss that the loop itself prints (`choice`). On other files stand what
the loop reports (`reported`), the loss of the last position alone, whose target no position holds (`honest`), and how
far what the model writes is from real text (`pairs`): half the summed differences between the shares of all pairs of
neighbours, 0 for the same shares and 1 for no pair in common.
"""

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib import nn as parts
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.data.corpora import Document, stdlib_source
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment

V, TIME, BATCH, STEPS, EVERY = 128, 32, 16, 600, 30
CONFIG = ModelConfig(
    vocab_size=V,
    d_model=64,
    num_layers=1,
    max_length=TIME,
    attention=AttentionConfig(num_heads=4),
    feedforward=Mlp(d_ff=256),
    positions=Rope(),
    tie_embeddings=False,
)


class SeesAll(parts.Attention):
    """Attention that may also look at what comes later."""

    def forward(self, x: Tensor, **given: Any) -> Tensor:
        time = x.shape[1]
        return super().forward(x, **given | {"mask": torch.ones(1, 1, time, time, dtype=torch.bool)})


def windows(stream: Tensor, count: int, generator: torch.Generator) -> Tensor:
    starts = torch.randint(len(stream) - TIME, (count,), generator=generator)
    return stream[starts[:, None] + torch.arange(TIME + 1)]


@cache
def texts() -> dict[str, Tensor]:
    """Bytes to train on, to tune by, and to report on; no file is in two of them."""
    small, full = stdlib_source("small"), stdlib_source("full")
    held = {document.name for document in small.held_out}
    files = {"train": small.train, "test": small.held_out}
    files["choice"] = tuple(document for document in full.held_out if document.name not in held)
    return {name: as_bytes(documents) for name, documents in files.items()}


def as_bytes(documents: tuple[Document, ...]) -> Tensor:
    return torch.tensor(list("".join(document.text for document in documents).encode()))


def loss_of(model: DecoderLM, rows: Tensor, fault: str) -> Tensor:
    """The loss as the loop takes it."""
    logits, targets = model(rows[:, :-1]), rows[:, 1:]
    if fault == "targets not shifted":
        targets = rows[:, :-1]
    if fault == "softmax twice":
        logits = logits.softmax(dim=-1)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def distance_of_writing(model: DecoderLM, rows: Tensor, seed: int, length: int = 64) -> float:
    """How far the pairs of neighbours in what the model writes after 64 windows are from those of the windows."""
    generator = torch.Generator().manual_seed(seed)
    story = rows[:64, :TIME]
    for _ in range(length):
        logits = model(story[:, -TIME:])[:, -1]
        story = torch.cat([story, logits.softmax(-1).multinomial(1, generator=generator)], dim=1)
    return (pairs_in(story[:, TIME:]) - pairs_in(rows)).abs().sum().item() / 2


def pairs_in(rows: Tensor) -> Tensor:
    """The share of each pair of neighbours."""
    counts = torch.bincount((rows[:, :-1] * V + rows[:, 1:]).flatten(), minlength=V * V)
    return counts / counts.sum()


def run(seed: int, rate: float, fault: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    if fault == "no mask":
        model.blocks[0].attention.__class__ = SeesAll
    generator = torch.Generator().manual_seed(seed)
    held = {name: windows(texts()[name], 512, torch.Generator().manual_seed(1)) for name in ("choice", "test")}
    adam = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    printed: list[float] = []
    reported: list[float] = []
    honest: list[float] = []
    for step in range(1, STEPS + 1):
        loss = loss_of(model, windows(texts()["train"], BATCH, generator), fault)
        if fault != "gradients never cleared":
            adam.zero_grad()
        loss.backward()
        adam.step()
        printed.append(loss.item())
        if not math.isfinite(printed[-1]):
            raise FloatingPointError("the loss is not finite")
        if step % EVERY == 0:
            with torch.no_grad():
                reported.append(loss_of(model, held["test"], fault).item())
                honest.append(F.cross_entropy(model(held["test"][:, :-1])[:, -1], held["test"][:, -1]).item())
    with torch.no_grad():
        choice = loss_of(model, held["choice"], fault).item()
    return {
        "choice": choice,
        "reported": reported[-1],
        "honest": honest[-1],
        "most honest": min(honest),
        "pairs": distance_of_writing(model, held["test"], seed),
        "printed curve": [sum(printed[i : i + EVERY]) / EVERY for i in range(0, STEPS, EVERY)],
        "reported curve": reported,
        "honest curve": honest,
    }


FAULTS = ("no fault", "no mask", "targets not shifted", "softmax twice", "gradients never cleared")
EXPERIMENT = Experiment(
    arms={fault: {"fault": fault} for fault in FAULTS[:3]},
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.001, 0.002, 0.004, 0.008, 0.016),
    chosen_by="choice",
    choice_seeds=(100, 101),
    data=lambda: texts()["train"],
)
