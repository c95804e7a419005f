"""The encoder-decoder of Vaswani et al. (2017): read a source, then write a target while looking back at it.

Left out: search over targets (`transformer_lib.generation`).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.checks import require_kind
from transformer_lib.config import Learned, Seq2SeqConfig, require
from transformer_lib.contract import also, checked_once
from transformer_lib.models.encoder import Encoder
from transformer_lib.nn.attention import KeyValues
from transformer_lib.nn.block import Block
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.embedding import Embedding, check_newest, check_positions, check_tokens
from transformer_lib.nn.fit import require_same_dtype
from transformer_lib.nn.init import init_weights
from transformer_lib.nn.masks import padding_mask
from transformer_lib.nn.memory import require_stack_memory
from transformer_lib.nn.norm import build_final_norm
from transformer_lib.nn.relations import causal_relations, kinds_of, place


@checked_once
class Memory(NamedTuple):
    """What the decoder looks at: the source's keys and values, projected once for each decoder layer."""

    layers: list[KeyValues]
    valid: Bool[Tensor, "batch source"] | None


@checked_once
class Seq2Seq(nn.Module):
    """Encoder, and a decoder whose blocks also attend to the encoder's output."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        require_stack_memory(config.encoder)
        require_stack_memory(config.decoder)
        super().__init__()
        self.config = config
        decoder = config.decoder
        self.encoder = Encoder(config.encoder)
        self.embedding = Embedding(decoder)
        self.blocks = nn.ModuleList(Block(layer, cross_attention=True) for layer in decoder.layers)
        self.kinds = kinds_of(decoder)
        self.final_norm = build_final_norm(decoder)
        self.head = nn.Linear(decoder.d_model, decoder.vocab_size, bias=decoder.head_bias)
        for part in (self.embedding, self.blocks, self.head):
            init_weights(part, decoder)
        if config.share_embeddings:
            self.embedding.tokens = self.encoder.embedding.tokens
        if decoder.tie_embeddings:
            self.head.weight = self.embedding.tokens.weight

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        target: Int[Tensor, "batch target"],
        *,
        source_valid: Bool[Tensor, "batch source"] | None = None,
        target_valid: Bool[Tensor, "batch target"] | None = None,
    ) -> Float[Tensor, "batch target vocab"]:
        """The logits of the token after each target position, with the true target so far as input."""
        return self.decode(target, self.encode(source, source_valid), valid=target_valid)

    def encode(self, source: Int[Tensor, "batch source"], valid: Bool[Tensor, "batch source"] | None = None) -> Memory:
        """Read the source once; every decoding step then reuses the result."""
        check_tokens(source, self.config.encoder.vocab_size, "source")
        states = self.encoder(source, valid=valid)
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        return Memory([block.project_memory(states) for block in blocks], valid)

    def _check_memory(self, target: Tensor, memory: Memory) -> None:
        """It may be of another model, or changed by `_replace`, which looks at nothing."""
        layers, weight = len(self.blocks), self.head.weight
        require_kind(memory.layers, list, "memory.layers", "a list of KeyValues")
        require(len(memory.layers) == layers, "memory", f"must have {layers} layers", len(memory.layers))
        for layer in memory.layers:
            require_kind(layer, KeyValues, "memory.layers", "a list of KeyValues")
        parts = [part for layer in memory.layers for part in layer]
        for part in parts:
            require_kind(part, Tensor, "memory.layers", "a list of KeyValues, which are Tensors")
        keys = parts[0].shape[2] if parts[0].ndim == 4 else 0
        rows = len(parts[0])
        require(rows == len(target), "target", f"must have as many rows as the source, {rows}", len(target))
        for block, layer in zip(self.blocks, memory.layers, strict=True):
            assert isinstance(block, Block) and block.cross_attention is not None
            wanted = (rows, block.cross_attention.heads[1], keys, block.cross_attention.head_dim)
            for part in layer:
                if part.shape != wanted:
                    require(False, "memory", f"must hold keys and values of the shape {wanted}", tuple(part.shape))
                if part.dtype != weight.dtype:
                    require_same_dtype("memory", part, weight.dtype)
        if memory.valid is not None:
            require_kind(memory.valid, Tensor, "memory.valid", "a Tensor")
            require(memory.valid.dtype == torch.bool, "memory.valid", "must be boolean", memory.valid.dtype)
            rule = f"must say of {(rows, keys)} tokens which are real"
            require(memory.valid.shape == (rows, keys), "memory.valid", rule, tuple(memory.valid.shape))

    def _check_cache(self, cache: KVCache | None) -> None:
        if cache is not None:
            cache.check_fits(self.config.decoder)
            cache.check_meets(self.head.weight)

    @also(_check_memory, _check_cache)
    def decode(
        self,
        target: Int[Tensor, "batch target"],
        memory: Memory,
        *,
        positions: Int[Tensor, "#batch target"] | None = None,
        valid: Bool[Tensor, "batch target"] | None = None,
        cache: KVCache | None = None,
        past: Bool[Tensor, "batch target key"] | None = None,
        newest: int | None = None,
    ) -> Float[Tensor, "batch newest vocab"]:
        """The logits of the token after each target position; arguments as for a `DecoderLM`."""
        states = self.hidden(target, memory, positions=positions, valid=valid, cache=cache, past=past, newest=newest)
        logits, cap = self.head(states), self.config.decoder.logit_cap
        return logits if cap is None else cap * (logits / cap).tanh()

    @also(_check_memory, _check_cache)
    def hidden(
        self,
        target: Int[Tensor, "batch target"],
        memory: Memory,
        *,
        positions: Int[Tensor, "#batch target"] | None = None,
        valid: Bool[Tensor, "batch target"] | None = None,
        cache: KVCache | None = None,
        past: Bool[Tensor, "batch target key"] | None = None,
        newest: int | None = None,
    ) -> Float[Tensor, "batch newest d_model"]:
        """The decoder's residual stream after the final norm: what the head reads."""
        config = self.config.decoder
        check_tokens(target, config.vocab_size, "target")
        if newest is not None:
            check_newest(newest, target.shape[1])
        plain = positions is None and valid is None and past is None
        if positions is None:
            positions = place(target, valid, cache)
        check_positions(positions, target)
        x = self.embedding(target, positions)
        if cache is not None:
            cache.extend(positions, valid, batch=len(target), plain=plain)
        relations = [
            causal_relations(kind, positions, valid, cache, plain=plain, dtype=x.dtype, past=past)
            for kind in self.kinds.configs
        ]
        source_mask = None if memory.valid is None else padding_mask(memory.valid)
        layers = zip(self.blocks, self.kinds.of_layer, memory.layers, strict=True)
        for index, (block, kind, seen) in enumerate(layers):
            layer = None if cache is None else cache.layer(index)
            x = block(x, relations=relations[kind], cache=layer, memory=seen, memory_mask=source_mask)
        return self.final_norm(x if newest is None else x[:, -newest:])

    @property
    def context(self) -> int | None:
        """The most tokens of a target that it can read: the size of its position table, None without one."""
        config = self.config.decoder
        return config.max_length if isinstance(config.positions, Learned) else None

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache for the decoder's self-attention, on the model's device and in its precision."""
        weight = self.head.weight
        return KVCache(self.config.decoder, batch, max_length, dtype=weight.dtype, device=weight.device)
