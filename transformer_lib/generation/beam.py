"""Beam search: keep the few most likely texts so far, and extend all of them at each step.

A text's score is its log-probability divided by its length to the power `length_penalty` (Wu et al. 2016 use a
variant): 0 prefers short texts, since every further token costs, 1 compares the mean per token.
Left out: diverse beams, and sampling within beams.
"""

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import require, require_numbers, require_positive
from transformer_lib.contract import checked, trusting
from transformer_lib.generation.choices import Choices
from transformer_lib.generation.generate import NONE_FORCED, LanguageModel, check_length, check_prompts, new_cache
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.kept_slots import can_give_up_slots, keep_slots
from transformer_lib.nn.memory import require_memory

LEAST_SLOTS = 16  # fewer are not worth looking through
MOST_PENALTY = 1e30  # that a log-probability is divided by: what is left of one of 1e-7 is still a float32 number


@checked
class Beams(NamedTuple):
    """The best texts for each prompt, best first; beyond a text's length, `tokens` holds its last token again.

    `scores` are log_probs / lengths ** length_penalty, natural logs; a stop id counts as written. Where there are fewer
    texts than beams, the others have length 0 and -inf.
    """

    tokens: Int[Tensor, "batch beams new"]
    lengths: Int[Tensor, "batch beams"]
    log_probs: Float[Tensor, "batch beams"]
    scores: Float[Tensor, "batch beams"]

    def best(self) -> list[list[int]]:
        """The ids of the best text of each prompt."""
        return [row[0, : lengths[0]].tolist() for row, lengths in zip(self.tokens, self.lengths, strict=True)]


@checked
def beam_search(
    model: LanguageModel,
    prompts: Int[Tensor, "batch time"],
    *,
    beams: int,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    length_penalty: float = 1.0,
    forbidden_ids: Collection[int] = (),
    forced_ids: Mapping[int, int] = NONE_FORCED,
    valid: Bool[Tensor, "batch time"] | None = None,
) -> Beams:
    """The `beams` best texts that this search finds after each prompt.

    At each step every open text is extended by every token, and the best `beams` open ones go on. A text that writes
    a stop id while among the best `beams` is closed; once `beams` texts are closed, the prompt is done. What is still
    open after `max_new_tokens` counts as it stands. One beam is greedy search. Arguments as in `generate`; a forced
    token adds 0 to a text's log-probability. Raises `ValueError` for more beams than there are tokens, and for a
    `length_penalty` that would leave nothing of the scores.
    """
    require_positive(beams=beams)
    require_numbers(length_penalty=length_penalty)
    require(not model.training, "model", "must be in eval mode (model.eval()), or dropout stays on", "training mode")
    check_prompts(prompts, valid)
    check_length(model, prompts.shape[1], max_new_tokens)
    _check_penalty(length_penalty, max_new_tokens)
    choices = Choices(forbidden_ids, forced_ids, stop_ids, max_new_tokens)
    asked = {"beams": beams, "max_new_tokens": max_new_tokens}
    slots = min(prompts.shape[1] + beams * max_new_tokens, 2**63 - 1)  # a whole number as others are, if too large
    cache = new_cache(model, len(prompts), slots, asked)
    if cache.recurrent:  # where each text gets a row of its own
        slots = min(prompts.shape[1] + max_new_tokens, 2**63 - 1)
        cache = new_cache(model, len(prompts), slots, asked)
    require_memory(64 * len(prompts) * beams * max_new_tokens, prompts.device, **asked)  # of texts, here and on the way
    with torch.inference_mode():
        found = _search(model, prompts, beams, max_new_tokens, choices, length_penalty, valid, cache)
    return Beams(*(part.clone() for part in found))


