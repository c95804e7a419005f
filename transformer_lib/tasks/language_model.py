"""A saved language model that writes: a `DecoderLM` with its tokeniser. `talk` holds conversations with one.

Left out: several texts at once.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from transformer_lib.checks import require, require_kind, require_numbers, require_positive
from transformer_lib.config import ModelConfig
from transformer_lib.contract import checked
from transformer_lib.device import check_device
from transformer_lib.generation.generate import generate, room
from transformer_lib.generation.sampling import sample
from transformer_lib.interop.generation_config import read_generation
from transformer_lib.interop.huggingface import from_hf, lacking_ids
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.nn.memory import memory_of
from transformer_lib.tasks.readable import fault_of_length, fault_of_text
from transformer_lib.tasks.saved import load_config, load_model, load_tokenizer, read_about, save_model
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.published import read_published
from transformer_lib.text.tokenizer import Tokenizer

TASK = "language model"
OWN_FIELDS = ("stop_ids", "forbidden_ids")  # in `about.json`, where there are any
POSITION = 9  # bytes that a cache needs to know where a token stands, and that it is one
MOST_NEW = 200  # tokens, unless the caller says how many


@checked
@dataclass(frozen=True)
class Writer:
    """Call it with the beginning of a text, and it gives a continuation.

    A text ends with a special token, or with one of `stop_ids`, which are other tokens that end a text or a turn. It
    never holds one of `forbidden_ids`, nor a token that the model has and the tokenizer lacks.
    """

    model: DecoderLM
    tokenizer: Tokenizer | SentencePiece
    stop_ids: tuple[int, ...] = ()
    forbidden_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        size = self.model.config.vocab_size
        known = self.tokenizer.vocab_size
        require(known <= size, "tokenizer", f"must have at most {size} tokens", known)
        for name in OWN_FIELDS:
            outside = [i for i in getattr(self, name) if not 0 <= i < size]
            require(not outside, name, f"must be at least 0 and below the vocabulary of {size}", outside)
        require(len({*self._forbidden}) < size, "forbidden_ids", "must leave a token", self.forbidden_ids)

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "Writer":
        """The model that `save` wrote; `ValueError` for anything else."""
        device = check_device(device)
        own = [name for name in OWN_FIELDS if name in read_about(folder, task=TASK)]
        about = read_about(folder, task=TASK, own_fields=own)
        for name in own:
            whole = isinstance(about[name], list) and all(type(i) is int for i in about[name])
            require(whole, f"{folder}: {name}", "must be a list of whole numbers", about[name])
        config = load_config(folder)
        require(isinstance(config, ModelConfig), "config", "must be a ModelConfig", type(config).__name__)
        model = load_model(folder, lambda: DecoderLM(config), device=device)
        return cls(model, load_tokenizer(folder), **{name: tuple(about[name]) for name in own})

    @classmethod
    def from_hf(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype | None = None,
        drop: Collection[str] = (),
        ignore: Collection[str] = (),
        device: torch.device | str = "cpu",
    ) -> "Writer":
        """A decoder that transformers wrote, with its tokenizer and what the folder says about writing.

        It is in the type that it is stored in, or in `dtype`. `drop` lists patterns of weights to leave out, `ignore`
        fields of `generation_config.json` to set aside.
        """
        device = check_device(device)
        settings = read_generation(folder, ignore=ignore)
        model = from_hf(folder, dtype=dtype, dropout=0.0, drop=drop, device=device)
        require(isinstance(model, DecoderLM), "folder", "must hold a decoder", type(model).__name__)
        assert isinstance(model, DecoderLM)
        return cls(model, read_published(folder), settings.stop_ids, settings.forbidden_ids)

    def save(
        self, folder: str | Path, *, record: dict[str, Any] | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Write the new folder `folder` (see `saved.py`); the tokenizer must be a `Tokenizer`."""
        require_kind(self.tokenizer, Tokenizer, "tokenizer", "a Tokenizer, to be saved")
        assert isinstance(self.tokenizer, Tokenizer)
        own = {name: list(getattr(self, name)) for name in OWN_FIELDS if getattr(self, name)}
        about = {"record": record or {}} | own
        save_model(folder, self.model, self.tokenizer, task=TASK, about=about, dtype=dtype)

    def __call__(
        self,
        prompt: str,
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.8,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The continuation of `prompt`: what prompt and continuation spell together, without the prompt.

        It has up to `max_new_tokens` tokens; None stands for as many as fit, at most 200. They are drawn from a
        generator with this seed; temperature 0 is greedy. It ends early at a token that ends a text, which is not
        given, and never within a character. `ValueError` for a prompt that `unreadable` names.
        """
        require_numbers(temperature=temperature)
        ids, fault = self._read(prompt, max_new_tokens)
        if fault is not None:
            raise ValueError(f"prompt {fault}")
        new = max_new_tokens
        return self._continuation(
            ids, self.write(ids, max_new_tokens=new, temperature=temperature, top_p=top_p, seed=seed)
        )

    def write(
        self,
        ids: Sequence[int],
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.8,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[int]:
        """The ids of tokens after these, with the one that ends the text, if it ends early; as in a call."""
        require_numbers(temperature=temperature)
        fault = self.fault_of(ids, max_new_tokens)
        if fault is not None:
            raise ValueError(f"ids {fault}")
        new = max_new_tokens or min(MOST_NEW, self._room(len(ids)))
        return self._write(ids, new, temperature=temperature, top_p=top_p, seed=seed)

    def _write(self, ids: Sequence[int], new: int, *, temperature: float, top_p: float, seed: int) -> list[int]:
        device = self.model.head.weight.device
        generator = torch.Generator(device).manual_seed(seed)
        [written] = generate(
            self.model,
            torch.tensor([list(ids)], device=device),
            max_new_tokens=new,
            pick=partial(sample, temperature=temperature, top_p=top_p, generator=generator),
            stop_ids=self._stops,
            forbidden_ids=self._forbidden,
        ).rows()
        return written

    def unreadable(self, prompts: Sequence[str], *, max_new_tokens: int | None = None) -> dict[int, str]:
        """By number from 0, the prompts that cannot be continued by so many tokens, with the reason.

        They are empty or no text; they have more tokens than `max_length` of the model's config; or they and the new
        tokens have more than its table of positions, or without one more than the device has memory for.
        """
        faults = {number: self._read(prompt, max_new_tokens)[1] for number, prompt in enumerate(prompts)}
        return {number: fault for number, fault in faults.items() if fault}

    def _read(self, prompt: str, new: int | None) -> tuple[list[int], str | None]:
        """The ids of a prompt, and why it cannot be continued."""
        if new is not None:
            require_positive(max_new_tokens=new)
        longest = self.model.config.max_length
        fault = fault_of_text(prompt, tokens=longest)
        if fault is not None:
            return [], fault
        ids = self.tokenizer.encode(prompt, special=True)
        return (ids, self.fault_of(ids, new)) if ids else ([], f"must not be empty, got {prompt!r}")

    def fault_of(self, ids: Sequence[int], new: int | None = None) -> str | None:
        """Why these ids cannot be continued, by so many tokens if that is said; None if they can."""
        if not ids:
            return "must not be empty, got no tokens"
        left, fault = self._room(len(ids)), fault_of_length(list(ids), self.model.config.max_length)
        if fault is None and new is not None and new > left:
            fault = f"must leave room for {new} new tokens: it has {len(ids)}, after which at most {left} fit"
        return fault

    def spell(self, ids: Sequence[int]) -> str:
        """The text of written ids, without the tokens that end a text."""
        return self.tokenizer.decode([i for i in ids if i not in self._stops], whole_characters=True)

    def _room(self, time: int) -> int:
        """How many tokens can be written after `time` tokens; the last of them is never read."""
        left = room(self.model, time)
        if left is None:
            cache, longer = self.model.new_cache(1, 1), self.model.new_cache(1, 2)
            bytes_of_token = longer.bytes - cache.bytes + POSITION  # none but that in layers with a state of fixed size
            left = max(0, memory_of(cache.device) // bytes_of_token + 1 - time)
        return left

    @property
    def _stops(self) -> set[int]:
        return {*self.tokenizer.special_tokens.values(), *self.stop_ids}

    @cached_property
    def _forbidden(self) -> list[int]:
        """Also what the tokenizer lacks, where the model's table was rounded up to a size that GPUs like."""
        return [*self.forbidden_ids, *lacking_ids(self.tokenizer, self.model.config.vocab_size)]

    def _continuation(self, prompt: list[int], written: list[int]) -> str:
        """What the written tokens add to the prompt: some tokenisers drop a space where a text begins."""
        before, whole = ([i for i in ids if i not in self._stops] for ids in (prompt, prompt + written))
        text, beginning = self.tokenizer.decode(whole, whole_characters=True), self.tokenizer.decode(before)
        # Where the prompt alone is spelled in another way than as a beginning, the new tokens stand for themselves.
        return text[len(beginning) :] if text.startswith(beginning) else self.tokenizer.decode(whole[len(before) :])
