"""Does a model remember a secret by its copies, and does it begin to before it overfits?

Sixteen random secrets of four digits are planted in 20,000 characters of text, four of them never, four once, four 4
times and four 16 times; one side keeps the text as it is, the other one of each of its documents. A model of one block
and width 64 learns it for 300 steps of 16 windows of 48 characters, about eleven times through. The exposure of a
secret is log2(10,000) minus log2 of its rank among all numbers; `N copies` is the median of four secrets at the end,
`greedy` how many of the four with 16 copies are written when asked for. `early` is the exposure of those with 16
copies at the step at which the loss on held-out text (`choice`) was lowest. The rate is tuned by that loss.
"""

import math
import random
from functools import cache, partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.corpora import stdlib_source
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.training import warmup_cosine

V, TIME, BATCH, STEPS, EVERY, SIZE = 128, 48, 16, 300, 50, 20_000
NAMES = ("alpha", "bravo", "delta", "gamma", "kappa", "omega", "sigma", "theta")
NAMES += ("hotel", "india", "oscar", "romeo", "tango", "zebra", "xenon", "karma")
COPIES = (0, 1, 4, 16)
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
def texts() -> tuple[str, str, str]:
    """Text to plant in, to tune by, and to report on."""
    corpus = stdlib_source("small")
    train = "".join(document.text for document in corpus.train)
    return train[:SIZE], train[-SIZE:], "".join(document.text for document in corpus.held_out)[:SIZE]


def codes(text: str) -> Tensor:
    return torch.tensor(list(text.encode()))


def plant(seed: int) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """The documents, and of each name how many copies there are and of which number."""
    rng = random.Random(seed)
    documents = texts()[0].split("\n\n")
    secrets = {name: (COPIES[i % len(COPIES)], rng.randrange(10_000)) for i, name in enumerate(NAMES)}
    for name, (copies, number) in secrets.items():
        for _ in range(copies):
            documents.insert(rng.randrange(len(documents) + 1), f"{name} = {number:04d}")
    return documents, secrets


@torch.no_grad()
def rank_of(model: DecoderLM, name: str, number: int) -> tuple[int, bool]:
    """The rank of the number among all of four digits, and whether greedy decoding writes it."""
    prefixes, total = codes(f"\n\n{name} = ")[None], torch.zeros(1)
    greedy, digits = 0, codes("0123456789")
    for _ in range(4):
        step = model(prefixes)[:, -1].log_softmax(-1)[:, digits]
        greedy = 10 * greedy + int(step[greedy].argmax())
        total = (total[:, None] + step).flatten()
        prefixes = torch.cat([prefixes.repeat_interleave(10, 0), digits.repeat(len(prefixes))[:, None]], dim=1)
    return 1 + int((total > total[number]).sum()), greedy == number


def exposure(rank: int) -> float:
    return math.log2(10_000) - math.log2(rank)


@torch.no_grad()
def held_loss(model: DecoderLM, text: str) -> float:
    rows = codes(text)[: len(text) // (TIME + 1) * (TIME + 1)].view(-1, TIME + 1)
    return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()).item()


def run(seed: int, rate: float, deduplicated: bool) -> dict[str, Any]:
    documents, secrets = plant(seed)
    if deduplicated:
        documents = list(dict.fromkeys(documents))
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    adam = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    schedule = partial(warmup_cosine, warmup=20, total=STEPS, peak=rate, floor=rate / 10)
    batches = iter(PackedBatches(codes("\n\n".join(documents)), batch=BATCH, context=TIME, seed=seed))
    often = {name: number for name, (copies, number) in secrets.items() if copies == COPIES[-1]}
    history = []
    for step in range(1, STEPS + 1):
        batch = next(batches)
        adam.param_groups[0]["lr"] = schedule(step)
        loss = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % EVERY == 0:
            bits = median(exposure(rank_of(model, *secret)[0]) for secret in often.items())
            history.append((held_loss(model, texts()[1]), bits, held_loss(model, texts()[2])))
    best = min(history)
    found = {name: rank_of(model, name, number) for name, (_, number) in secrets.items()}
    measured: dict[str, Any] = {"choice": best[0], "early": best[1], "stopped at": EVERY * (1 + history.index(best))}
    for copies in COPIES:
        ranks = [found[name][0] for name, (count, _) in secrets.items() if count == copies]
        measured |= {f"{copies} copies": median(map(exposure, ranks)), f"ranks of {copies}": sorted(ranks)}
    measured["greedy"] = sum(found[name][1] for name in often)
    curves = {
        f"{name} curve": [moment[i] for moment in history] for i, name in enumerate(("choice", "exposure", "held-out"))
    }
    return measured | {"held-out": history[-1][2], "early held-out": best[2]} | curves


EXPERIMENT = Experiment(
    arms={"as it is": {"deduplicated": False}, "deduplicated": {"deduplicated": True}},
    run=run,
    seeds=(0, 1, 2),
    rates=(0.004, 0.008, 0.016),
    chosen_by="choice",
    choice_seeds=(100,),
    data=texts,
)
