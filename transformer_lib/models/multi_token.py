"""A decoder that predicts several tokens at once: multi-token prediction as in DeepSeek-V3 (2024, section 2.2).

Beside the decoder stand heads, one for each further token. In training their losses are added to the decoder's; in
generation they are left out, or draft what the decoder then checks (`generation.speculate`). transformers leaves such
heads out when it loads DeepSeek-V3, and so does `interop.from_hf` with `drop`: they are layers behind the last.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import ModelConfig, require, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.further import FurtherHead
from transformer_lib.nn.init import init_weights
from transformer_lib.nn.relations import place
from transformer_lib.nn.router import Load


@checked_once
class MultiTokenLM(nn.Module):
    """A `DecoderLM` with `further` heads; called as a model, it is the decoder and no more.

    Embedding and output head are shared. Each head has the weights of one more layer like the decoder's last, and of a
    matrix that joins two vectors.
    """

    def __init__(self, model: DecoderLM, further: int = 1) -> None:
        super().__init__()
        require_positive(further=further)
        require(further < model.config.max_length, "further", f"must be below {model.config.max_length}", further)
        self.model = model
        self.heads = nn.ModuleList(FurtherHead(model.config) for _ in range(further))
        init_weights(self.heads, model.config)
        weight = model.head.weight
        self.heads.to(device=weight.device, dtype=weight.dtype)

    @property
    def config(self) -> ModelConfig:
        """The decoder's."""
        return self.model.config

    @property
    def context(self) -> int | None:
        """The most tokens of a text that it can read, None for no limit."""
        return self.model.context

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "#batch time"] | None = None,
        valid: Bool[Tensor, "batch time"] | None = None,
        cache: KVCache | None = None,
        past: Bool[Tensor, "batch time key"] | None = None,
        newest: int | None = None,
    ) -> Float[Tensor, "batch newest vocab"]:
        """The decoder's logits of the token after each position."""
        return self.model(tokens, positions=positions, valid=valid, cache=cache, past=past, newest=newest)

    def _check_ahead(self, tokens: Tensor, loads: Sequence[Load | None] | None) -> None:
        further, time = len(self.heads), tokens.shape[1]
        require(time > further, "tokens", f"must be more than the {further} that the heads look ahead", time)
        if loads is not None:
            parts = len(self.model.blocks) + further
            require(len(loads) == parts, "loads", f"must be one (or None) for each of {parts} blocks", len(loads))

    @also(_check_ahead)
    def ahead(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        valid: Bool[Tensor, "batch time"] | None = None,
        loads: Sequence[Load | None] | None = None,
    ) -> tuple[Float[Tensor, "batch _ vocab"], ...]:
        """The decoder's logits, then those of each head, k: of the token k + 1 places on, for all but the last k.

        `loads` are those of the layers, then of the heads (`new_loads`).
        """
        layers = len(self.model.blocks)
        positions = place(tokens, valid, None)
        counted = [None] * (layers + len(self.heads)) if loads is None else list(loads)
        states = self.model.hidden(tokens, positions=positions, valid=valid, loads=counted[:layers])
        found = [self.model.logits(states)]
        embedded = self.model.embedding(tokens, positions)
        for k, head in enumerate(self._heads(), start=1):
            real = None if valid is None else valid[:, :-k]
            load = counted[layers + k - 1]
            states = head(states[:, :-1], embedded[:, k:], positions[:, :-k], valid=real, load=load)
            found.append(self.logits_of(k - 1, states))
        return tuple(found)

    def _check_step(self, index: int, states: Tensor, tokens: Tensor, start: int) -> None:
        require(0 <= index < len(self.heads), "index", f"must be that of one of {len(self.heads)} heads", index)
        require_fit("states", states, self.model.head.weight)
        require(start >= 0, "start", "must not be negative", start)

    @also(_check_step)
    def step(
        self,
        index: int,
        states: Float[Tensor, "batch time d_model"],
        tokens: Int[Tensor, "batch time"],
        start: int,
        cache: KVCache,
    ) -> Float[Tensor, "batch time d_model"]:
        """What one head makes of states that stand at `start` and after, and of the tokens that came next."""
        positions = torch.arange(start, start + states.shape[1], device=tokens.device)[None]
        following = self.model.embedding(tokens, positions + index + 1)
        made: Tensor = self.heads[index](states, following, positions, cache=cache)
        return made

    @also(lambda self, states: require_fit("states", states, self.model.head.weight))
    def logits_of(self, index: int, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """The logits that follow from what one head made."""
        require(0 <= index < len(self.heads), "index", f"must be that of one of {len(self.heads)} heads", index)
        return self.model.logits(self._heads()[index].out_norm(states))

    def new_loads(self) -> list[Load | None]:
        """As those of the decoder, with one more for each head."""
        device = self.model.head.weight.device
        loads = self.model.new_loads()
        for head in self._heads():
            part = head.block.feedforward
            experts = part.router.config.num_experts if isinstance(part, MixtureOfExperts) else None
            loads.append(None if experts is None else Load(experts, device=device))
        return loads

    def _heads(self) -> list[FurtherHead]:
        return [head for head in self.heads if isinstance(head, FurtherHead)]

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache for the decoder."""
        return self.model.new_cache(batch, max_length)

    def head_caches(self, batch: int, max_length: int) -> list[KVCache]:
        """An empty cache for each head, of one layer."""
        weight = self.model.head.weight
        return [
            KVCache(head.config, batch, max_length, dtype=weight.dtype, device=weight.device) for head in self._heads()
        ]
