"""An encoder-decoder with its source read, so that it writes like any other language model."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.contract import checked_once
from transformer_lib.models.seq2seq import Memory
from transformer_lib.nn.cache import KVCache


@runtime_checkable
class EncoderDecoder(Protocol):
    """What `Conditioned` needs of a model; `Seq2Seq` has it."""

    @property
    def training(self) -> bool:
        """Whether dropout is on."""

    @property
    def context(self) -> int | None:
        """The most tokens of a target that it can read, None for no limit."""

    def encode(self, source: Tensor, valid: Tensor | None = None) -> Memory:
        """Read the source."""

    def decode(
        self,
        target: Tensor,
        memory: Memory,
        *,
        positions: Tensor | None = None,
        valid: Tensor | None = None,
        cache: KVCache | None = None,
        past: Tensor | None = None,
        newest: int | None = None,
    ) -> Tensor:
        """Logits (batch, target, vocab)."""

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache."""


@checked_once
class Conditioned:
    """The model of "what comes next, given this source": give it to `generate` or `beam_search` with start tokens."""

    def __init__(
        self,
        model: EncoderDecoder,
        source: Int[Tensor, "batch source"],
        source_valid: Bool[Tensor, "batch source"] | None = None,
    ) -> None:
        self.model = model
        # Not inference mode, whose tensors autograd refuses, should the model be called where gradients are on.
        with torch.set_grad_enabled(model.training and torch.is_grad_enabled()):
            self.memory = model.encode(source, source_valid)

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return self.model.training

    @property
    def context(self) -> int | None:
        """The most tokens of a target that the model can read, None for no limit."""
        return self.model.context

    def __call__(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "#batch time"] | None = None,
        valid: Bool[Tensor, "batch time"] | None = None,
        cache: KVCache | None = None,
        past: Bool[Tensor, "batch time key"] | None = None,
        newest: int | None = None,
    ) -> Float[Tensor, "batch newest vocab"]:
        """The logits of the token after each of `tokens`."""
        return self.model.decode(
            tokens, self.memory, positions=positions, valid=valid, cache=cache, past=past, newest=newest
        )

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache for the target."""
        return self.model.new_cache(batch, max_length)