def _search(
    model: LanguageModel,
    prompts: Tensor,
    beams: int,
    max_new_tokens: int,
    choices: Choices,
    length_penalty: float,
    valid: Tensor | None,
    cache: KVCache,
) -> Beams:
    batch, device, stop_ids = len(prompts), prompts.device, choices.stops
    logits = model(prompts, valid=valid, cache=cache, newest=1)  # of each prompt's one open text: the empty one
    vocab = logits.shape[-1]
    require(beams <= vocab, "beams", f"must be at most the vocabulary of {vocab}", beams)
    choices.check_vocabulary(vocab)
    stops = torch.zeros(vocab, dtype=torch.bool, device=device)
    stops[stop_ids] = True
    count = min(beams + len(stop_ids), vocab)  # of each text's extensions: enough to find `beams` that go on
    ends = torch.full((batch, 1), prompts.shape[1], device=device) if valid is None else valid.sum(dim=1, keepdim=True)
    past = torch.ones(batch, 1, prompts.shape[1], dtype=torch.bool, device=device)  # the slots that each text continues
    crowded = max(2 * prompts.shape[1], LEAST_SLOTS)  # so many are looked through for those that no text continues
    itself = torch.eye(beams, dtype=torch.bool, device=device).expand(batch, -1, -1)

    scores = torch.zeros(batch, 1, dtype=torch.promote_types(logits.dtype, torch.float32), device=device)
    texts = prompts.new_zeros(batch, beams, max_new_tokens)
    closed = _Closed(texts, scores, length_penalty)
    for length in range(1, max_new_tokens + 1):
        steps = logits.to(scores.dtype).log_softmax(dim=-1)
        steps, tokens = (steps if choices.free else choices.apply(steps, length - 1)).topk(count)
        extended = (scores[..., None] + steps).flatten(1)
        scores, picked = extended.topk(min(beams * (1 + len(stop_ids)), extended.shape[1]), dim=1)
        parents, tokens = picked // count, tokens.flatten(1).gather(1, picked)
        texts = _rows(texts, parents)
        texts[:, :, length - 1 :] = tokens[..., None]
        stopping = stops[tokens]
        closed.add(texts[:, :beams], scores[:, :beams].masked_fill(~stopping[:, :beams], -torch.inf), length)
        scores, order = scores.masked_fill(stopping, -torch.inf).topk(beams, dim=1)
        texts = _rows(texts, order)
        if length == max_new_tokens or (stop_ids and closed.done().all()):
            break
        tokens, chosen = texts[:, :, length - 1], parents.gather(1, order)
        if cache.recurrent:
            logits = _next_apart(model, tokens, chosen, cache)
            continue
        past = _rows(past, chosen)
        if past.shape[2] >= crowded and can_give_up_slots(cache):
            past = _without_dead(past, cache)
            crowded = 2 * past.shape[2]
        past = torch.cat([past, itself], dim=2)
        positions = (ends + length - 1).expand(-1, beams)
        logits = _next(model, tokens, positions, cache, past)
    closed.add(texts, scores, length)
    lengths = closed.lengths.masked_fill(closed.log_probs == -torch.inf, 0)
    return Beams(closed.texts[:, :, :length], lengths, closed.log_probs, closed.scores)


def _without_dead(past: Tensor, cache: KVCache) -> Tensor:
    """Forget the slots that no text of a prompt continues; what each continues of those kept.

    The prompts have as many slots as the one with the most needs: others keep some dead ones, which nobody looks at.
    """
    alive = past.any(dim=1)
    most = int(alive.sum(dim=1).max())
    slots = alive.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    keep_slots(cache, slots)
    return past.gather(2, slots[:, None].expand(-1, past.shape[1], -1))


@trusting
def _next(model: LanguageModel, tokens: Tensor, positions: Tensor, cache: KVCache, past: Tensor) -> Tensor:
    """The logits after one more token of each text."""
    return model(tokens, positions=positions, cache=cache, past=past)


@trusting
def _next_apart(model: LanguageModel, tokens: Tensor, chosen: Tensor, cache: KVCache) -> Tensor:
    """The same where texts cannot share a row: a row of the cache for each, a copy of that of the text it continues."""
    batch = len(tokens)
    begin = torch.arange(batch, device=tokens.device)[:, None] * (cache.batch // batch)
    cache.select((begin + chosen).flatten())
    return model(tokens.flatten()[:, None], cache=cache)[:, -1].unflatten(0, tokens.shape)


def _check_penalty(length_penalty: float, longest: int) -> None:
    """A power of the length must neither overflow nor vanish: there would be nothing left to rank the texts by."""
    most = math.log(MOST_PENALTY) / math.log(longest) if longest > 1 else math.inf
    rule = f"must be at most {most:.4g} on either side of 0, for texts of up to {longest} tokens"
    require(abs(length_penalty) <= most, "length_penalty", rule, length_penalty)


def _rows(table: Tensor, rows: Int[Tensor, "batch beams"]) -> Tensor:
    """The chosen rows of each prompt's table (batch, row, column)."""
    return table.gather(1, rows[..., None].expand(-1, -1, table.shape[2]))


class _Closed:
    """The best closed texts of each prompt so far; a log-probability of -inf stands for no text."""

    def __init__(self, like_texts: Tensor, like_scores: Tensor, length_penalty: float) -> None:
        batch, beams, _ = like_texts.shape
        self.length_penalty = length_penalty
        self.texts = torch.zeros_like(like_texts)
        self.lengths = like_texts.new_zeros(batch, beams)
        self.log_probs = like_scores.new_full((batch, beams), -torch.inf)
        self.scores = self.log_probs

    def done(self) -> Bool[Tensor, " batch"]:
        """Whether as many texts as there are beams are closed."""
        return self.log_probs.isfinite().all(dim=1)

    def add(self, texts: Tensor, log_probs: Tensor, length: int) -> None:
        """Close these texts, unless their prompt is done; of all closed ones the best stay."""
        log_probs = log_probs.masked_fill(self.done()[:, None], -torch.inf)
        scores = torch.cat([self.scores, log_probs / length**self.length_penalty], dim=1)
        self.scores, kept = scores.topk(self.lengths.shape[1], dim=1)
        self.log_probs = torch.cat([self.log_probs, log_probs], dim=1).gather(1, kept)
        self.lengths = torch.cat([self.lengths, torch.full_like(self.lengths, length)], dim=1).gather(1, kept)
        self.texts = _rows(torch.cat([self.texts, texts], dim=1), kept)
