"""Where a token stands and whom it may see, as Keras layers; and what all layers here have in common.

Read beside `transformer_lib.nn.positions` and `nn.masks`. What a model consists of directly is registered, so that a
saved one is found again; a layer that is made from a `ModelConfig` stores that as JSON. A wrong argument of ours is
refused when a layer is made. `options` are Keras's, as is what they and a call must be.

Importing this module imports Keras, on TensorFlow's backend; `ValueError` if Keras is at work on another.
"""

import os
import sys
from typing import Any, no_type_check

import numpy as np
import torch

from transformer_lib.checks import require, require_flags, require_kind, require_positive
from transformer_lib.config import ModelConfig, NtkScaling, Rope, from_json, to_json
from transformer_lib.extras import needed
from transformer_lib.nn.positions import alibi_slopes, attention_factor, rope_frequencies

if "keras" not in sys.modules:  # which reads the first at its import, once and for all, and TensorFlow the second
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors yes; its notes on this machine's CPU no

with needed():
    import keras as keras
    from keras import layers as layers
    from keras import ops as ops

BACKEND = keras.config.backend()
require(BACKEND == "tensorflow", "KERAS_BACKEND", "must be 'tensorflow' before Keras is imported", BACKEND)

Array = Any  # a tensor of Keras's backend
Shape = tuple[int | None, ...]


# In all classes below: jaxtyping's run-time checks would wrap `call`, whose arguments Keras reads from its signature.


@no_type_check
class Part(layers.Layer):
    """A layer made from the config of its model, or from that as JSON; all of them keep the shape of their input."""

    def __init__(self, config: ModelConfig | str, **options: Any) -> None:
        require_kind(config, (ModelConfig, str), "config", "a ModelConfig, or one as JSON")
        config = from_json(config) if isinstance(config, str) else config
        require(isinstance(config, ModelConfig), "config", "must be that of one stack", type(config).__name__)
        super().__init__(**options)
        self.config: ModelConfig = config

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"config": to_json(self.config)}

    def compute_output_spec(self, x: Array, *others: Array, **options: Any) -> Any:  # or Keras would trace every call
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)


@no_type_check
@keras.saving.register_keras_serializable("transformer_lib")
class Positions(layers.Layer):
    """valid (batch, time) -> the position of each token, counted over the real ones, (batch, time)."""

    def call(self, valid: Array) -> Array:
        return ops.maximum(ops.cumsum(ops.cast(valid, "int32"), axis=1) - 1, 0)


@no_type_check
@keras.saving.register_keras_serializable("transformer_lib")
class AttentionMask(layers.Layer):
    """positions, valid (batch, time) -> (batch, 1, query or 1, key), True = may look.

    One looks at real tokens less than `window` positions away and, if `causal`, not at later ones.
    """

    def __init__(self, causal: bool, window: int | None = None, **options: Any) -> None:
        require_flags(causal=causal)
        if window is not None:
            require_positive(window=window)
        super().__init__(**options)
        self.causal, self.window = causal, window

    def call(self, positions: Array, valid: Array) -> Array:
        distance = positions[:, None, :, None] - positions[:, None, None, :]
        allowed = valid[:, None, None, :]
        if self.causal:
            allowed = ops.logical_and(allowed, distance >= 0)
        if self.window is not None:
            allowed = ops.logical_and(allowed, ops.abs(distance) < self.window)
        return allowed

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"causal": self.causal, "window": self.window}


@no_type_check
class Rotary(Part):
    """x (batch, time, heads, head_dim), positions -> x with each pair (x_i, x_{i + half}) turned (Su et al. 2021)."""

    def __init__(self, config: ModelConfig | str, **options: Any) -> None:
        super().__init__(config, **options)
        rope: Any = self.config.positions
        require(isinstance(rope, Rope), "config.positions", "must be a Rope", rope)
        self.theta, self.scaling, self.size = rope.theta, rope.scaling, attention_factor(rope.scaling)

    def call(self, x: Array, positions: Array) -> Array:
        angles = (ops.cast(positions, self.compute_dtype)[..., None] * self.frequencies(positions))[:, :, None]
        cos, sin = ops.cos(angles) * self.size, ops.sin(angles) * self.size
        first, second = ops.split(x, 2, axis=-1)
        return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def frequencies(self, positions: Array) -> Array:
        """Radians per position, (half) or, under `NtkScaling`, (batch, 1, half)."""
        width, kind = self.config.head_dim, self.compute_dtype
        if isinstance(self.scaling, NtkScaling):  # alone in depending on the length that a row has reached
            factor, trained = self.scaling.factor, self.scaling.original_length
            length = ops.cast(ops.maximum(ops.max(positions, axis=1) + 1, trained), kind)
            theta = self.theta * (factor * length / trained - (factor - 1)) ** (width / (width - 2))
            return theta[:, None, None] ** _exponents(width, kind)
        anywhere = torch.zeros(1, 1, dtype=torch.int64)
        return rope_frequencies(anywhere, width, self.theta, self.scaling, getattr(torch, kind)).numpy()


@no_type_check
class AlibiBias(Part):
    """scores (batch, heads, query, key), positions -> scores - slope * distance (Press et al. 2021)."""

    def call(self, scores: Array, positions: Array) -> Array:
        slopes = alibi_slopes(self.config.heads.num_heads).numpy().astype(self.compute_dtype)
        distance = ops.abs(positions[:, None, :, None] - positions[:, None, None, :])
        return scores - slopes[:, None, None] * ops.cast(distance, scores.dtype)


def sinusoidal(positions: Array, width: int, base: float, dtype: str) -> Array:
    """sin and cos of position / base^(2i / width) in channels 2i and 2i + 1, (batch, time, width)."""
    angles = ops.cast(positions, dtype)[..., None] * base ** _exponents(width, dtype)
    both = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(both, (*ops.shape(positions), width))


def _exponents(width: int, dtype: str) -> Any:
    return -np.arange(0, width, 2, dtype=dtype) / width
