"""Small trainings that experiments and chapters share: one on programs with something to look up, one on real text.

Both take a few seconds, so many can be compared. Each has three parts that do not overlap: what is trained on, what a
learning rate may be chosen by, and what is reported.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.corpora import Document, stdlib_source
from transformer_lib.data.packing import held_out_batches, pack
from transformer_lib.data.toy import Programs, programs
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training import Record, TrainConfig, evaluate, token_loss, train, warmup_cosine

END = "<|end|>"
NAMES, VALUES, TIME = 4, 4, 12  # of the programs
CHOICE, REPORT = 998, 999  # seeds of the programs that a rate is chosen by, and of those that are reported


# Programs -------------------------------------------------------------------------------------------------------------


@checked
def deal(rows: int, seed: int, *, time: int = TIME) -> Programs:
    """Programs of four names and four values, `time` statements each: what `learn_programs` trains on."""
    return programs(rows, time, names=NAMES, values=VALUES, generator=torch.Generator().manual_seed(seed))


@checked
def learn_programs(
    model: nn.Module,
    *,
    rate: float,
    seed: int,
    steps: int = 120,
    batch: int = 32,
    warmup: int | None = None,
) -> list[float]:
    """Train `model` in place to answer the questions of programs, and give the loss of every step in nats.

    AdamW; the rate rises over `warmup` steps (a sixth of all if None), stays, and falls to 0 over the last three
    tenths. Training ends when a loss is no longer finite.
    """
    require_positive(steps=steps, batch=batch)
    require(rate > 0 and math.isfinite(rate), "rate", "must be positive and finite", rate)
    rise = steps // 6 if warmup is None else warmup
    require(0 <= rise <= steps, "warmup", f"must be from 0 to {steps} steps", warmup)
    data = deal(steps * batch, seed)
    tokens, targets = (part.view(steps, batch, TIME) for part in data[:2])
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    losses: list[float] = []
    for step in range(steps):
        up, down = (step + 1) / max(rise, 1), (steps - step) / (0.3 * steps)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, up, down)
        loss = token_loss(model(tokens[step]), targets[step]).mean()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return losses


@checked
@torch.no_grad()
def program_scores(model: nn.Module, *, time: int = TIME, first: int = 0, rows: int = 512) -> dict[str, float]:
    """Loss on programs to choose by (`choice`), and the share of right answers on others (`once`, `reassigned`).

    `once` counts questions about names assigned once, `reassigned` those about names assigned more often; of programs
    of `time` statements only questions from the statement `first` on count. NaN where the model's output is.
    """
    require(0 <= first < time, "first", f"must be from 0 to {time - 1}", first)
    chosen, data = deal(rows, CHOICE), deal(rows, REPORT, time=time)
    scores = model(data.tokens)
    right = scores.argmax(-1) == data.targets
    asked = (data.targets >= 0) & (torch.arange(time) >= first)
    finite = bool(scores.isfinite().all())
    groups = {"once": asked & ~data.reassigned, "reassigned": asked & data.reassigned}
    shares = {name: right[group].float().mean().item() if finite else math.nan for name, group in groups.items()}
    return {"choice": token_loss(model(chosen.tokens), chosen.targets).mean().item(), **shares}


# Text -----------------------------------------------------------------------------------------------------------------


@checked
@dataclass(frozen=True)
class Streams:
    """The source of Python's standard library as tokens: to train on, to choose by, and to report.

    `test` holds the files that `corpora.stdlib_source("small")` holds out, and `choice` those that only
    `stdlib_source("full")` holds out, so nobody trains on them either way.
    """

    tokenizer: Tokenizer
    train: Int[Tensor, "train"]
    choice: Int[Tensor, "choice"]
    test: Int[Tensor, "test"]
    bytes_per_token: float  # of the test


@cache
@checked
def streams(vocab_size: int = 1024, size: Literal["small", "full"] = "small") -> Streams:
    """The streams with a tokenizer that is trained on the training files of the small corpus; made once a process."""
    small, full = stdlib_source("small"), stdlib_source("full")
    tokenizer = Tokenizer.train([document.text for document in small.train], vocab_size, [END])
    separator = tokenizer.special_tokens[END]

    def stream(documents: tuple[Document, ...]) -> Tensor:
        return pack(tokenizer.encode_batch(document.text for document in documents), separator)

    test = stream(small.held_out)
    held = {document.name for document in small.held_out}
    choice = stream(tuple(document for document in full.held_out if document.name not in held))
    size_in_bytes = sum(len(document.text.encode()) for document in small.held_out)
    chosen = small if size == "small" else full
    return Streams(tokenizer, stream(chosen.train), choice[:20_000], test, size_in_bytes / (len(test) - 1))


@checked
def next_token_loss(model: nn.Module, batch: Any) -> Any:
    """The sum of the nats of a batch of windows, and how many tokens they are."""
    return token_loss(model(batch.inputs), batch.targets)


@checked
def learn_text(
    model: nn.Module,
    text: Streams,
    *,
    rate: float,
    seed: int,
    steps: int = 200,
    batch: int = 8,
    context: int = 32,
    on_step: Callable[[Record], None] | None = None,
    **settings: Any,
) -> None:
    """Train `model` in place on windows of the training text.

    AdamW with betas 0.9 and 0.99; the rate rises over a tenth of the steps and falls as a cosine to a twentieth.
    `on_step` is called after each step, and `settings` are further fields of `TrainConfig`.
    """
    require_positive(steps=steps, batch=batch, context=context)
    batches = PackedBatches(text.train, batch=batch, context=context, seed=seed)
    schedule = partial(warmup_cosine, warmup=max(1, steps // 10), total=steps, peak=rate, floor=rate / 20)
    usual: dict[str, Any] = {"betas": (0.9, 0.99), "progress": False, "seed": seed}
    config = TrainConfig(steps=steps, learning_rate=schedule, **usual | settings)
    train(model, next_token_loss, batches, config, on_step=on_step)


@checked
def text_scores(model: nn.Module, text: Streams, *, context: int = 32) -> dict[str, float]:
    """Nats per token on the part to choose by (`choice`), and on the part that is reported (`test`)."""
    found = {}
    for name, stream in (("choice", text.choice), ("test", text.test)):
        batches = held_out_batches(stream, batch=64, context=context)
        found[name] = evaluate(model, next_token_loss, batches)
    return found


@checked
@torch.no_grad()
def overlapping_nats(model: nn.Module, stream: Int[Tensor, "time"], *, context: int) -> float:
    """Nats per token in windows that overlap by half, each counted once, with at least half a window before it.

    Only the first half window has less. Windows that begin where the last one ended give every token less to go by.
    """
    half = context // 2
    nats: list[Tensor] = []
    for start in range(0, len(stream) - 1, half):
        window = stream[max(0, start - half) : start + half + 1]
        new = min(half, len(stream) - 1 - start)
        losses = torch.nn.functional.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none")
        nats.append(losses[-new:])
    return torch.cat(nats).mean().item()


# Starts ---------------------------------------------------------------------------------------------------------------


@checked
@torch.no_grad()
def start_as_pytorch(model: nn.Module) -> None:
    """Draw the weights anew as PyTorch's own layers do: embeddings from N(0, 1), linear maps within 1/sqrt(inputs).

    A head that shares the weights of the embedding keeps the embedding's.
    """
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    shared = {id(embedding.weight) for embedding in embeddings}
    for embedding in embeddings:
        embedding.weight.normal_()
    for module in model.modules():
        if isinstance(module, nn.Linear) and id(module.weight) not in shared:
            module.reset_parameters()


@checked
@torch.no_grad()
def start_small(model: nn.Module, *, std: float = 0.02) -> None:
    """Draw every matrix anew from a normal distribution with the standard deviation `std`; biases become 0."""
    require(0 < std <= 1, "std", "must be above 0 and at most 1", std)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, std)
        elif "bias" in name:
            parameter.zero_()
