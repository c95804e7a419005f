"""The parts of our models once more, from Keras layers: the same names, the same arithmetic, Keras's own weights.

Read beside `transformer_lib.nn`: each class here has a namesake there, and each attribute too, so that weights find
their partners by name. Keras runs them on whichever backend it was started with. Left out: dropout, caches and
cross-attention.

jaxtyping's checks would wrap `call`, whose signature Keras reads; hence `no_type_check`.
"""

from typing import Any, NamedTuple, no_type_check

import keras
import numpy as np
import torch
from keras import layers, ops

from transformer_lib.config import Alibi, Learned, Mlp, ModelConfig, Norm, Rope, Sinusoidal
from transformer_lib.nn.positions import alibi_slopes, attention_factor, rope_frequencies

Array = Any  # a tensor of Keras's backend


class Relations(NamedTuple):
    """What every layer's attention needs besides the vectors; made once for all layers."""

    mask: Array  # (batch or 1, 1, time, time), True = may look
    bias: Array | None  # (1, heads, time, time)
    cos: Array | None  # (batch or 1, 1, time, half)
    sin: Array | None


def place(tokens: Array, valid: Array | None) -> Array:
    """The position of each token (batch or 1, time), counted over the real ones."""
    if valid is None:
        return ops.arange(ops.shape(tokens)[1], dtype="int32")[None]
    return ops.maximum(ops.cumsum(ops.cast(valid, "int32"), axis=1) - 1, 0)


