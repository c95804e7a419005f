"""Keras: our models rebuilt from Keras 3 layers with the same weights, for TensorFlow, its files and its services.

`to_keras` gives a `keras.Model` that computes the same numbers from NumPy arrays or TensorFlow's tensors:

    theirs([tokens, valid])  ->  logits (batch, time, vocab), or an encoder's states (batch, time, d_model)

tokens are integers and valid is boolean, True for a real token, both (batch, time) of any size; an encoder whose config
has segments takes [tokens, valid, segments]. It is a functional model, so `summary`, `save`, `keras.saving.load_model`
(once this module is imported) and `export` are Keras's own; the SavedModel runs without Keras and without this library.
Dropout is where ours has it, and off unless called with `training=True`. In float64 too, Keras's GELU rounds its
constants to float32.

`partners` pairs the weights, so that gradients can be compared too. Left out: encoder-decoders, caches, half precision,
our checks of the tokens, and the way back.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from transformer_lib.checks import require_kind
from transformer_lib.config import (
    Alibi,
    Learned,
    LinearScaling,
    Llama3Scaling,
    Mlp,
    ModelConfig,
    NoPositions,
    NtkScaling,
    Rope,
    Sinusoidal,
    SwiGlu,
    YarnScaling,
    require,
)
from transformer_lib.config.plain import require_plain
from transformer_lib.contract import checked
from transformer_lib.interop.keras_layers import Bias, Block, Embedding, build_norm
from transformer_lib.interop.keras_positions import Array, AttentionMask, Positions, keras, layers
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.heads import MaskedLM

Model = DecoderLM | Encoder | MaskedLM
TYPES = {torch.float32: "float32", torch.float64: "float64"}
ATTRIBUTES: dict[type, dict[str, str]] = {  # what a layer of theirs calls our `weight` and `bias`
    layers.Dense: {"weight": "kernel", "bias": "bias"},
    layers.Embedding: {"weight": "embeddings"},
    layers.LayerNormalization: {"weight": "gamma", "bias": "beta"},
    layers.RMSNormalization: {"weight": "scale"},
    Bias: {"bias": "bias"},
}


class Partner(NamedTuple):
    """A parameter of ours, the variable of theirs that holds the same numbers, and how these come into our layout.

    `to_ours` takes their array, a gradient for instance, and gives a tensor of the parameter's shape.
    """

    parameter: nn.Parameter
    variable: Any
    to_ours: Callable[[Array], Tensor]


@checked
def to_keras(model: Model) -> Any:
    """The `keras.Model` of the same numbers, in the model's type and with a copy of its weights.

    `ValueError` for a class that only inherits from ours, for weights that are not finite, or not all float32 or all
    float64, and for a choice in the config that has no counterpart among the layers here.
    """
    known = type(model) in (DecoderLM, Encoder, MaskedLM)
    require(known, "model", "must be a DecoderLM, an Encoder or a MaskedLM", type(model).__name__)
    types = sorted({str(weight.dtype) for weight in model.parameters()})
    found = {kind for kind in TYPES if str(kind) in types}
    require(len(types) == len(found) == 1, "model", f"must be in one type of {[*map(str, TYPES)]}", types)
    _check_weights(model)
    _check_config(model.config)
    theirs = _rebuild(model, TYPES[found.pop()])
    copy_weights(model, theirs)
    return theirs


@checked
def copy_weights(model: Model, theirs: Any) -> None:
    """Give `theirs`, made by `to_keras` from a model of this config, the weights that the model has now."""
    _check_weights(model)
    for weight, variable, to_ours in partners(model, theirs).values():
        variable.assign(to_ours(weight.detach().cpu().numpy()).numpy())  # each layout is its own inverse


@checked
def partners(model: Model, theirs: Any) -> dict[str, Partner]:
    """Each parameter of the model by its name, with the variable that it is in `to_keras(model)`.

    `ValueError` if a parameter has no partner or one of another shape, or if a variable is left over.
    """
    require_kind(theirs, keras.Model, "theirs", "a keras.Model")
    pairs = {name: _partner(name, weight, theirs) for name, weight in model.named_parameters()}
    paired = {id(pair.variable) for pair in pairs.values()}
    left = [variable.path for variable in theirs.trainable_variables if id(variable) not in paired]
    require(not left, "theirs", "must have no further variables", left)
    return pairs


def _check_weights(model: nn.Module) -> None:
    for name, weight in model.named_parameters():
        require(not weight.is_meta, name, "must hold numbers", "a tensor on the meta device")
        require(bool(weight.isfinite().all()), name, "must be finite", "NaN or infinity")


def _check_config(config: ModelConfig) -> None:
    """`ValueError` for a kind of part that the layers would take for another."""
    require_plain(config)
    positions = config.positions
    scaling = positions.scaling if isinstance(positions, Rope) else None
    for field, part, known in (
        ("positions", positions, (NoPositions, Sinusoidal, Learned, Rope, Alibi)),
        ("positions.scaling", scaling, (type(None), LinearScaling, NtkScaling, YarnScaling, Llama3Scaling)),
        ("feedforward", config.feedforward, (Mlp, SwiGlu)),
    ):
        names = [kind.__name__ for kind in known]
        require(type(part) in known, field, f"must be one of {names} to be rebuilt in Keras", part)


def _rebuild(model: Model, dtype: str) -> Any:
    """Every layer has the name of the module whose part it plays, so `summary()` reads like our state dict."""
    config = model.config
    prefix = "encoder." if isinstance(model, MaskedLM) else ""
    inputs = [keras.Input((None,), dtype="int32", name="tokens"), keras.Input((None,), dtype="bool", name="valid")]
    if config.segments and not isinstance(model, DecoderLM):
        inputs.append(keras.Input((None,), dtype="int32", name="segments"))
    tokens, valid, *segments = inputs
    table = layers.ReversibleEmbedding(config.vocab_size, config.d_model, dtype=dtype, name=f"{prefix}embedding.tokens")
    positions = Positions(name="positions")(valid)
    mask = AttentionMask(isinstance(model, DecoderLM), config.heads.window, name="mask")(positions, valid)
    x = Embedding(config, dtype=dtype, name=f"{prefix}embedding")(table(tokens), positions, *segments)
    for index in range(config.num_layers):
        x = Block(config, dtype=dtype, name=f"{prefix}blocks.{index}")(x, positions, mask)
    if config.norm_order == "pre":
        x = build_norm(config.norm, dtype=dtype, name=f"{prefix}final_norm")(x)
    if isinstance(model, DecoderLM):
        x = _head(x, config, table, dtype)
    elif isinstance(model, MaskedLM):
        x = layers.Dense(config.d_model, activation="gelu", dtype=dtype, name="head.dense")(x)
        x = build_norm(config.norm, dtype=dtype, name="head.norm")(x)
        x = Bias(dtype=dtype, name="head.to_vocab")(table(x, reverse=True))
    return keras.Model(inputs, x, name=type(model).__name__)


def _head(x: Array, config: ModelConfig, table: Any, dtype: str) -> Array:
    if not config.tie_embeddings:
        return layers.Dense(config.vocab_size, use_bias=config.head_bias, dtype=dtype, name="head")(x)
    x = table(x, reverse=True)
    return Bias(dtype=dtype, name="head")(x) if config.head_bias else x


def _partner(name: str, weight: nn.Parameter, theirs: Any) -> Partner:
    module, _, kind = name.rpartition(".")
    layer = _layer(module, theirs)
    names = next((names for known, names in ATTRIBUTES.items() if isinstance(layer, known)), {})
    variable = getattr(layer, names.get(kind, kind), None)
    require(variable is not None, "theirs", f"must have a counterpart of {name}", theirs.name)
    assert variable is not None
    to_ours = _transposed if isinstance(layer, layers.Dense) and kind == "weight" else _unchanged
    shape = tuple(reversed(variable.shape)) if to_ours is _transposed else tuple(variable.shape)
    require(shape == tuple(weight.shape), name, f"must be of the shape in theirs, {shape}", tuple(weight.shape))
    return Partner(weight, variable, to_ours)


def _layer(module: str, theirs: Any) -> Any:
    """The layer of that name: one of the model's, or an attribute of one."""
    for layer in theirs.layers:
        if layer.name == module:
            return layer
    outer, _, attribute = module.rpartition(".")
    return getattr(_layer(outer, theirs), attribute, None) if outer else None


def _unchanged(array: Array) -> Tensor:
    return torch.from_numpy(keras.ops.convert_to_numpy(array).copy())


def _transposed(array: Array) -> Tensor:
    return _unchanged(array).mT
