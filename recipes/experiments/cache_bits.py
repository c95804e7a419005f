"""What does a trained model lose when its keys and values are kept in fewer bits, and which numbers must share a scale?

Small decoders learn programs of 12 names and 64 statements, where every question asks for one earlier statement. Each
trained model is then measured with its cache rounded: `full` is its loss as it was, and every other measure the rise of
that loss, in nats, with the same weights on the same tokens. 32 numbers share a minimum and a step: those of one token
in one head (`by token`), or those of one channel in 32 tokens in a row (`by channel`). The newest tokens, whose 32 are
not complete, stay as they are; so only questions in the second half of a program count. `dropped` hides all that the
other measures round. `planted` multiplies two channels of all keys by 16 and divides those of the queries, `rotated`
turns both by a Hadamard matrix: neither changes a score until something is rounded.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.toy import programs
from transformer_lib.models import DecoderLM
from transformer_lib.nn import Attention
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import start_as_pytorch
from transformer_lib.training import token_loss

NAMES, VALUES, TIME = 12, 8, 64  # of the programs
SHARE, PLANTED, WIDTH, STEPS, BATCH = 32, 16.0, 32, 300, 16
CHOICE_SEEDS = (100,)
CONFIG = ModelConfig(
    vocab_size=NAMES * (VALUES + 1),
    d_model=64,
    num_layers=2,
    max_length=TIME,
    attention=AttentionConfig(num_heads=4, head_dim=WIDTH),
    feedforward=SwiGlu(d_ff=160),
    positions=Rope(),
    norm=Norm(kind="rms"),
    tie_embeddings=False,
)


# Rounding -------------------------------------------------------------------------------------------------------------


def rounded(x: Tensor, bits: int, axis: str) -> Tensor:
    """x in 2^bits even steps from the least to the greatest of each 32 numbers of a token or of a channel."""
    dim = -1 if axis == "token" else -2
    groups = x.unflatten(dim, (-1, SHARE))
    low, high = groups.amin(dim, keepdim=True), groups.amax(dim, keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp(min=1e-12)
    return (low + ((groups - low) / step).round() * step).flatten(dim - 1, dim)


def hadamard(size: int) -> Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)


def attend_rounded(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    keys: tuple[int, str] | None = None,
    values: tuple[int, str] | None = None,
    planted: bool = False,
    turned: bool = False,
    dropped: bool = False,
    **rest: Any,
) -> Tensor:
    """Causal attention that sees rounded keys and values, but for those of the query's own 32 tokens."""
    if planted:
        factor = torch.ones(WIDTH)
        factor[[WIDTH // 2 - 1, WIDTH - 1]] = PLANTED  # the two that RoPE turns together, and slowest
        q, k = q / factor, k * factor
    if turned:
        q, k = q @ hadamard(WIDTH), k @ hadamard(WIDTH)
    far_k = k if keys is None else rounded(k, *keys)
    far_v = v if values is None else rounded(v, *values)
    at = torch.arange(TIME)
    far = at < at[:, None] // SHARE * SHARE  # in groups that were complete before the query came
    scores = torch.where(far, q @ far_k.mT, q @ k.mT) / math.sqrt(WIDTH)
    hidden = (at > at[:, None]) | (far & dropped)
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return (weights * far) @ far_v + (weights * ~far) @ v


def formats() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each way of rounding by name, and what it asks of `attend_rounded`."""
    yield "dropped", {"dropped": True}
    for bits in (8, 4, 3, 2):
        yield f"keys {bits} by channel, values by token", {"keys": (bits, "channel"), "values": (bits, "token")}
        for axis in ("channel", "token"):
            yield f"keys {bits}, by {axis}", {"keys": (bits, axis)}
            yield f"values {bits}, by {axis}", {"values": (bits, axis)}
            yield f"planted keys {bits}, by {axis}", {"keys": (bits, axis), "planted": True}
        turned = {"keys": (bits, "token"), "turned": True}
        yield f"keys {bits}, by token, rotated", turned
        yield f"planted keys {bits}, by token, rotated", turned | {"planted": True}


def attend_with(model: nn.Module, attend: Callable[..., Tensor]) -> None:
    """Let every attention of the model use `attend`."""
    for module in model.modules():
        if isinstance(module, Attention):
            module.attend = attend  # type: ignore[method-assign]


# The task -------------------------------------------------------------------------------------------------------------


@cache
def asked(seed: int) -> tuple[Tensor, Tensor]:
    """Programs, and the answers to the questions in their second half."""
    data = programs(96, TIME, names=NAMES, values=VALUES, generator=torch.Generator().manual_seed(seed))
    targets = data.targets.clone()
    targets[:, : TIME // 2] = -100
    return data.tokens, targets


def learn(model: nn.Module, *, rate: float, seed: int) -> None:
    """AdamW; the rate rises over a tenth of the steps, stays, and falls to 0 over the last three tenths."""
    generator = torch.Generator().manual_seed(seed)
    data = programs(STEPS * BATCH, TIME, names=NAMES, values=VALUES, generator=generator)
    tokens, targets = (part.view(STEPS, BATCH, TIME) for part in data[:2])
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99))
    for step in range(STEPS):
        up, down = (step + 1) / (0.1 * STEPS), (STEPS - step) / (0.3 * STEPS)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, up, down)
        optimiser.zero_grad()
        token_loss(model(tokens[step]), targets[step]).mean().backward()
        optimiser.step()


@torch.no_grad()
def scores_of(model: nn.Module, tokens: Tensor, targets: Tensor) -> tuple[float, float]:
    """The loss in nats, and the share of right answers."""
    scores = model(tokens)
    right = (scores.argmax(-1) == targets)[targets >= 0].float().mean().item()
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten()).item(), right


def run(seed: int, rate: float) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    start_as_pytorch(model)
    learn(model, rate=rate, seed=seed)
    model.eval()
    full, right = scores_of(model, *asked(999))
    weights = sum(weight.numel() for weight in model.parameters())
    measured = {"choice": scores_of(model, *asked(998))[0], "full": full, "right": right, "weights": weights}
    if seed not in CHOICE_SEEDS:
        for name, asks in formats():
            attend_with(model, partial(attend_rounded, **asks))
            measured[name] = scores_of(model, *asked(999))[0] - full
    return measured


EXPERIMENT = Experiment(
    arms={"recall": {}},
    run=run,
    seeds=(0, 1, 2),
    rates=(0.0025, 0.005, 0.01),
    chosen_by="choice",
    choice_seeds=CHOICE_SEEDS,
)
