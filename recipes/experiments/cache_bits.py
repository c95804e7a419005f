"""What does a trained model lose when its cache is kept in fewer bits, and which numbers must share a scale?

Small decoders learn programs of 12 names, where every question asks for one earlier statement (`recall`), or the source
of Python's standard library (`text`). The latter keep less in two ways, with equal weights and rates tuned alike: keys
and values of one head in the place of four (`multi-query`), or one latent of as many bytes (`latent`).

Each trained model is then measured with its cache rounded: `full` is its loss as it was, and every other measure the
rise of that loss, in nats, with the same weights on the same tokens. 32 numbers share a minimum and a step: those of
one token (`by token`), or those of one channel in 32 tokens in a row (`by channel`); `4 bits` rounds keys by channel
and values by token. The newest tokens, whose 32 are not complete, stay as they are. `dropped` hides all that the other
measures round. `planted` multiplies two channels of all keys by 16 and divides those of the queries, `rotated` turns
both by a Hadamard matrix: neither changes a score until something is rounded.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, LatentAttention, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.packing import held_out_batches
from transformer_lib.data.toy import programs
from transformer_lib.models import DecoderLM
from transformer_lib.nn import Attention
from transformer_lib.nn.latent import LatentMixer
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import learn_text, start_as_pytorch, streams
from transformer_lib.training import token_loss

V, CONTEXT, SHARE, PLANTED = 512, 64, 32, 16.0
NAMES, VALUES = 12, 8  # of the programs
HEADS, WIDTH = 4, 32
CHOICE_SEEDS = (100,)
MULTI_HEAD = AttentionConfig(num_heads=HEADS, head_dim=WIDTH)
BASE = ModelConfig(
    vocab_size=V,
    d_model=64,
    num_layers=2,
    max_length=CONTEXT,
    attention=MULTI_HEAD,
    feedforward=SwiGlu(d_ff=160),
    positions=Rope(),
    norm=Norm(kind="rms"),
)
LATENT = LatentAttention(num_heads=HEADS, head_dim=WIDTH, rope_dim=16, value_dim=WIDTH, kv_rank=48)
KINDS = {  # the feed-forward parts take up what attention saves, so that all have as many weights
    "multi-head": {},
    "multi-query": {"attention": replace(MULTI_HEAD, num_kv_heads=1), "feedforward": SwiGlu(d_ff=224)},
    "latent": {"attention": LATENT, "feedforward": SwiGlu(d_ff=138)},
}


# Rounding -------------------------------------------------------------------------------------------------------------


def rounded(x: Tensor, bits: int, axis: str) -> Tensor:
    """x in 2^bits even steps from the least to the greatest of each 32 numbers of a token or of a channel."""
    dim = -1 if axis == "token" else -2
    if x.shape[dim] % SHARE:  # the tokens of an incomplete group are not looked at
        x = F.pad(x, (0, 0, 0, -x.shape[dim] % SHARE))
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
    scale: float | None = None,
    **rest: Any,
) -> Tensor:
    """Causal attention that sees rounded keys and values, but for those of the query's own 32 tokens."""
    time, shared = q.shape[2], q.shape[1] // k.shape[1]
    if planted:
        factor = torch.ones(q.shape[-1])
        factor[[WIDTH // 2 - 1, WIDTH - 1]] = PLANTED  # the two that RoPE turns together, and slowest
        q, k = q / factor, k * factor
    if turned:
        q, k = q @ hadamard(WIDTH), k @ hadamard(WIDTH)
    near_k = k.repeat_interleave(shared, 1)
    far_k = near_k if keys is None else rounded(k, *keys)[:, :, :time].repeat_interleave(shared, 1)
    near_v = v.repeat_interleave(shared, 1)
    far_v = near_v if values is None else rounded(v, *values)[:, :, :time].repeat_interleave(shared, 1)
    at = torch.arange(time)
    far = at < at[:, None] // SHARE * SHARE  # in groups that were complete before the query came
    scores = torch.where(far, q @ far_k.mT, q @ near_k.mT) * (scale or 1 / math.sqrt(q.shape[-1]))
    hidden = (at > at[:, None]) | (far & dropped)
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return (weights * far) @ far_v + (weights * ~far) @ near_v


def attend_entries(q: Tensor, k: Tensor, v: Tensor, *, both: tuple[int, str], **rest: Any) -> Tensor:
    """The same for absorbed latent attention, whose values are the first numbers of its keys."""
    time, rank = q.shape[2], v.shape[-1]
    kept = rounded(k, *both)[:, :, :time]
    at = torch.arange(time)
    far = at < at[:, None] // SHARE * SHARE
    scores = torch.where(far, q @ kept.mT, q @ k.mT) * rest["scale"]
    weights = scores.masked_fill(at > at[:, None], -torch.inf).softmax(-1)
    return (weights * far) @ kept[..., :rank] + (weights * ~far) @ v


def formats(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each way of rounding by name, and what it asks of `attend_rounded` or `attend_entries`."""
    if kind != "latent":
        yield "dropped", {"dropped": True}
    for bits in (8, 4, 3, 2):
        if kind == "latent":
            for axis in ("token", "channel"):
                yield f"{bits} bits, by {axis}", {"both": (bits, axis)}
            continue
        yield f"{bits} bits", {"keys": (bits, "channel"), "values": (bits, "token")}
        if kind != "multi-head":
            continue
        for axis in ("channel", "token"):
            yield f"keys {bits}, by {axis}", {"keys": (bits, axis)}
            yield f"values {bits}, by {axis}", {"values": (bits, axis)}
            yield f"planted keys {bits}, by {axis}", {"keys": (bits, axis), "planted": True}
        yield f"keys {bits}, by token, rotated", {"keys": (bits, "token"), "turned": True}
        yield f"planted keys {bits}, by token, rotated", {"keys": (bits, "token"), "planted": True, "turned": True}


def attend_with(model: nn.Module, attend: Callable[..., Tensor] | None) -> None:
    """Let every attention of the model use `attend`, or its own again."""
    for module in model.modules():
        if isinstance(module, Attention | LatentMixer):
            if attend is None:
                vars(module).pop("attend", None)
                vars(module).pop("forward", None)
            else:
                module.attend = attend  # type: ignore[method-assign]
                if isinstance(module, LatentMixer):
                    module.forward = partial(type(module).forward, module, form="absorbed")  # type: ignore[method-assign]


# Two tasks ------------------------------------------------------------------------------------------------------------


@cache
def windows(part: str) -> tuple[Tensor, Tensor]:
    """Inputs and targets of 64 held-out windows; only the second half of each counts, where much has been rounded."""
    batch = next(iter(held_out_batches(getattr(streams(V), part), batch=64, context=CONTEXT)))
    targets = batch.targets.clone()
    targets[:, : CONTEXT // 2] = -100
    return batch.inputs, targets


@cache
def asked(seed: int) -> tuple[Tensor, Tensor]:
    """Programs, and the answers to the questions in their second half."""
    generator = torch.Generator().manual_seed(seed)
    data = programs(96, CONTEXT, names=NAMES, values=VALUES, generator=generator)
    targets = data.targets.clone()
    targets[:, : CONTEXT // 2] = -100
    return data.tokens, targets


def seen_before(tokens: Tensor, targets: Tensor) -> Tensor:
    """Where the pair of a token and the one after it stood in the same window before."""
    pairs = tokens * V + targets.where(targets >= 0, 0)
    follow = tokens[:, :-1] * V + tokens[:, 1:]
    earlier = torch.arange(CONTEXT - 1) < torch.arange(CONTEXT)[:, None]  # a pair ends where its next begins
    return ((pairs[:, :, None] == follow[:, None]) & earlier).any(-1) & (targets >= 0)


def learn_recall(model: nn.Module, *, rate: float, seed: int, steps: int, batch: int = 16) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99))
    data = programs(steps * batch, CONTEXT, names=NAMES, values=VALUES, generator=generator)
    tokens, targets = (part.view(steps, batch, CONTEXT) for part in data[:2])
    for step in range(steps):
        up, down = (step + 1) / (0.1 * steps), (steps - step) / (0.3 * steps)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, up, down)
        optimiser.zero_grad()
        token_loss(model(tokens[step]), targets[step]).mean().backward()
        optimiser.step()


@torch.no_grad()
def nats_of(model: nn.Module, tokens: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """The loss at every place that counts, and the share of right answers."""
    scores = model(tokens)
    losses = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=-100)
    counts = targets >= 0
    return losses.view_as(targets)[counts], (scores.argmax(-1) == targets)[counts].float().mean().item()


def run(seed: int, rate: float, task: str, kind: str, steps: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    config = replace(BASE, **KINDS[kind])
    vocabulary = V if task == "text" else NAMES * (VALUES + 1)
    model = DecoderLM(replace(config, vocab_size=vocabulary, tie_embeddings=False))
    start_as_pytorch(model)
    if task == "text":
        learn_text(model, streams(V), rate=rate, seed=seed, steps=steps, batch=8, context=CONTEXT)
        chosen, reported = windows("choice"), windows("test")
    else:
        learn_recall(model, rate=rate, seed=seed, steps=steps)
        chosen, reported = asked(998), asked(999)
    model.eval()
    attend_with(model, None)
    full, right = nats_of(model, *reported)
    weights = sum(weight.numel() for weight in model.parameters())
    measured = {"choice": nats_of(model, *chosen)[0].mean(), "full": full.mean(), "weights": weights}
    if task == "recall":
        measured["right"] = right
    if seed in CHOICE_SEEDS:  # seeds that only choose a rate
        return measured
    again = seen_before(*reported)[reported[1] >= 0] if task == "text" else None
    for name, asks in formats(kind):
        attend_with(model, partial(attend_entries if kind == "latent" else attend_rounded, **asks))
        losses, right = nats_of(model, *reported)
        measured[name] = (losses - full).mean()
        if task == "recall":
            measured[f"right with {name}"] = right
        elif name.endswith("bits"):
            measured[f"{name}, pairs seen before"] = (losses - full)[again].mean()
            measured[f"{name}, new pairs"] = (losses - full)[~again].mean()
    return measured


EXPERIMENT = Experiment(
    arms={
        f"{task}, {kind}": {"task": task, "kind": kind, "steps": 300}
        for task, kind in (
            ("recall", "multi-head"),
            ("text", "multi-head"),
            ("text", "latent"),
            ("text", "multi-query"),
        )
    },
    run=run,
    seeds=(0, 1, 2),
    rates=(0.0025, 0.005, 0.01),
    chosen_by="choice",
    choice_seeds=CHOICE_SEEDS,
    data=lambda: (streams(V).train, streams(V).test),
)
