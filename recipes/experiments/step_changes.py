"""Which of the usual changes make a training step of the textbook model faster, and how much of it is fresh memory?

Each run is a process of its own on one thread. It starts with the textbook step and tries one change after another.
A change is raced, in turns, against the fastest step found so far, and kept if the lower quartile of its gain is above
1.01; otherwise the next one starts from the same step as it did. `NAME` is the median gain of that change, and
`kept, NAME` says whether it was kept. The arms are glibc's allocator as it comes, and told through the environment to
keep what it was given. `all kept` is the last step against the first, `faults, ...` are page faults of a step.

Left out: bfloat16, which only some processors are fast with; a chapter tries it live.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig
from transformer_lib.models import DecoderLM
from transformer_lib.nn import Attention, attend, attend_explicit, causal_mask
from transformer_lib.runs.experiment import Experiment
from transformer_lib.training import token_loss
from transformer_lib.training.chunked import chunked_token_loss

VOCAB, LENGTH, WIDTH, LAYERS, HEADS = 8192, 512, 256, 2, 8
ROUNDS, CLEARLY = 5, 1.01
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**33)}
CONFIG = ModelConfig(
    vocab_size=VOCAB,
    d_model=WIDTH,
    num_layers=LAYERS,
    max_length=LENGTH,
    attention=AttentionConfig(num_heads=HEADS, bias=True),
    feedforward=Mlp(d_ff=4 * WIDTH),
    positions=Learned(),
)


# The step -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    one_product: bool = False  # q, k and v from one matrix
    attention: str = "explicit"  # or "fused", or "causal"
    contiguous: bool = False  # q, k and v copied into order
    loss: str = "plain"  # or "one step", or "chunks"
    adam: dict[str, bool] = field(default_factory=lambda: {"foreach": False})
    bfloat16: bool = False


CHANGES: dict[str, dict[str, Any]] = {
    "q, k, v by one product": {"one_product": True},
    "fused attention": {"attention": "fused"},
    "causal without a mask": {"attention": "causal"},
    "q, k, v made contiguous": {"contiguous": True},
    "softmax and loss in one": {"loss": "one step"},
    "head and loss in one": {"loss": "chunks"},
    "AdamW by lists (foreach)": {"adam": {"foreach": True}},
    "AdamW in one kernel": {"adam": {"fused": True}},
    "bfloat16 autocast": {"bfloat16": True},
}


def attended(layer: Attention, x: Tensor, seen: Tensor, recipe: Recipe) -> Tensor:
    w, b = layer.to_qkv.weight, layer.to_qkv.bias
    if recipe.one_product:
        parts = F.linear(x, w, b).chunk(3, dim=-1)
    else:
        parts = tuple(F.linear(x, *pair) for pair in zip(w.chunk(3), b.chunk(3), strict=True))
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
    if recipe.contiguous:
        q, k, v = (x.contiguous() for x in (q, k, v))
    match recipe.attention:
        case "explicit":
            out = attend_explicit(q, k, v, mask=seen)
        case "fused":
            out = attend(q, k, v, mask=seen)
        case _:
            out = attend(q, k, v, mask="causal")
    return layer.to_out(out.transpose(1, 2).flatten(2))


def hidden(model: DecoderLM, tokens: Tensor, recipe: Recipe) -> Tensor:
    positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
    seen = causal_mask(positions, positions)
    x = model.embedding(tokens, positions)
    for block in model.blocks:
        x = x + attended(block.attention, block.attention_norm(x), seen, recipe)
        x = x + block.feedforward(block.feedforward_norm(x))
    return model.final_norm(x)


def loss_of(model: DecoderLM, tokens: Tensor, recipe: Recipe) -> Tensor:
    x, targets = hidden(model, tokens[:, :-1], recipe), tokens[:, 1:]
    match recipe.loss:
        case "plain":
            logits = model.logits(x).flatten(0, 1).float()
            return F.cross_entropy(logits, targets.flatten())
        case "one step":
            return token_loss(model.logits(x), targets).mean()
        case _:
            return chunked_token_loss(x, model.head.weight, targets).mean()


class Trainer:
    """A model with its optimiser, which takes a step by a recipe when it is called."""

    def __init__(self, recipe: Recipe, place: str | torch.device = "cpu", seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.recipe, self.model = recipe, DecoderLM(CONFIG).to(place)
        self.tokens = torch.randint(VOCAB, (1, LENGTH + 1)).to(place)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, **recipe.adam)

    def gradient(self) -> float:
        kind, narrow = self.tokens.device.type, self.recipe.bfloat16
        with torch.autocast(kind, torch.bfloat16, enabled=narrow):
            loss = loss_of(self.model, self.tokens, self.recipe)
        loss.backward()
        return loss.item()

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()

    def __call__(self) -> float:
        loss = self.gradient()
        self.update()
        return loss


# The race -------------------------------------------------------------------------------------------------------------


def gains(before: Callable[[], Any], after: Callable[[], Any]) -> list[float]:
    """The processor time of one over that of the other, in turns, least to greatest."""
    found = []
    for number in range(ROUNDS + 1):
        spent = {}
        for step in (before, after) if number % 2 else (after, before):
            start = time.process_time()
            step()
            spent[step] = time.process_time() - start
        found.append(spent[before] / spent[after])
    return sorted(found[1:])  # the first round pays for what happens once


def faults(step: Callable[[], Any]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def climbed(seed: int) -> dict[str, float]:
    """The gain of each change over the fastest step before it."""
    torch.set_num_threads(1)
    first = best = Trainer(Recipe(), seed=seed)
    measured: dict[str, float] = {}
    for name, change in CHANGES.items():
        if "bfloat16" in change:
            continue  # where the processor lacks the instructions it takes twenty times as long
        candidate = Trainer(replace(best.recipe, **change), seed=seed)
        found = gains(best, candidate)
        low, middle, _ = statistics.quantiles(found, method="inclusive")
        measured |= {name: middle, f"kept, {name}": int(low > CLEARLY)}
        best = candidate if low > CLEARLY else best
    measured |= {"all kept": statistics.median(gains(first, best))}
    return measured | {"faults, textbook": faults(first), "faults, all kept": faults(best)}


def run(seed: int, kept: bool) -> dict[str, Any]:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    settings |= {"OMP_NUM_THREADS": "1"} | (KEPT if kept else {})
    command = [sys.executable, str(Path(__file__)), str(seed)]
    done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


EXPERIMENT = Experiment(
    arms={"as it comes": {"kept": False}, "memory kept": {"kept": True}},
    run=run,
)

if __name__ == "__main__":
    print(json.dumps(climbed(int(sys.argv[1]))))
