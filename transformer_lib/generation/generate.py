"""Generation: read the prompts once, then write one token at a time behind a key/value cache.

Prompts of unequal length go through together, padded on the left, and each gets what it would get alone.
An encoder-decoder writes through `conditioned.Conditioned`, which holds its source.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.checks import wrong_kind
from transformer_lib.config import require, require_positive
from transformer_lib.contract import checked, trusting
from transformer_lib.generation.choices import Choices
from transformer_lib.generation.sampling import greedy
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.rolling_cache import RollingCache

Picker = Callable[[Tensor], Tensor]
Stopper = Callable[[list[int]], bool]
NONE_FORCED: Mapping[int, int] = MappingProxyType({})


@runtime_checkable
class LanguageModel(Protocol):
    """What `generate` needs of a model."""

    @property
    def training(self) -> bool:
        """Whether dropout is on."""

    @property
    def context(self) -> int | None:
        """The most tokens of a text that it can read, None for no limit."""

    def __call__(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        valid: Tensor | None = None,
        cache: KVCache | None = None,
        past: Tensor | None = None,
        newest: int | None = None,
    ) -> Tensor:
        """Logits (batch, newest, vocab), extending the cache."""

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache."""


@checked
class Generation(NamedTuple):
    """What was written after each prompt; beyond a row's length, `tokens` repeats its last token, with log_prob 0.

    `log_probs` are natural logs of the model's own probabilities of the picked tokens, whatever the picker did to
    them, and 0 for a forced one; a stop id counts as written.
    """

    tokens: Int[Tensor, "batch new"]
    lengths: Int[Tensor, " batch"]
    log_probs: Float[Tensor, "batch new"]

    def rows(self) -> list[list[int]]:
        """The written ids of each row, without what lies beyond its length."""
        return [row[:length].tolist() for row, length in zip(self.tokens, self.lengths, strict=True)]


@checked
class Step(NamedTuple):
    """One more token for each row; a row that has stopped repeats its last one, with `written` False and log_prob 0."""

    tokens: Int[Tensor, " batch"]
    log_probs: Float[Tensor, " batch"]
    written: Bool[Tensor, " batch"]


@checked
def pad_left(
    prompts: Sequence[Sequence[int]], pad_id: int = 0
) -> tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
    """Prompts of unequal length as one tensor that ends together, and which of its entries are real."""
    require(len(prompts) > 0 and all(len(prompt) > 0 for prompt in prompts), "prompts", "must not be empty", prompts)
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    valid = torch.tensor([[False] * (longest - len(prompt)) + [True] * len(prompt) for prompt in prompts])
    return tokens, valid


@checked
def stop_at(decode: Callable[[list[int]], str], texts: Collection[str]) -> Stopper:
    """For `stop_when`: a row ends once what it has written, decoded, contains one of the texts."""
    require(len(texts) > 0 and all(texts), "texts", "must hold at least one text, none of them empty", texts)
    return lambda written: any(text in decode(written) for text in texts)


@checked
def generate(
    model: LanguageModel,
    prompts: Int[Tensor, "batch time"],
    *,
    max_new_tokens: int,
    pick: Picker = greedy,
    stop_ids: Collection[int] = (),
    stop_when: Stopper | None = None,
    forbidden_ids: Collection[int] = (),
    forced_ids: Mapping[int, int] = NONE_FORCED,
    valid: Bool[Tensor, "batch time"] | None = None,
    cache: KVCache | None = None,
) -> Generation:
    """Continue each prompt by up to `max_new_tokens` tokens, or until it has written one of `stop_ids`.

    `pick` chooses from the logits: `greedy`, or `functools.partial(sample, temperature=..., generator=...)`.
    `stop_when` is asked after each token about the ids that a row has written (see `stop_at`). `forbidden_ids` are
    never written, and `forced_ids` gives the id of some new tokens by their number, from 0. `valid` marks the real
    tokens of prompts padded on the left (`pad_left`). The prompts continue what `cache` holds, by default an empty one
    of the size needed; a `RollingCache` reads and writes texts of any length. The model must be in eval mode, and able
    to read the whole text (see `room`). Raises `ValueError` otherwise, and for an id beyond the vocabulary.
    """
    steps = stream(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        pick=pick,
        stop_ids=stop_ids,
        stop_when=stop_when,
        forbidden_ids=forbidden_ids,
        forced_ids=forced_ids,
        valid=valid,
        cache=cache,
    )
    tokens, log_probs, written = (torch.stack(part, dim=1) for part in zip(*steps, strict=True))
    return Generation(tokens, written.sum(dim=1), log_probs)


