"""Does it matter for addition how a tokenizer cuts a number?

Sums of two numbers of three digits, `412+937=1349;`. The digits stand alone, in pairs counted from the left (`41 2`,
`13 49`) or in pairs counted from the right (`4 12`, `13 49`); the pairs stand for the chunks of three of large models.
All else is the same: the model, its vocabulary of all digits and pairs, the sums that it sees, in their order, and the
number of steps. A sum is longer in digits than in pairs, so a step costs more computation with digits.

Only the answer counts for the loss. `right` is the share of 2,000 sums whose whole answer is the most likely one;
`short` and `long` are the same for answers of three and of four digits. `choice` is the loss of a sum in nats, on
others. No pair of numbers that is measured was trained on.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.training import token_loss

NAMES = [*map(str, range(10)), *(f"{n:02d}" for n in range(100)), "+", "=", ";"]
IDS = {name: i for i, name in enumerate(NAMES)}
STEPS, BATCH, LENGTH = 1000, 64, 12
CONFIG = ModelConfig(
    vocab_size=len(NAMES),
    d_model=64,
    num_layers=2,
    max_length=LENGTH,
    attention=AttentionConfig(num_heads=4),
    feedforward=Mlp(d_ff=256),
    positions=Learned(),
    tie_embeddings=False,
)


def cut(number: int, way: str) -> list[str]:
    digits = str(number)
    if way == "digits":
        return list(digits)
    first = len(digits) % 2 if way == "right" else 0
    head = [digits[:first]] if first else []
    return head + [digits[i : i + 2] for i in range(first, len(digits), 2)]


def rows(pairs: Sequence[tuple[int, int]], way: str) -> tuple[Tensor, Tensor]:
    """Inputs, and targets that are the answer and the sign after it."""
    texts = [([*cut(a, way), "+", *cut(b, way), "="], [*cut(a + b, way), ";"]) for a, b in pairs]
    time = max(len(asked) + len(answer) for asked, answer in texts) - 1
    inputs, targets = torch.full((len(pairs), time), IDS[";"]), torch.full((len(pairs), time), -100)
    for i, (asked, answer) in enumerate(texts):
        ids = torch.tensor([IDS[name] for name in asked + answer])
        inputs[i, : len(ids) - 1] = ids[:-1]
        targets[i, len(asked) - 1 : len(ids) - 1] = ids[len(asked) :]
    return inputs, targets


def deal(count: int, part: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Pairs of one of eleven parts: 0 is chosen by, 1 reported, all others (with -1) are trained on."""
    found: list[tuple[int, int]] = []
    while len(found) < count:
        drawn = torch.randint(100, 1000, (count, 2), generator=generator).tolist()
        for a, b in drawn:
            own = (a * 1009 + b) % 11
            if own == part or (part < 0 and own > 1):
                found.append((a, b))
    return found[:count]


@torch.no_grad()
def scores(model: DecoderLM, way: str) -> dict[str, float]:
    chosen, reported = (deal(2000, part, torch.Generator().manual_seed(999)) for part in (0, 1))
    inputs, targets = rows(chosen, way)
    loss = token_loss(model(inputs), targets).total.item() / len(chosen)
    inputs, targets = rows(reported, way)
    right = ((model(inputs).argmax(-1) == targets) | (targets < 0)).all(dim=1).float()
    long = torch.tensor([a + b >= 1000 for a, b in reported])
    parts = {"right": right, "short": right[~long], "long": right[long]}
    return {"choice": loss} | {name: part.mean().item() for name, part in parts.items()}


def run(seed: int, rate: float, way: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model, generator = DecoderLM(CONFIG), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
    for step in range(STEPS):
        up, down = (step + 1) / (STEPS / 10), (STEPS - step) / (0.3 * STEPS)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, up, down)
        inputs, targets = rows(deal(BATCH, -1, generator), way)
        loss = token_loss(model(inputs), targets).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return scores(model, way)


EXPERIMENT = Experiment(
    arms={
        "digit by digit": {"way": "digits"},
        "pairs from the left": {"way": "left"},
        "pairs from the right": {"way": "right"},
    },
    run=run,
    rates=(0.002, 0.004, 0.008),
    chosen_by="choice",
)
