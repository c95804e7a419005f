"""Speculative decoding: a small model drafts a few tokens, the large one checks them all in one pass.

A model with heads for further tokens (`MultiTokenLM`) drafts for itself: its heads go on from the state that its own
last pass left (DeepSeek-V3).

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
from transformer_lib.models.multi_token import MultiTokenLM
from transformer_lib.nn.cache import KVCache

Reshape = Callable[[Tensor], Tensor]


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
    draft: LanguageModel | None,
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

    `draft` proposes `lookahead` tokens at a time; it must have the model's vocabulary. Without one (None), the heads of
    a `MultiTokenLM` propose, at most a token each. Temperature 0 gives the greedy text, token for token. Raises
    `ValueError` for a batch of more than one row, and for heads on layers with a recurrent state. Such layers cannot
    forget what another model drafted in vain: they go back to a mark before it, and some tokens are read twice.
    """
    require_positive(lookahead=lookahead)
    check_prompts(prompt, None)
    require(len(prompt) == 1, "prompt", "must have one row: rows would keep different numbers of tokens", len(prompt))
    for name, part in (("model", model), ("draft", draft)):
        if part is not None:
            require(not part.training, name, "must be in eval mode (.eval()), or dropout stays on", "training mode")
            check_length(part, prompt.shape[1], max_new_tokens)
    reshape = partial(distribution, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    choices = Choices((), {}, stop_ids, max_new_tokens)
    room = partial(_room, prompt=prompt, new=max_new_tokens, ahead=min(lookahead, max_new_tokens))
    cache = room(model)
    drafter = _Heads(model, cache, lookahead) if draft is None else _Other(draft, room(draft))
    text, start = prompt[0].tolist(), prompt.shape[1]
    vocab = drafted = accepted = passes = 0
    while len(text) < start + max_new_tokens and not (len(text) > start and text[-1] in stop_ids):
        left = start + max_new_tokens - len(text)
        ahead = min(lookahead, left - 1) if passes else 0  # the model itself adds one; first it reads the prompt
        with torch.inference_mode():
            if ahead:
                passes += _catch_up(model, cache, text, ahead)
            proposed, q = drafter.propose(text, ahead, reshape, generator)
            require(
                q.shape[-1] == vocab or not ahead, "draft", f"must have the model's vocabulary of {vocab}", q.shape[-1]
            )
            p = reshape(drafter.check(model, cache, text + proposed, ahead + 1))
            vocab = p.shape[-1]
            choices.check_vocabulary(vocab)
            kept = _kept(p, q, proposed, generator)
            law = p[kept]
            if kept < ahead and (missing := (law - q[kept]).clamp(min=0)).any():
                law = missing  # where the draft gives too little
            new = [*proposed[:kept], int(draw(law[None], generator))]
        stop = next((index for index, token in enumerate(new, start=1) if token in stop_ids), len(new))
        text += new[:stop]
        _forget(cache, len(text) - 1)  # the last token has not been read yet
        drafter.forget(len(text) - 1)  # and what was refused
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


class _Other:
    """Another model drafts, and reads the text for itself."""

    def __init__(self, draft: LanguageModel, cache: KVCache) -> None:
        self.draft, self.cache = draft, cache

    def propose(
        self, text: list[int], ahead: int, reshape: Reshape, generator: torch.Generator | None
    ) -> tuple[list[int], Float[Tensor, "ahead vocab"]]:
        """The next tokens as the draft sees them, and the law that each was drawn from."""
        if ahead:
            _catch_up(self.draft, self.cache, text, 0)
        proposed: list[int] = []
        laws = [torch.empty(0, 0, device=self.cache.device)]
        for _ in range(ahead):
            laws.append(reshape(_run(self.draft, self.cache, text + proposed, 1)))
            proposed.append(int(draw(laws[-1], generator)))
        return proposed, torch.cat(laws[1:] or laws)

    def check(self, model: LanguageModel, cache: KVCache, text: list[int], newest: int) -> Tensor:
        """The model's logits after the newest tokens."""
        return _run(model, cache, text, newest)

    def forget(self, length: int) -> None:
        """Keep the first `length` tokens."""
        _forget(self.cache, length)


class _Heads:
    """The model's own heads draft, from the states that its passes leave.

    Head k at position i read token i + k, so what it keeps of a position stands as long as that token does.
    """

    def __init__(self, model: LanguageModel, cache: KVCache, lookahead: int) -> None:
        own = isinstance(model, MultiTokenLM)
        require(own, "draft", "must be a model, unless the model is a MultiTokenLM", None)
        assert isinstance(model, MultiTokenLM)
        heads = len(model.heads)
        require(lookahead <= heads, "lookahead", f"must be at most the {heads} heads of the model", lookahead)
        self.model, self.caches = model, model.head_caches(1, cache.max_length)
        for each in (cache, *self.caches):
            each.require_rewinding()  # or a draft that is refused could not be forgotten
            each.reserve(2 * lookahead + 1)  # a head goes back by what it had read ahead, too
        weight = model.model.head.weight
        self.device = weight.device
        self.states = weight.new_empty(1, 0, weight.shape[1])  # of every token that the model has read

    def propose(
        self, text: list[int], ahead: int, reshape: Reshape, generator: torch.Generator | None
    ) -> tuple[list[int], Float[Tensor, "ahead vocab"]]:
        """A token of each head, and the law that it was drawn from."""
        proposed: list[int] = []
        laws = [torch.empty(0, 0, device=self.device)]
        caches, known = self.caches[:ahead], self.states.shape[1]
        start = min((cache.length for cache in caches), default=0)
        states = self.states[:, start:]
        for index, cache in enumerate(caches):
            cache.rewind(start)
            following = (text + proposed)[start + index + 1 : known + index + 1]
            states = self.model.step(index, states, torch.tensor([following], device=self.device), start, cache)
            cache.rewind(max(start, known - index))  # the rest was made of drafted tokens
            laws.append(reshape(self.model.logits_of(index, states[:, -1])))
            proposed.append(int(draw(laws[-1], generator)))
        return proposed, torch.cat(laws[1:] or laws)

    def check(self, model: LanguageModel, cache: KVCache, text: list[int], newest: int) -> Tensor:
        """The decoder's logits after the newest tokens; its states are kept."""
        decoder = self.model.model
        states = decoder.hidden(torch.tensor([text[cache.length :]], device=self.device), cache=cache)
        self.states = torch.cat([self.states, states], dim=1)
        return decoder.logits(states[0, -newest:])

    def forget(self, length: int) -> None:
        """Keep the states of the first `length` tokens."""
        self.states = self.states[:, :length]


def _kept(p: Tensor, q: Tensor, proposed: list[int], generator: torch.Generator | None) -> int:
    """How many of the proposed tokens stand before the first that is refused."""
    for index, token in enumerate(proposed):
        if torch.rand((), generator=generator, device=p.device) * q[index, token] >= p[index, token]:
            return index
    return len(proposed)