@checked
def stream(
    model: LanguageModel,
    prompts: Int[Tensor, "batch time"],
    *,
    max_new_tokens: int | None,
    pick: Picker = greedy,
    stop_ids: Collection[int] = (),
    stop_when: Stopper | None = None,
    forbidden_ids: Collection[int] = (),
    forced_ids: Mapping[int, int] = NONE_FORCED,
    valid: Bool[Tensor, "batch time"] | None = None,
    cache: KVCache | None = None,
) -> Iterator[Step]:
    """What `generate` writes, one `Step` at a time, as it comes; same arguments.

    With a `RollingCache`, `max_new_tokens` may be None: the text ends when every row has stopped, or never.
    """
    for name, function in (("pick", pick), ("stop_when", stop_when)):
        if inspect.isclass(function):  # which can be called, but gives an object
            raise wrong_kind(name, "a function", function)
    require(not model.training, "model", "must be in eval mode (model.eval()), or dropout stays on", "training mode")
    check_prompts(prompts, valid)
    if max_new_tokens is None:
        rolling = isinstance(cache, RollingCache) and model.context is None
        require(rolling, "max_new_tokens", "may be None only with a RollingCache and without a position table", None)
    else:
        check_length(model, prompts.shape[1] + (0 if cache is None else cache.length), max_new_tokens)
    choices = Choices(forbidden_ids, forced_ids, stop_ids, max_new_tokens)
    if cache is None:
        length = prompts.shape[1] + (max_new_tokens or 0)
        cache = new_cache(model, len(prompts), length, {"max_new_tokens": max_new_tokens})
    elif not isinstance(cache, RollingCache):
        slots = prompts.shape[1] + (max_new_tokens or 0) - 1  # the last token is not read
        require(cache.room >= slots, "cache", f"must have room for {slots} more tokens, prompt and new", cache.room)
    return _stream(model, prompts, max_new_tokens, pick, choices, stop_when, valid, cache)


def _stream(
    model: LanguageModel,
    prompts: Tensor,
    max_new_tokens: int | None,
    pick: Picker,
    choices: Choices,
    stop_when: Stopper | None,
    valid: Tensor | None,
    cache: KVCache,
) -> Iterator[Step]:
    running = torch.ones(len(prompts), dtype=torch.bool, device=prompts.device)
    stops = prompts.new_tensor(choices.stops)
    ends = bool(choices.stops) or stop_when is not None
    texts: list[list[int]] = [[] for _ in prompts]
    last = prompts[:, -1]
    pick = trusting(greedy) if pick is greedy else pick
    for index in count() if max_new_tokens is None else range(max_new_tokens):
        with torch.inference_mode():  # around each step: the reader of the stream is not to be caught in it
            logits = _read(model, prompts, valid, cache) if index == 0 else _next(model, last, cache)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # argmax is slow in bfloat16
            if index == 0:
                choices.check_vocabulary(logits.shape[-1])
            picked = pick(logits if choices.free else choices.apply(logits, index))
            last = torch.where(running, _checked_ids(picked, len(texts)), last)
            chosen = running if index not in choices.forced else torch.zeros_like(running)
            log_probs = _of_picked(logits.log_softmax(dim=-1), last).where(chosen, 0.0)
            written = running
            if choices.stops:
                running = running & ~torch.isin(last, stops)
            if stop_when is not None:
                running = _unless(stop_when, texts, last, running)
        # Copies, since autograd refuses inference mode's tensors; unchecked, since they are made here.
        yield Step._make((last.clone(), log_probs.clone(), written.clone()))
        if ends and not running.any():
            return


