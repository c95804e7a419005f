"""The parts of our models once more, as Keras layers: the same names, the same arithmetic, Keras's own weights.

Read beside `transformer_lib.nn`: the attributes of a layer are called as in its namesake there, so that weights find
their partners by name. Where Keras has the layer, it is Keras's. Left out: caches and cross-attention.
"""

import math
from typing import Any, no_type_check

from transformer_lib.config import Activation, Alibi, Learned, Mlp, ModelConfig, Norm, Rope, Sinusoidal, SwiGlu
from transformer_lib.contract import checked
from transformer_lib.interop.keras_positions import (
    AlibiBias,
    Array,
    Part,
    Rotary,
    Shape,
    keras,
    layers,
    ops,
    sinusoidal,
)


@checked
def build_norm(norm: Norm, **options: Any) -> Any:
    """The layer that a `Norm` describes; Keras's own epsilon would be 1e-3 or 1e-6."""
    kind = layers.LayerNormalization if norm.kind == "layer" else layers.RMSNormalization
    return kind(epsilon=norm.eps, **options)


# In all classes below: jaxtyping's run-time checks would wrap `call`, whose arguments Keras reads from its signature.


@no_type_check
class Attention(Part):
    """softmax(q k^T / sqrt(head_dim)) v in every head, then `to_out`; a query that may look at nothing gets zeros.

    Keras's `GroupQueryAttention` has no place for rotations, normalised queries and ALiBi between its projections and
    its product.
    """

    def __init__(self, config: ModelConfig | str, **options: Any) -> None:
        super().__init__(config, **options)
        part, positions = self.config.multihead, self.config.positions
        self.heads, self.kv_heads, self.head_dim = part.num_heads, part.kv_heads, self.config.head_dim
        rms, own = Norm(kind="rms", eps=self.config.norm.eps), {"dtype": self.dtype_policy}
        self.to_qkv = layers.Dense((self.heads + 2 * self.kv_heads) * self.head_dim, use_bias=part.qkv_bias, **own)
        self.to_out = layers.Dense(self.config.d_model, use_bias=part.out_bias, **own)
        self.q_norm: Any = build_norm(rms, **own) if part.qk_norm else None
        self.k_norm: Any = build_norm(rms, **own) if part.qk_norm else None
        self.rotary = Rotary(self.config, **own) if isinstance(positions, Rope) else None
        self.alibi = AlibiBias(self.config, **own) if isinstance(positions, Alibi) else None
        self.softmax = layers.Softmax(**own)
        self.dropout = layers.Dropout(self.config.dropout, **own)

    def build(self, input_shape: Shape) -> None:
        self.to_qkv.build(input_shape)
        self.to_out.build((None, None, self.heads * self.head_dim))
        if self.config.heads.qk_norm:
            self.q_norm.build((None, None, None, self.head_dim))
            self.k_norm.build((None, None, None, self.head_dim))

    def call(self, x: Array, positions: Array, attention_mask: Array) -> Array:
        batch, time = ops.shape(x)[:2]
        qkv = ops.reshape(self.to_qkv(x), (batch, time, self.heads + 2 * self.kv_heads, self.head_dim))
        q, k, v = ops.split(qkv, (self.heads, self.heads + self.kv_heads), axis=2)
        if self.config.heads.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rotary is not None:
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        k, v = (ops.repeat(part, self.heads // self.kv_heads, axis=2) for part in (k, v))
        scores = ops.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(self.head_dim)
        if self.alibi is not None:
            scores = self.alibi(scores, positions)
        weights = self.softmax(scores, mask=attention_mask)  # zeros, too, where it leaves nothing
        mixed = ops.einsum("bhqk,bkhd->bqhd", self.dropout(weights), v)
        return self.to_out(ops.reshape(mixed, (batch, time, self.heads * self.head_dim)))


@no_type_check
class FeedForward(Part):
    """activation(x W_1) W_2, or (SiLU(x W_gate) * x W_hidden) W_out."""

    def __init__(self, config: ModelConfig | str, **options: Any) -> None:
        super().__init__(config, **options)
        part, own = self.config.feedforward, {"dtype": self.dtype_policy}
        self.activation: Activation = part.activation if isinstance(part, Mlp) else "silu"
        self.to_gate = layers.Dense(part.d_ff, use_bias=part.bias, **own) if isinstance(part, SwiGlu) else None
        self.to_hidden = layers.Dense(part.d_ff, use_bias=part.bias, **own)
        self.to_out = layers.Dense(self.config.d_model, use_bias=part.bias, **own)

    def build(self, input_shape: Shape) -> None:
        if self.to_gate is not None:
            self.to_gate.build(input_shape)
        self.to_hidden.build(input_shape)
        self.to_out.build((*input_shape[:-1], self.config.feedforward.d_ff))

    def call(self, x: Array) -> Array:
        if self.to_gate is None:
            return self.to_out(_activate(self.to_hidden(x), self.activation))
        return self.to_out(_activate(self.to_gate(x), self.activation) * self.to_hidden(x))


@no_type_check
@keras.saving.register_keras_serializable("transformer_lib")
class Block(Part):
    """Attention, then the feed-forward network, each added to the stream x (batch, time, d_model)."""

    def __init__(self, config: ModelConfig | str, **options: Any) -> None:
        super().__init__(config, **options)
        own = {"dtype": self.dtype_policy}
        self.attention_norm = build_norm(self.config.norm, **own)
        self.attention = Attention(self.config, **own)
        self.feedforward_norm = build_norm(self.config.norm, **own)
        self.feedforward = FeedForward(self.config, **own)
        self.dropout = layers.Dropout(self.config.dropout, **own)

    def build(self, input_shape: Shape) -> None:
        for part in (self.attention_norm, self.attention, self.feedforward_norm, self.feedforward):
            part.build(input_shape)

    def call(self, x: Array, positions: Array, attention_mask: Array) -> Array:
        if self.config.norm_order == "pre":
            x = x + self.dropout(self.attention(self.attention_norm(x), positions, attention_mask))
            return x + self.dropout(self.feedforward(self.feedforward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, positions, attention_mask)))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


@no_type_check
@keras.saving.register_keras_serializable("transformer_lib")
class Embedding(Part):
    """What is done to the vectors of the tokens, (batch, time, d_model), before the first block.

    They are scaled and normalised as the config says, with position and segment added; segment 0 unless given.
    """

    def __init__(self, config: ModelConfig | str, **options: Any) -> None:
        super().__init__(config, **options)
        width, places, own = self.config.d_model, self.config.positions, {"dtype": self.dtype_policy}
        self.scale = math.sqrt(width) if self.config.scale_embeddings else 1.0
        self.positions = layers.Embedding(self.config.max_length, width, **own) if isinstance(places, Learned) else None
        self.segments = layers.Embedding(self.config.segments, width, **own) if self.config.segments else None
        self.norm = build_norm(self.config.norm, **own) if self.config.embedding_norm else None
        self.dropout = layers.Dropout(self.config.dropout, **own)

    def build(self, input_shape: Shape) -> None:
        for part in filter(None, (self.positions, self.segments, self.norm)):
            part.build(input_shape)

    def call(self, x: Array, positions: Array, segments: Array | None = None) -> Array:
        x = x * self.scale
        if self.positions is not None:
            x = x + self.positions(positions)
        elif isinstance(self.config.positions, Sinusoidal):
            x = x + sinusoidal(positions, self.config.d_model, self.config.positions.base, self.compute_dtype)
        if self.segments is not None:
            x = x + self.segments(ops.zeros_like(positions) if segments is None else segments)
        return self.dropout(x if self.norm is None else self.norm(x))


@no_type_check
@keras.saving.register_keras_serializable("transformer_lib")
class Bias(layers.Layer):
    """x + b, for a head whose matrix is the embedding's."""

    def build(self, input_shape: Shape) -> None:
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, x: Array) -> Array:
        return x + self.bias


def _activate(x: Array, activation: Activation) -> Array:
    if activation in ("gelu", "gelu_tanh"):
        return keras.activations.gelu(x, approximate=activation == "gelu_tanh")
    return {"relu": keras.activations.relu, "silu": keras.activations.silu}[activation](x)
