"""What does fine-tuning save, and what does it forget?

A small decoder learns walks around a clock of twelve hours, with steps of 3, 7 and 10. Then it gets 8 batches of 16
texts of another walk: a near one, of which only one step is new (3, 7 and 11), or a far one (5, 6 and 11). It starts
from scratch or from the trained model, and trains all weights, or a correction of rank 4 beside each matrix of the
blocks; in one arm half of every batch is old texts. The rate is tuned on new texts. Measured is the loss on other new
texts and on old ones, in nats; a perfect predictor has 0.898 on each.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.training import adamw, token_loss

MODEL = ModelConfig(
    vocab_size=12,
    d_model=32,
    num_layers=2,
    max_length=32,
    attention=AttentionConfig(num_heads=4),
    feedforward=Mlp(d_ff=64),
    positions=Rope(),
)
OLD = torch.tensor([3, 7, 10])
NEW = {"near": torch.tensor([3, 7, 11]), "far": torch.tensor([5, 6, 11])}
CHANCES = torch.tensor([0.6, 0.3, 0.1])
BEFORE, STEPS, ROWS, RANK = 200, 8, 16, 4


def walks(rows: int, steps: Tensor, seed: int) -> Tensor:
    """Texts of 33 hours."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(12, (rows, 1), generator=generator)
    jumps = torch.multinomial(CHANCES.expand(rows, 3), 32, True, generator=generator)
    return torch.cat([first, steps[jumps]], dim=1).cumsum(dim=1) % 12


class LowRank(nn.Module):
    """A matrix that stays, plus the product of two thin ones that are trained and begin at 0."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, weight.shape[1]) / weight.shape[1] ** 0.5)
        self.up = nn.Parameter(torch.zeros(weight.shape[0], RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def practise(model: DecoderLM, texts: Tensor, rate: float) -> None:
    """A step for every 16 texts; the rate rises over a tenth of them and falls to 0 over the last third."""
    batches = texts.split(ROWS)
    optimiser = adamw(model)
    for step, x in enumerate(batches):
        up, down = (step + 1) / max(1, len(batches) // 10), (len(batches) - step) / max(1, len(batches) // 3)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, up, down)
        loss = token_loss(model(x[:, :-1]), x[:, 1:]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def loss_on(model: DecoderLM, texts: Tensor) -> float:
    return float(token_loss(model(texts[:, :-1]), texts[:, 1:]).mean())


@cache
def trained_weights(seed: int) -> dict[str, Tensor]:
    """The model that has learned the old walk: the same for all arms of a seed."""
    torch.manual_seed(seed)
    model = DecoderLM(MODEL)
    practise(model, walks(BEFORE * ROWS, OLD, seed), 1e-2)
    return model.state_dict()


def run(seed: int, rate: float, start: str, trained: str, old: bool, new: str) -> dict[str, Any]:
    known = trained_weights(seed) if start == "trained" else None
    torch.manual_seed(seed)
    model = DecoderLM(MODEL)
    if known is not None:
        model.load_state_dict(known)
    if trained == "rank":
        model.requires_grad_(False)
        for module in model.blocks.modules():
            if isinstance(module, nn.Linear):
                parametrize.register_parametrization(module, "weight", LowRank(module.weight))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith((".down", ".up")))
    texts = walks(STEPS * ROWS, NEW[new], 1000 + seed).view(STEPS, ROWS, 33)
    if old:
        half = ROWS // 2
        texts[:, :half] = walks(STEPS * half, OLD, 2000 + seed).view(STEPS, half, 33)
    practise(model, texts.flatten(0, 1), rate)
    # A rate is chosen under seeds of its own, and so on other texts than those reported.
    return {
        "new": loss_on(model, walks(256, NEW[new], 3000 + seed)),
        "old": loss_on(model, walks(256, OLD, 4000 + seed)),
    }


EXPERIMENT = Experiment(
    arms={
        f"{new} walk, {name}": {"start": start, "trained": trained, "old": old, "new": new}
        for new in NEW
        for name, start, trained, old in (
            ("from scratch", "fresh", "all", False),
            ("all weights", "trained", "all", False),
            ("all weights, half old texts", "trained", "all", True),
            ("rank 4", "trained", "rank", False),
        )
    },
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.002, 0.004, 0.008, 0.016, 0.032),
    chosen_by="new",
    choice_seeds=(100, 101, 102),
)