@trusting
def _next(model: LanguageModel, last: Tensor, cache: KVCache) -> Tensor:
    """The logits after one more token of each row."""
    return model(last[:, None], cache=cache)[:, -1]


def _checked_ids(picked: object, rows: int) -> Tensor:
    """What the picker gave, if that is an id for each row."""
    if not isinstance(picked, Tensor):
        raise wrong_kind("what pick gives", "a Tensor", picked)
    if picked.shape != (rows,) or picked.dtype not in (torch.int64, torch.int32):
        given = (tuple(picked.shape), picked.dtype)
        require(False, "what pick gives", f"must be one whole number for each of {rows} rows", given)
    return picked


def _of_picked(log_probs: Tensor, picked: Tensor) -> Tensor:
    """The log-probability of the token of each row."""
    try:
        return log_probs.gather(-1, picked[:, None]).squeeze(-1)
    except RuntimeError as error:  # the CPU's kernel looks at every index; a GPU's fails by itself
        vocab, wrong = log_probs.shape[1], next(i for i in picked.tolist() if not 0 <= i < log_probs.shape[1])
        raise ValueError(f"what pick gives must be below the vocabulary of {vocab}, got {wrong}") from error


def _read(model: LanguageModel, prompts: Tensor, valid: Tensor | None, cache: KVCache) -> Tensor:
    """The logits after the prompts, which go through in pieces no longer than the cache."""
    start, time = 0, prompts.shape[1]
    while True:
        piece = slice(start, start + min(cache.room, cache.max_length))
        logits = model(prompts[:, piece], valid=None if valid is None else valid[:, piece], cache=cache, newest=1)
        if piece.stop >= time:
            return logits[:, -1]
        start = piece.stop


def _unless(stop_when: Stopper, texts: list[list[int]], last: Tensor, running: Tensor) -> Tensor:
    """`running` without the rows that `stop_when` ends, after `last` has been added to their texts."""
    goes_on = running.tolist()
    for row, token in enumerate(last.tolist()):
        if goes_on[row]:
            texts[row].append(token)
            goes_on[row] = not stop_when(texts[row])
    return torch.tensor(goes_on, device=running.device)


@checked
def room(model: LanguageModel, time: int) -> int | None:
    """How many tokens the model can write after a text of `time` tokens, of which it need not read the last.

    None for no limit; 0 if it cannot even read the text.
    """
    return None if model.context is None else max(0, model.context + 1 - time)


@checked
def check_length(model: LanguageModel, time: int, new: int) -> None:
    """`ValueError` unless the model can read a text of `time` tokens and write `new` more."""
    require_positive(max_new_tokens=new)
    if (left := room(model, time)) is not None:
        context = model.context
        require(left > 0, "prompts", f"must have at most {context} tokens, the size of the position table", time)
        rule = f"must be at most {left} after a prompt of {time} tokens, with a position table of {context}"
        require(new <= left, "max_new_tokens", rule, new)


@checked
def new_cache(model: LanguageModel, batch: int, length: int, asked: Mapping[str, int | None]) -> KVCache:
    """The model's empty cache of this size, for which the numbers in `asked` are to blame if it cannot be held."""
    try:
        return model.new_cache(batch, length)
    except ValueError as error:
        names, values = " and ".join(asked), " and ".join(map(str, asked.values()))
        raise ValueError(f"{names} must leave the cache a size that can be held, got {values}: {error}") from error


@checked
def check_prompts(prompts: Int[Tensor, "batch time"], valid: Bool[Tensor, "batch time"] | None) -> None:
    """`ValueError` unless there are prompts, and every row ends in a real token."""
    require(prompts.numel() > 0, "prompts", "must be a non-empty (batch, time)", tuple(prompts.shape))
    if valid is not None:
        require(bool(valid[:, -1].all()), "valid", "must end in a real token in every row (pad on the left)", valid)
