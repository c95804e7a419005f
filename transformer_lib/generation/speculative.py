"""Speculative decoding: a small model drafts a few tokens, the large one checks them all in one pass.

What comes out has exactly the law of the large model (Leviathan et al. 2022; Chen et al. 2023). A token x that the
draft drew from its q is kept with probability min(1, p(x) / q(x)). The first refused one is replaced by a draw from
max(p - q, 0), normalised, and what was drafted after it is thrown away. Left out: batches, and trees of drafts.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.generation.choices import Choices
from transformer_lib.generation.generate import LanguageModel, check_length, check_prompts, new_cache
from transformer_lib.generation.sampling import distribution, draw
from transformer_lib.nn.cache import KVCache


@checked
class Speculation(NamedTuple):
    """What was written, and how many of the drafted tokens the model checked and kept; `passes` are the model's."""

    tokens: Int[Tensor, " new"]
    drafted: int
    accepted: int
    passes: int


@checked
def speculate(
    model: LanguageModel,
    draft: LanguageModel,
    prompt: Int[Tensor, "batch time"],
    *,
    max_new_tokens: int,
    lookahead: int = 4,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    stop_ids: Collection[int] = (),
    generator: torch.Generator | None = None,
) -> Speculation:
    """Continue one prompt as `generate` would with `sample` and the same settings, in fewer passes of `model`.

    `draft` proposes `lookahead` tokens at a time; it must have the model's vocabulary. Temperature 0 gives the greedy
    text, token for token. Raises `ValueError` for a batch of more than one row. Layers with a recurrent state cannot
    forget a refused draft: they go back to a mark before it, and some tokens are read twice.
    """
    require_positive(lookahead=lookahead)
    check_prompts(prompt, None)
    require(len(prompt) == 1, "prompt", "must have one row: rows would keep different numbers of tokens", len(prompt))
    for name, part in (("model", model), ("draft", draft)):
        require(not part.training, name, "must be in eval mode (.eval()), or dropout stays on", "training mode")
        check_length(part, prompt.shape[1], max_new_tokens)
    reshape = partial(distribution, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    choices = Choices((), {}, stop_ids, max_new_tokens)
    caches = tuple(_room(part, prompt, max_new_tokens, min(lookahead, max_new_tokens)) for part in (model, draft))
    text, start = prompt[0].tolist(), prompt.shape[1]
    vocab = drafted = accepted = passes = 0
    while len(text) < start + max_new_tokens and not (len(text) > start and text[-1] in stop_ids):
        left = start + max_new_tokens - len(text)
        ahead = min(lookahead, left - 1) if passes else 0  # the model itself adds one; first it reads the prompt
        with torch.inference_mode():
            if ahead:
                passes += _catch_up(model, caches[0], text, ahead)
                _catch_up(draft, caches[1], text, 0)
            proposed, q = _propose(draft, caches[1], text, ahead, reshape, generator)
            require(
                q.shape[-1] == vocab or not ahead, "draft", f"must have the model's vocabulary of {vocab}", q.shape[-1]
            )
            p = reshape(_run(model, caches[0], text + proposed, ahead + 1))
            vocab = p.shape[-1]
            choices.check_vocabulary(vocab)
            kept = _kept(p, q, proposed, generator)
            law = p[kept]
            if kept < ahead and (missing := (law - q[kept]).clamp(min=0)).any():
                law = missing  # where the draft gives too little
            new = [*proposed[:kept], int(draw(law[None], generator))]
        stop = next((index for index, token in enumerate(new, start=1) if token in stop_ids), len(new))
        text += new[:stop]
        for cache in caches:  # the last token has not been read yet; what was refused is forgotten
            _forget(cache, len(text) - 1)
        drafted, accepted, passes = drafted + ahead, accepted + min(kept, stop), passes + 1
    return Speculation(prompt.new_tensor(text[start:]), drafted, accepted, passes)


def _room(model: LanguageModel, prompt: Tensor, new: int, ahead: int) -> KVCache:
    """A cache for the text and a draft behind it, which can be forgotten."""
    cache = new_cache(model, 1, prompt.shape[1] + new + ahead, {"max_new_tokens": new})
    here = cache.device == prompt.device
    require(here, "prompt", f"must be on the model's device, {cache.device}", prompt.device)
    cache.reserve(ahead + 1)
    return cache


def _catch_up(model: LanguageModel, cache: KVCache, text: list[int], most: int) -> bool:
    """Mark a recurrent state before the drafts come, at most so many tokens back; whether that took a pass.

    A refused draft brings it back to the mark, and the next pass reads once more what had been kept since.
    """
    behind = bool(cache.recurrent) and cache.length < len(text) - 1 - most
    if behind:
        model(torch.tensor([text[cache.length : -1]], device=cache.device), cache=cache, newest=1)
    cache.mark()
    return behind


def _forget(cache: KVCache, length: int) -> None:
    """Keep the first `length` tokens, or those up to the mark where some of them came together with refused ones."""
    if length < cache.length:
        cache.rewind(cache.marked if cache.recurrent else length)


def _run(model: LanguageModel, cache: KVCache, text: list[int], newest: int) -> Float[Tensor, "newest vocab"]:
    """Read what the cache does not hold of the text yet; the logits after the newest of those tokens."""
    return model(torch.tensor([text[cache.length :]], device=cache.device), cache=cache, newest=newest)[0]


def _propose(
    draft: LanguageModel,
    cache: KVCache,
    text: list[int],
    ahead: int,
    reshape: Callable[[Tensor], Tensor],
    generator: torch.Generator | None,
) -> tuple[list[int], Float[Tensor, "ahead vocab"]]:
    """The next tokens as the draft sees them, and the law that each was drawn from."""
    proposed: list[int] = []
    laws = [torch.empty(0, 0, device=cache.device)]
    for _ in range(ahead):
        laws.append(reshape(_run(draft, cache, text + proposed, 1)))
        proposed.append(int(draw(laws[-1], generator)))
    return proposed, torch.cat(laws[1:] or laws)


def _kept(p: Tensor, q: Tensor, proposed: list[int], generator: torch.Generator | None) -> int:
    """How many of the proposed tokens stand before the first that is refused."""
    for index, token in enumerate(proposed):
        if torch.rand((), generator=generator, device=p.device) * q[index, token] >= p[index, token]:
            return index
    return len(proposed)
