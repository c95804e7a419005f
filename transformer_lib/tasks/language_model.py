"""A saved language model that writes: a `DecoderLM` with its tokeniser. Left out: chat, several texts at once."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from transformer_lib.config import ModelConfig, require
from transformer_lib.contract import checked
from transformer_lib.generation.generate import generate
from transformer_lib.generation.sampling import sample
from transformer_lib.interop.huggingface import from_hf, read_tokenizer
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.tasks.saved import load_config, load_model, load_tokenizer, read_about, save_model
from transformer_lib.text.tokenizer import Tokenizer

TASK = "language model"


@checked
@dataclass(frozen=True)
class Writer:
    """Call it with the beginning of a text, and it gives a continuation."""

    model: DecoderLM
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        size = self.model.config.vocab_size
        known = self.tokenizer.vocab_size  # fewer where the table was rounded up to a size that GPUs like
        require(known <= size, "tokenizer", f"must have at most {size} tokens", known)

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "Writer":
        """The model that `save` wrote; `ValueError` for anything else."""
        read_about(folder, task=TASK, own_fields=())
        config = load_config(folder)
        require(isinstance(config, ModelConfig), "config", "must be a ModelConfig", type(config).__name__)
        return cls(load_model(folder, lambda: DecoderLM(config), device=device), load_tokenizer(folder))

    @classmethod
    def from_hf(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "Writer":
        """A decoder that transformers wrote, with its `tokenizer.json`."""
        model = from_hf(folder, dropout=0.0, device=device)
        require(isinstance(model, DecoderLM), "folder", "must hold a decoder", type(model).__name__)
        assert isinstance(model, DecoderLM)
        return cls(model, read_tokenizer(folder))

    def save(
        self, folder: str | Path, *, record: dict[str, Any] | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Write the new folder `folder` (see `saved.py`)."""
        save_model(folder, self.model, self.tokenizer, task=TASK, about={"record": record or {}}, dtype=dtype)

    def __call__(
        self, prompt: str, *, max_new_tokens: int = 200, temperature: float = 0.8, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """Up to `max_new_tokens` tokens after `prompt`, drawn from a generator with this seed; temperature 0 is greedy.

        It ends early at a special token, which is not given. `ValueError` for a prompt without characters.
        """
        ids = self.tokenizer.encode(prompt)
        require(bool(ids), "prompt", "must not be empty", prompt)
        device = self.model.head.weight.device
        generator = torch.Generator(device).manual_seed(seed)
        pick = partial(sample, temperature=temperature, top_p=top_p, generator=generator)
        stops = set(self.tokenizer.special_tokens.values())
        prompts = torch.tensor([ids], device=device)
        [written] = generate(self.model, prompts, max_new_tokens=max_new_tokens, pick=pick, stop_ids=stops).rows()
        return self.tokenizer.decode([i for i in written if i not in stops])
