"""Picking the next token from logits: the most likely one, or a draw from a reshaped and truncated distribution.

Every picker takes logits of shape (batch, vocab) and gives one id per row. Left out: repetition penalties.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_lib.checks import shown
from transformer_lib.config import require, require_numbers
from transformer_lib.contract import also, checked_once

SORTED = 256  # tokens that are put in order at first, to find those that make up a probability


def _check_logits(logits: Tensor) -> None:
    require(logits.shape[1] > 0, "logits", "must have a vocabulary", tuple(logits.shape))


def _check_generator(probs: Tensor, generator: torch.Generator | None) -> None:
    device = probs.device.type
    if generator is not None:
        require(generator.device.type == device, "generator", f"must be one of {device}", generator.device.type)


@checked_once
def greedy(logits: Float[Tensor, "batch vocab"]) -> Int[Tensor, " batch"]:
    """The most likely token; of equal ones the first."""
    try:
        return logits.argmax(dim=-1)
    except IndexError:
        raise ValueError(f"logits must have a vocabulary, got {tuple(logits.shape)}") from None


@checked_once
@also(_check_logits, lambda logits, generator: _check_generator(logits, generator))
def sample(
    logits: Float[Tensor, "batch vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:
    """Draw a token from `distribution(logits, ...)`; temperature 0 is `greedy`."""
    probs = distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    return greedy(logits) if temperature == 0 else draw(probs, generator)


@checked_once
@also(_check_generator)
def draw(probs: Float[Tensor, "batch vocab"], generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """One token per row, each as often as its probability says; a row need not sum to 1."""
    try:
        return torch.multinomial(probs, 1, generator=generator).squeeze(-1)
    except RuntimeError as error:  # the CPU's kernel looks at every number; a GPU's fails by itself
        rule = "must be finite, not negative, and above 0 for at least one token of each row"
        raise ValueError(f"probs {rule}, got {shown(probs)}") from error


@checked_once
@also(_check_logits)
def distribution(
    logits: Float[Tensor, "batch vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Float[Tensor, "batch vocab"]:
    """softmax(logits / temperature), restricted to the tokens that every given limit keeps (see `truncate`).

    At temperature 0, its limit, all probability is on the most likely token. A temperature outside the normal numbers
    of the logits' type (float32: 1.2e-38 to 3.4e38) counts as the nearest of them, where the law has become its limit.
    """
    require_numbers(temperature=temperature)
    require(temperature >= 0, "temperature", "must not be negative", temperature)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if temperature == 0:
        return torch.zeros_like(logits).scatter(-1, greedy(logits)[:, None], 1.0)
    numbers = torch.finfo(logits.dtype)
    below = logits - logits.amax(dim=-1, keepdim=True)  # so that no quotient is above 0: none overflows to +inf
    heated = below / min(max(temperature, numbers.tiny), numbers.max)
    return truncate(heated, top_k=top_k, top_p=top_p, min_p=min_p).softmax(dim=-1)


@checked_once
@also(_check_logits)
def truncate(
    logits: Float[Tensor, "batch vocab"],
    *,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Float[Tensor, "batch vocab"]:
    """Set to -inf what the limits leave out; each looks at the distribution that the logits describe as given.

    `top_k` keeps the k most likely tokens (Fan et al. 2018), `top_p` the smallest set of most likely tokens with at
    least that much probability (Holtzman et al. 2019), `min_p` those at least that fraction as likely as the first
    (Nguyen et al. 2024). The most likely token always stays.
    """
    keep = torch.ones_like(logits, dtype=torch.bool)
    if top_k is not None:
        vocab = logits.shape[-1]
        require(1 <= top_k <= vocab, "top_k", f"must be at least 1 and at most the vocabulary of {vocab}", top_k)
        count = torch.full_like(logits[:, :1], top_k, dtype=torch.int64)
        keep &= _most_likely(logits, count, logits.topk(top_k).values)
    if top_p is not None:
        require(0 < top_p <= 1, "top_p", "must be above 0 and at most 1", top_p)
        keep &= _most_likely(logits, *_nucleus(logits, top_p))
    if min_p is not None:
        require(0 < min_p <= 1, "min_p", "must be above 0 and at most 1", min_p)
        probs = logits.softmax(dim=-1)
        keep &= probs >= min_p * probs.amax(dim=-1, keepdim=True)
    return logits.masked_fill(~keep, -torch.inf)


def _most_likely(logits: Tensor, count: Int[Tensor, "batch 1"], descending: Float[Tensor, "batch first"]) -> Tensor:
    """Which tokens are the `count` most likely of their row, of equal ones the first.

    `descending` are the highest logits in order, at least so many. A whole sort would tell no more and take far longer.
    """
    last = descending.gather(-1, count - 1)
    likelier, equal = ~(logits <= last), logits == last  # NaN counts as likelier than all, as it does in a sort
    left = count - likelier.sum(dim=-1, keepdim=True)
    return likelier | (equal & (equal.cumsum(dim=-1) <= left))


def _nucleus(logits: Tensor, top_p: float) -> tuple[Int[Tensor, "batch 1"], Float[Tensor, "batch first"]]:
    """How many of the most likely tokens have at least that much probability, and the highest logits in order.

    Few tokens mostly suffice: the highest `SORTED` are looked at, then 16 times as many, and then, of a flat law, all.
    """
    probs, vocab, size = logits.softmax(dim=-1), logits.shape[-1], SORTED
    while True:
        descending, tokens = logits.topk(min(size, vocab))
        taken = probs.gather(-1, tokens)
        missing = taken.cumsum(dim=-1) - taken < top_p  # what the likelier ones leave
        if size >= vocab or not missing[:, -1].any():
            return missing.sum(dim=-1, keepdim=True).clamp(min=1), descending  # 1 where top_p is so small it vanishes
        size = 16 * SORTED if size == SORTED else vocab
