"""Associative recall as a small training: names get values, some get a second one, and then some are asked for.

A text is a program of the toy world (`data.toy`): `b=2 d=0 a=1 d=3 a? d?`. Each name is assigned once, half of them
again, and at the end up to eight names are asked for. Since one token holds a name and its value, no layer has to join
two tokens before it can remember them. Texts have from 2 to 16 names, and the models of one comparison learn all four
sizes. Tokens, and a target at every question, are as in `data.toy`.
"""

import math

import torch
from torch import Tensor, nn

from transformer_lib.checks import require, require_between, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.toy import Programs
from transformer_lib.training import token_loss

NAMES, VALUES = 16, 4
PAIRS = (2, 4, 8, 16)  # names of a text
ASKED = 8  # at most
LONGEST = 16 + 8 + ASKED  # tokens
CHOICE, REPORT = 998, 999  # seeds of the texts that a rate is chosen by, and of those that are reported


@checked
def recall_texts(rows: int, pairs: int, seed: int) -> Programs:
    """Programs of `pairs` names: all are assigned, then half of them again, then at most eight are asked for."""
    require_positive(rows=rows)
    require_between(1, NAMES, pairs=pairs)
    generator = torch.Generator().manual_seed(seed)

    def order(of: Tensor) -> Tensor:
        return of.gather(1, torch.rand(of.shape, generator=generator).argsort(1))

    first = order(torch.arange(NAMES).expand(rows, -1))[:, :pairs]
    name = torch.cat([first, order(first)[:, : pairs // 2]], dim=1)
    asked = order(first)[:, :ASKED]
    value = torch.randint(VALUES, name.shape, generator=generator)
    same = asked[:, :, None] == name[:, None]
    newest = (same * torch.arange(1, name.shape[1] + 1)).argmax(-1)
    tokens = torch.cat([name * VALUES + value, NAMES * VALUES + asked], dim=1)
    targets, reassigned = torch.full_like(tokens, -100), torch.zeros_like(tokens, dtype=torch.bool)
    targets[:, name.shape[1] :] = value.gather(1, newest)
    reassigned[:, name.shape[1] :] = same.sum(-1) > 1
    return Programs(tokens, targets, reassigned)


@checked
def learn_recall(model: nn.Module, *, rate: float, seed: int, steps: int = 350, batch: int = 48) -> list[float]:
    """Train `model` in place on texts of all sizes in turn, and give the loss of every step in nats.

    AdamW; the rate rises over a tenth of the steps, stays, and falls to 0 over the last three tenths. Gradients are
    clipped to length 1. Training ends when a loss is no longer finite.
    """
    require_positive(steps=steps, batch=batch)
    require(rate > 0 and math.isfinite(rate), "rate", "must be positive and finite", rate)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    losses: list[float] = []
    for step in range(steps):
        text = recall_texts(batch, PAIRS[step % len(PAIRS)], seed * 10_000 + step + 1000)
        up, down = (step + 1) / (0.1 * steps), (steps - step) / (0.3 * steps)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, up, down)
        loss = token_loss(model(text.tokens), text.targets).mean()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return losses


@checked
@torch.no_grad()
def recall_scores(model: nn.Module, *, rows: int = 256) -> dict[str, float]:
    """Loss on texts to choose by (`choice`), and on others the share of right answers for each number of names.

    `once 16` counts questions about names that were assigned once, in texts of 16 names; `again 16` those about names
    with a second value. NaN where the model's output is.
    """
    found, chosen = dict[str, float](), list[float]()
    for pairs in PAIRS:
        text = recall_texts(rows, pairs, CHOICE)
        chosen.append(token_loss(model(text.tokens), text.targets).mean().item())
        text = recall_texts(rows, pairs, REPORT)
        scores = model(text.tokens)
        right, asked = scores.argmax(-1) == text.targets, text.targets >= 0
        finite = bool(scores.isfinite().all())
        for name, group in (("once", asked & ~text.reassigned), ("again", asked & text.reassigned)):
            found[f"{name} {pairs}"] = right[group].float().mean().item() if finite else math.nan
    return {"choice": sum(chosen) / len(chosen), **found}