def relations(config: ModelConfig, positions: Array, valid: Array | None, *, causal: bool, dtype: str) -> Relations:
    """Who looks at whom, and what of the positions enters the scores."""
    distance = positions[:, None, :, None] - positions[:, None, None, :]
    mask = distance >= 0 if causal else ops.ones_like(distance, dtype="bool")
    if config.attention.window is not None:
        mask = ops.logical_and(mask, ops.abs(distance) < config.attention.window)
    if valid is not None:
        mask = ops.logical_and(mask, valid[:, None, None, :])
    bias = cos = sin = None
    match config.positions:
        case Alibi():
            slopes = ops.convert_to_tensor(alibi_slopes(config.attention.num_heads).numpy(), dtype=dtype)
            bias = -slopes[None, :, None, None] * ops.cast(ops.abs(distance), dtype)
        case Rope(theta=theta, scaling=scaling):
            wide = getattr(torch, dtype)
            turns = rope_frequencies(torch.zeros(1, 1), config.head_dim, theta, scaling, wide).numpy()
            angles = (ops.cast(positions, dtype)[..., None] * turns)[:, None]
            size = attention_factor(scaling)
            cos, sin = ops.cos(angles) * size, ops.sin(angles) * size
    return Relations(mask, bias, cos, sin)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Each pair (x_i, x_{i + half}) turned by its angle (Su et al. 2021)."""
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def build_norm(norm: Norm, width: int, dtype: str) -> layers.Layer:
    """`LayerNormalization` or `RMSNormalization`, with our epsilon instead of theirs."""
    kind = layers.LayerNormalization if norm.kind == "layer" else layers.RMSNormalization
    return _built(kind(epsilon=norm.eps, dtype=dtype), width)


@no_type_check
class Attention(layers.Layer):
    """softmax(q k^T / sqrt(head_dim)) v in every head, then `to_out`; a query that sees no key gets zeros."""

    def __init__(self, config: ModelConfig, dtype: str) -> None:
        super().__init__(dtype=dtype)
        part, width = config.attention, config.head_dim
        self.heads, self.groups, self.width = part.num_heads, part.kv_heads, width
        self.to_qkv = _dense((part.num_heads + 2 * part.kv_heads) * width, config.d_model, part.bias, dtype)
        self.to_out = _dense(config.d_model, part.num_heads * width, part.bias, dtype)
        qk_norm = Norm(kind="rms", eps=config.norm.eps)
        self.q_norm = build_norm(qk_norm, width, dtype) if part.qk_norm else None
        self.k_norm = build_norm(qk_norm, width, dtype) if part.qk_norm else None

    def call(self, x: Array, relations: Relations) -> Array:
        batch, time = ops.shape(x)[0], ops.shape(x)[1]
        together = ops.reshape(self.to_qkv(x), (batch, time, self.heads + 2 * self.groups, self.width))
        ends = (self.heads, self.heads + self.groups)
        q, k, v = (ops.transpose(part, (0, 2, 1, 3)) for part in ops.split(together, ends, axis=2))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if relations.cos is not None:
            q, k = rotate(q, relations.cos, relations.sin), rotate(k, relations.cos, relations.sin)
        k, v = (ops.repeat(part, self.heads // self.groups, axis=1) for part in (k, v))
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / self.width**0.5
        scores = scores if relations.bias is None else scores + relations.bias
        weights = ops.softmax(ops.where(relations.mask, scores, ops.full_like(scores, -1e30)), axis=-1)
        weights = ops.where(relations.mask, weights, ops.zeros_like(weights))
        mixed = ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))
        return self.to_out(ops.reshape(mixed, (batch, time, self.heads * self.width)))


@no_type_check
class FeedForward(layers.Layer):
    """activation(x W_1) W_2, or (SiLU(x W_gate) * x W_hidden) W_out."""

    def __init__(self, config: ModelConfig, dtype: str) -> None:
        super().__init__(dtype=dtype)
        part, width = config.feedforward, config.d_model
        self.activation = part.activation if isinstance(part, Mlp) else "silu"
        self.to_gate = None if isinstance(part, Mlp) else _dense(part.d_ff, width, part.bias, dtype)
        self.to_hidden = _dense(part.d_ff, width, part.bias, dtype)
        self.to_out = _dense(width, part.d_ff, part.bias, dtype)

    def call(self, x: Array) -> Array:
        if self.to_gate is not None:
            return self.to_out(keras.activations.silu(self.to_gate(x)) * self.to_hidden(x))
        return self.to_out(_activate(self.to_hidden(x), self.activation))


@no_type_check
class Block(layers.Layer):
    """Attention and the feed-forward network, each added to the stream, with the norm before it or after the sum."""

    def __init__(self, config: ModelConfig, dtype: str) -> None:
        super().__init__(dtype=dtype)
        self.norm_order = config.norm_order
        self.attention_norm = build_norm(config.norm, config.d_model, dtype)
        self.attention = Attention(config, dtype)
        self.feedforward_norm = build_norm(config.norm, config.d_model, dtype)
        self.feedforward = FeedForward(config, dtype)

    def call(self, x: Array, relations: Relations) -> Array:
        if self.norm_order == "pre":
            x = x + self.attention(self.attention_norm(x), relations)
            return x + self.feedforward(self.feedforward_norm(x))
        x = self.attention_norm(x + self.attention(x, relations))
        return self.feedforward_norm(x + self.feedforward(x))


@no_type_check
class Embedding(layers.Layer):
    """A row of `tokens` per id, scaled and normalised as the config says, with position and segment added."""

    def __init__(self, config: ModelConfig, dtype: str) -> None:
        super().__init__(dtype=dtype)
        width = config.d_model
        self.tokens = _table(config.vocab_size, width, dtype)
        self.scale = width**0.5 if config.scale_embeddings else None
        self.positions = _table(config.max_length, width, dtype) if isinstance(config.positions, Learned) else None
        self.base = config.positions.base if isinstance(config.positions, Sinusoidal) else None
        self.segments = _table(config.segments, width, dtype) if config.segments else None
        self.norm = build_norm(config.norm, width, dtype) if config.embedding_norm else None

    def call(self, tokens: Array, positions: Array, segments: Array | None = None) -> Array:
        x = self.tokens(tokens)
        x = x if self.scale is None else x * self.scale
        if self.positions is not None:
            x = x + self.positions(positions)
        if self.base is not None:
            x = x + sinusoidal(positions, self.base, x.shape[-1], self.compute_dtype)
        if self.segments is not None:
            x = x + self.segments(ops.zeros_like(tokens) if segments is None else segments)
        return x if self.norm is None else self.norm(x)


def sinusoidal(positions: Array, base: float, width: int, dtype: str) -> Array:
    """sin and cos of position / base^(2i / width) in channels 2i and 2i + 1 (batch or 1, time, width)."""
    turns = base ** -(np.arange(0, width, 2, dtype=dtype) / width)
    angles = ops.cast(positions, dtype)[..., None] * turns
    both = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(both, (*ops.shape(positions), width))


def _activate(x: Array, name: str) -> Array:
    if name.startswith("gelu"):
        return keras.activations.gelu(x, approximate=name == "gelu_tanh")
    return getattr(keras.activations, name)(x)


def _dense(units: int, width: int, bias: bool, dtype: str) -> layers.Dense:
    return _built(layers.Dense(units, use_bias=bias, dtype=dtype), width)


def _table(rows: int, width: int, dtype: str) -> layers.Embedding:
    table = layers.Embedding(rows, width, dtype=dtype)
    table.build((None, None))
    return table


def _built(layer: layers.Layer, width: int) -> layers.Layer:
    # At once, not at the first call, so that weights can be copied into a model that has not run yet.
    layer.build((None, None, width))
    return layer


@no_type_check
class Head(layers.Layer):
    """x W + b; `tied`, the caller brings W, the table of the embedding (Press and Wolf 2016)."""

    def __init__(self, config: ModelConfig, dtype: str, *, tied: bool, bias: bool) -> None:
        super().__init__(dtype=dtype)
        shape = (config.d_model, config.vocab_size)
        self.kernel = None if tied else self.add_weight(shape=shape, name="kernel")
        self.bias = self.add_weight(shape=shape[1:], name="bias") if bias else None

    def call(self, x: Array, table: Array | None = None) -> Array:
        x = ops.matmul(x, self.kernel if table is None else ops.transpose(table))
        return x if self.bias is None else x + self.bias


@no_type_check
class MaskedLMHead(layers.Layer):
    """Dense, GELU, norm, then the embedding's table plus a bias (Devlin et al. 2018)."""

    def __init__(self, config: ModelConfig, dtype: str) -> None:
        super().__init__(dtype=dtype)
        self.dense = _dense(config.d_model, config.d_model, True, dtype)
        self.norm = build_norm(config.norm, config.d_model, dtype)
        self.to_vocab = Head(config, dtype, tied=True, bias=True)

    def call(self, x: Array, table: Array) -> Array:
        return self.to_vocab(self.norm(_activate(self.dense(x), "gelu")), table)
