"""How many symbols fit into the last state of a recurrent network, and what does attention to all its states change?

A network of two GRUs of width 32 writes a row of 2 to 10 symbols backwards. The second GRU starts from the last state
of the first; with attention it also looks at all of them. Each has 300 or 3,000 steps, and its rate tuned alike. `4`,
`8`, `10`, `12` and `16` are the shares of symbols written rightly in rows of so many; rows of more than 10 were never
seen.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.runs.experiment import Experiment
from transformer_lib.training import warmup_cosine

SYMBOLS, WIDTH, BATCH = 10, 32, 64
LENGTHS = (4, 8, 10, 12, 16)
CHOICE, REPORT = 98, 99  # seeds of the rows that a rate is chosen by, and of those that are reported


class Reverser(nn.Module):
    """An encoder and a decoder; the decoder may look at all states of the encoder."""

    def __init__(self, attends: bool) -> None:
        super().__init__()
        self.attends = attends
        self.embed = nn.Embedding(SYMBOLS + 1, WIDTH)
        self.encoder = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.decoder = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.from_g = nn.Linear(WIDTH, WIDTH, bias=False)
        self.from_h = nn.Linear(WIDTH, WIDTH, bias=False)
        self.score = nn.Linear(WIDTH, 1, bias=False)
        self.out = nn.Linear(2 * WIDTH, SYMBOLS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        h, last = self.encoder(self.embed(source))
        g, _ = self.decoder(self.embed(target), last)
        if not self.attends:
            return self.out(torch.cat([g, g], dim=-1))
        pairs = self.from_g(g)[:, :, None] + self.from_h(h)[:, None]
        weights = self.score(torch.tanh(pairs)).squeeze(-1).softmax(dim=-1)
        return self.out(torch.cat([g, weights @ h], dim=-1))


def rows_of(length: int, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of symbols, what the decoder reads before each symbol it writes, and what it should write."""
    x = torch.randint(SYMBOLS, (number, length), generator=generator)
    y = x.flip(1)
    return x, F.pad(y[:, :-1], (1, 0), value=SYMBOLS), y


@torch.no_grad()
def share_right(model: nn.Module, length: int, seed: int) -> tuple[float, float]:
    x, before, y = rows_of(length, 512, torch.Generator().manual_seed(seed))
    logits = model(x, before)
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten()).item()
    return (logits.argmax(-1) == y).float().mean().item(), loss


def run(seed: int, rate: float, attends: bool, steps: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = Reverser(attends)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    for step in range(1, steps + 1):
        length = int(torch.randint(2, 11, (), generator=generator))
        x, before, y = rows_of(length, BATCH, generator)
        loss = F.cross_entropy(model(x, before).flatten(0, 1), y.flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = warmup_cosine(step, warmup=steps // 10, total=steps, peak=rate)
        optimiser.step()
    choice = sum(share_right(model, length, CHOICE)[1] for length in (4, 8, 10)) / 3
    return {"choice": choice} | {str(length): share_right(model, length, REPORT)[0] for length in LENGTHS}


EXPERIMENT = Experiment(
    arms={
        f"{'with attention' if attends else 'last state only'}, {steps} steps": {"attends": attends, "steps": steps}
        for steps in (300, 3000)
        for attends in (False, True)
    },
    run=run,
    rates=(0.0025, 0.005, 0.01, 0.02),
    chosen_by="choice",
)
