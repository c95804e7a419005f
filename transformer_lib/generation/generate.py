"""Generation: read the prompts once, then write one token at a time behind a key/value cache.

Prompts of unequal length go through together, padded on the left, and each gets what it would get alone.
Left out: beam search and speculation.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.generation.sampling import greedy
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.embedding import check_valid

Picker = Callable[[Tensor], Tensor]


@runtime_checkable  # for the tests, which check annotations at run time
class LanguageModel(Protocol):
    """What `generate` needs of a model."""

    training: bool

    def __call__(self, tokens: Tensor, *, valid: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Logits (batch, time, vocab), extending the cache."""

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache."""


class Generation(NamedTuple):
    """What was written after each prompt; beyond a row's length, `tokens` repeats its last token, with log_prob 0.

    `log_probs` are natural logs of the model's own probabilities of the picked tokens, whatever the picker did to
    them; a stop id counts as written.
    """

    tokens: Int[Tensor, "batch new"]
    lengths: Int[Tensor, " batch"]
    log_probs: Float[Tensor, "batch new"]

    def rows(self) -> list[list[int]]:
        """The written ids of each row, without what lies beyond its length."""
        return [row[:length].tolist() for row, length in zip(self.tokens, self.lengths, strict=True)]


def pad_left(
    prompts: Sequence[Sequence[int]], pad_id: int = 0
) -> tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
    """Prompts of unequal length as one tensor that ends together, and which of its entries are real."""
    require(len(prompts) > 0 and all(len(prompt) > 0 for prompt in prompts), "prompts", "must not be empty", prompts)
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    valid = torch.tensor([[False] * (longest - len(prompt)) + [True] * len(prompt) for prompt in prompts])
    return tokens, valid


def generate(
    model: LanguageModel,
    prompts: Int[Tensor, "batch time"],
    *,
    max_new_tokens: int,
    pick: Picker = greedy,
    stop_ids: Collection[int] = (),
    valid: Bool[Tensor, "batch time"] | None = None,
) -> Generation:
    """Continue each prompt by up to `max_new_tokens` tokens, or until it has written one of `stop_ids`.

    `pick` chooses from the logits: `greedy`, or `functools.partial(sample, temperature=..., generator=...)`. `valid`
    marks the real tokens of prompts padded on the left (`pad_left`). The model must be in eval mode.
    """
    require_positive(max_new_tokens=max_new_tokens)
    require(not model.training, "model", "must be in eval mode (model.eval()), or dropout stays on", "training mode")
    _check_prompts(prompts, valid)
    with torch.inference_mode():
        written = _generate(model, prompts, max_new_tokens, pick, sorted(stop_ids), valid)
    return Generation(*(part.clone() for part in written))  # what inference mode makes, autograd would refuse


def _generate(
    model: LanguageModel, prompts: Tensor, max_new_tokens: int, pick: Picker, stop_ids: list[int], valid: Tensor | None
) -> Generation:
    batch, time = prompts.shape
    cache = model.new_cache(batch, time + max_new_tokens)
    tokens = prompts.new_empty(batch, max_new_tokens)
    log_probs = torch.zeros(batch, max_new_tokens, device=prompts.device)
    lengths = prompts.new_full((batch,), max_new_tokens)
    running = torch.ones(batch, dtype=torch.bool, device=prompts.device)
    stops = torch.tensor(stop_ids, dtype=prompts.dtype, device=prompts.device)
    step, last = prompts, prompts[:, -1]
    for index in range(max_new_tokens):
        logits = model(step, valid=valid if index == 0 else None, cache=cache)[:, -1]
        last = torch.where(running, pick(logits), last)
        tokens[:, index] = last
        chosen = logits.float().log_softmax(dim=-1).gather(-1, last[:, None]).squeeze(-1)
        log_probs[:, index] = chosen.where(running, 0.0)
        if len(stops):
            stopping = running & torch.isin(last, stops)
            lengths[stopping] = index + 1
            running &= ~stopping
            if not running.any():
                tokens, log_probs = tokens[:, : index + 1], log_probs[:, : index + 1]
                break
        step = last[:, None]
    return Generation(tokens, lengths, log_probs)


def _check_prompts(prompts: Tensor, valid: Tensor | None) -> None:
    require(prompts.ndim == 2 and prompts.numel() > 0, "prompts", "must be a non-empty (batch, time)", prompts.shape)
    check_valid(valid, prompts)
    if valid is not None:
        require(bool(valid[:, -1].all()), "valid", "must end in a real token in every row (pad on the left)", valid)
