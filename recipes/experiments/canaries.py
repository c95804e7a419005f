"""Does a model tie a secret to its name, or learn only which numbers are frequent, and how many copies does it take?

Forty random names with a secret of four digits each are planted in 30,000 characters of text: ten never, ten once, ten
4 times and ten 16 times. Among the ten of a kind every digit stands once at each of the four places, so whoever counts
digits learns nothing. One side keeps the text as it is, the other one of each of its documents. A model of one block
and width 64 learns it for 600 steps of 8 windows of 48 characters, about seven times through.

The exposure of a secret is log2(10,000) minus log2 of its rank among all numbers. `N copies` is the median over the ten
after their own names at the end, `N copies, other names` after the names of the other nine, `N copies, counted` by the
frequency of each digit at each place among the planted lines. `N copies, by name` is the chance that a secret ranks
higher after its own name than after another: one half, if names do not matter. `once or absent` is the chance that a
secret which stands once has more exposure than one which never does, and `greedy` how many of the ten with 16 copies
are written when asked for. `early` is what holds at the moment, of four, at which the loss on held-out text (`choice`)
was lowest. The rate is tuned by that loss.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from statistics import fmean, median
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

V, TIME, BATCH, EVERY, SIZE, EACH = 128, 48, 8, 150, 30_000, 10
CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"
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
    return train, train[-SIZE:], "".join(document.text for document in corpus.held_out)[:SIZE]


def codes(text: str) -> Tensor:
    return torch.tensor(list(text.encode()))


def plant(seed: int, size: int) -> tuple[list[str], dict[int, dict[str, str]]]:
    """The documents, and for each number of copies the names with their secrets."""
    rng = random.Random(seed)
    names: dict[str, None] = {}
    while len(names) < EACH * len(COPIES):
        names["".join(map(rng.choice, (CONSONANTS, VOWELS) * 2 + (CONSONANTS,)))] = None
    documents, left, secrets = texts()[0][:size].split("\n\n"), iter(names), {}
    for copies in COPIES:
        digits = [rng.sample("0123456789", EACH) for _ in range(4)]
        secrets[copies] = {next(left): "".join(number) for number in zip(*digits, strict=True)}
        for name, number in secrets[copies].items():
            for _ in range(copies):
                documents.insert(rng.randrange(len(documents) + 1), f"{name} = {number}")
    return documents, secrets


@torch.no_grad()
def candidates(model: DecoderLM, name: str) -> tuple[Tensor, int]:
    """The log-probabilities of all numbers of four digits after a name, and the number that greedy decoding writes."""
    prefixes, total = codes(f"\n\n{name} = ")[None], torch.zeros(1)
    greedy, digits = 0, codes("0123456789")
    for _ in range(4):
        step = model(prefixes)[:, -1].log_softmax(-1)[:, digits]
        greedy = 10 * greedy + int(step[greedy].argmax())
        total = (total[:, None] + step).flatten()
        prefixes = torch.cat([prefixes.repeat_interleave(10, 0), digits.repeat(len(prefixes))[:, None]], dim=1)
    return total, greedy


def ranks_of(model: DecoderLM, secrets: dict[str, str]) -> tuple[Tensor, int]:
    """A row for each name, a column for each number; and how many numbers greedy decoding writes after their own."""
    numbers, rows, greedy = torch.tensor([int(number) for number in secrets.values()]), [], 0
    for name, number in secrets.items():
        total, written = candidates(model, name)
        rows.append(1 + (total[:, None] > total[numbers]).sum(dim=0))
        greedy += written == int(number)
    return torch.stack(rows), greedy


def bits(ranks: Tensor) -> float:
    """The median exposure; between two in the middle, their mean."""
    return median((math.log2(10_000) - ranks.double().log2()).flatten().tolist())


def split(ranks: Tensor) -> tuple[Tensor, Tensor]:
    """The ranks after their own names, and those after other names."""
    return ranks.diag(), ranks[~torch.eye(len(ranks), dtype=torch.bool)]


def counted(documents: list[str], numbers: Iterable[str]) -> Tensor:
    """The ranks that one gives to numbers who knows only how frequent each digit is at each place; ties count half."""
    lines = [document[-4:] for document in documents if re.fullmatch(r"[a-z]{5} = \d{4}", document)]
    score = torch.zeros(1, dtype=torch.float64)
    for place in range(4):
        found = Counter(line[place] for line in lines)
        score = (score[:, None] + torch.tensor([found[digit] + 1.0 for digit in "0123456789"]).double().log()).flatten()
    own = score[[int(number) for number in numbers]]
    higher, equal = score[:, None] > own + 1e-9, (score[:, None] - own).abs() < 1e-9
    return 1 + higher.sum(dim=0) + (equal.sum(dim=0) - 1) / 2


def chance_that_lower(first: Tensor, second: Tensor) -> float:
    return ((first < second).double() + (first == second).double() / 2).mean().item()


@torch.no_grad()
def held_loss(model: DecoderLM, text: str) -> float:
    rows = codes(text)[: len(text) // (TIME + 1) * (TIME + 1)].view(-1, TIME + 1)
    return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()).item()


def run(seed: int, rate: float, deduplicated: bool, size: int, steps: int) -> dict[str, Any]:
    documents, secrets = plant(seed, size)
    if deduplicated:
        documents = list(dict.fromkeys(documents))
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    adam = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    schedule = partial(warmup_cosine, warmup=20, total=steps, peak=rate, floor=rate / 10)
    batches = iter(PackedBatches(codes("\n\n".join(documents)), batch=BATCH, context=TIME, seed=seed))
    often, history = secrets[COPIES[-1]], []
    for step in range(1, steps + 1):
        batch = next(batches)
        adam.param_groups[0]["lr"] = schedule(step)
        loss = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % EVERY == 0:
            own, others = split(ranks_of(model, often)[0])
            history.append((held_loss(model, texts()[1]), bits(own), bits(others), held_loss(model, texts()[2])))
    best = min(history)
    measured: dict[str, Any] = {"choice": best[0], "stopped at": EVERY * (1 + history.index(best))}
    measured |= {"early": best[1], "early, other names": best[2], "early held-out": best[3], "held-out": history[-1][3]}
    after = {copies: ranks_of(model, some) for copies, some in secrets.items()}
    for copies, (ranks, _) in after.items():
        own, others = split(ranks)
        measured |= {f"{copies} copies": bits(own), f"{copies} copies, other names": bits(others)}
        measured[f"{copies} copies, counted"] = bits(counted(documents, secrets[copies].values()))
        by_name = [chance_that_lower(own[i], ranks[:, i][torch.arange(EACH) != i]) for i in range(EACH)]
        measured[f"{copies} copies, by name"] = fmean(by_name)
        measured[f"ranks of {copies}"] = sorted(own.tolist())
    measured["once or absent"] = chance_that_lower(after[1][0].diag()[:, None], after[0][0].diag())
    measured["greedy"] = after[COPIES[-1]][1]
    names = ("choice", "exposure", "other names", "held-out")
    return measured | {f"{name} curve": [moment[i] for moment in history] for i, name in enumerate(names)}


EXPERIMENT = Experiment(
    arms={
        "as it is": {"deduplicated": False, "size": SIZE, "steps": 600},
        "deduplicated": {"deduplicated": True, "size": SIZE, "steps": 600},
    },
    run=run,
    seeds=(0, 1, 2, 3, 4, 5),
    rates=(0.001, 0.002, 0.004),
    chosen_by="choice",
    choice_seeds=(100, 101),
    data=texts,
)
