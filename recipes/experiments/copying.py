"""Does a net of two layers learn to copy by a pair of heads, and does one layer do without?

Short English passages speak of three people, whose surnames are drawn anew in each. Where a first name occurs again,
the surname can only be copied from the passage. Nets of one and of two layers, with their rates tuned alike, learn to
predict the next word. Then single heads are taken away: their weights are made even over all words that they may see.
The head of the first layer that looks most at the word before a surname, and the head of the second layer that looks
most at the right surname, are compared with the other heads.
"""

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.nn import attention_weights
from transformer_lib.runs.experiment import Experiment
from transformer_lib.viz import record_attention

PEOPLE = """
Anna Boris Clara David Emma Felix Greta Hugo Ida Jonas Karla Leo Maria Nils Olga Paul
Adler Berg Cole Dorn Engel Falk Gruber Holt Iversen Jung Klein Lind Moss Noor Olsen Park
"""
FIRST, LAST = (line.split() for line in PEOPLE.strip().splitlines())
SENTENCES = ["{} met {} .", "{} and {} wrote a book .", "{} asked {} for help ."]
SENTENCES += ["the letter from {} reached {} .", "then {} called {} ."]
WORDS = sorted({*FIRST, *LAST, *" ".join(SENTENCES).replace("{}", "").split()})
NUMBER = {word: i for i, word in enumerate(WORDS)}
LONGEST, BATCH = 45, 32


def passages(count: int, seed: int) -> Tensor:
    """Passages of five sentences as word numbers, filled up with -100."""
    rng, rows = random.Random(seed), torch.full((count, LONGEST), -100)
    for row in rows:
        people = [" ".join(pair) for pair in zip(rng.sample(FIRST, 3), rng.sample(LAST, 3), strict=True)]
        words = " ".join(rng.choice(SENTENCES).format(*rng.sample(people, 2)) for _ in range(5)).split()
        row[: len(words)] = torch.tensor([NUMBER[word] for word in words])
    return rows


def losses(model: DecoderLM, rows: Tensor) -> Tensor:
    """The nats of every word but the first; 0 for filler."""
    logits = model(rows[:, :-1].clamp(min=0))
    return F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], ignore_index=-100, reduction="none")


class Even:
    """Attention in which one head weighs all words alike that it may see."""

    def __init__(self, head: int) -> None:
        self.head = head

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Any = None, **_: Any) -> Tensor:
        weights = attention_weights(q, k, mask=mask).clone()
        weights[:, self.head] = attention_weights(0 * q, k, mask=mask)[:, self.head]
        return weights @ v


@torch.no_grad()
def measured(model: DecoderLM, rows: Tensor) -> dict[str, float]:
    x = rows[:, :-1].clamp(min=0)
    name = torch.isin(x, torch.tensor([NUMBER[w] for w in FIRST])) & (rows[:, 1:] >= 0)
    surname = torch.isin(x, torch.tensor([NUMBER[w] for w in LAST])) & (rows[:, :-1] >= 0)
    same = (x[:, :, None] == x[:, None, :]).tril(-1) & name[:, :, None]
    again, new = same.any(-1), name & ~same.any(-1)
    found = losses(model, rows)
    scores = {"again": found[again].mean().item(), "new": found[new].mean().item()}
    if len(model.blocks) == 1:
        return scores
    with record_attention(model) as looks:
        model(x)
    below, above = (look.weights for look in looks)
    before = below.diagonal(-1, -2, -1)[:, :, :].transpose(1, 2)[surname[:, 1:]].mean(0)
    right = (above[..., 1:] * same[:, None, :, :-1]).sum(-1).transpose(1, 2)[again].mean(0)
    scores |= {"looks before": before.max().item(), "looks at the surname": right.max().item()}
    for layer, best in ((0, int(before.argmax())), (1, int(right.argmax()))):
        for head in range(2):
            attention: Any = model.blocks[layer].attention
            attention.attend = Even(head)
            rise = losses(model, rows)[again].mean().item() - scores["again"]
            del attention.attend
            place = ("lower", "upper")[layer]
            scores[f"without the {'named' if head == best else 'other'} {place} head"] = rise
    return scores


def run(seed: int, rate: float, layers: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    config = ModelConfig(
        vocab_size=len(WORDS),
        d_model=64,
        num_layers=layers,
        max_length=LONGEST,
        attention=AttentionConfig(num_heads=2),
        feedforward=Mlp(d_ff=64),
        positions=Rope(),
        tie_embeddings=False,
    )
    model, steps = DecoderLM(config), 1000
    data = passages(steps * BATCH, 1000 + seed).view(steps, BATCH, LONGEST)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min((step + 1) / 20, (steps - step) / (0.3 * steps), 1)
        found = losses(model, data[step])
        optimiser.zero_grad()
        (found.sum() / (data[step, :, 1:] >= 0).sum()).backward()
        optimiser.step()
    chosen = losses(model, choice := passages(300, 998))
    return {"choice": (chosen.sum() / (choice[:, 1:] >= 0).sum()).item(), **measured(model, passages(300, 999))}


EXPERIMENT = Experiment(
    arms={"one layer": {"layers": 1}, "two layers": {"layers": 2}},
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.0025, 0.005, 0.01),
    chosen_by="choice",
)
