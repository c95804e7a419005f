"""Keras: our models rebuilt from Keras 3 layers with the same weights, for TensorFlow, its files and its services.

`to_keras` gives a `keras.Model` that computes the same numbers. It saves as `.keras` (loading needs this module
imported, nothing else of it) and, through `export`, as a SavedModel, which TensorFlow runs without Keras or Python.
`partners` pairs the weights, so that gradients can be compared too.

Left out: encoder-decoders, caches, dropout (what is rebuilt is the model as it predicts), NTK scaling, whose
frequencies change with the length, and the way back.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, no_type_check

import keras
import numpy as np
import torch
from torch import Tensor, nn

from transformer_lib.config import ModelConfig, NtkScaling, Rope, from_json, require, to_json
from transformer_lib.interop.keras_layers import (
    Array,
    Block,
    Embedding,
    Head,
    MaskedLMHead,
    build_norm,
    place,
    relations,
)
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.heads import MaskedLM

TYPES = {torch.float32: "float32", torch.float64: "float64"}
VARIABLES = {  # of each kind of layer, in our words: theirs, and whether it lies the other way round
    keras.layers.Dense: {"weight": ("kernel", True), "bias": ("bias", False)},
    keras.layers.Embedding: {"weight": ("embeddings", False)},
    keras.layers.LayerNormalization: {"weight": ("gamma", False), "bias": ("beta", False)},
    keras.layers.RMSNormalization: {"weight": ("scale", False)},
    Head: {"weight": ("kernel", True), "bias": ("bias", False)},
}


@no_type_check
class _Stack(keras.Model):
    """Embedding, blocks and final norm; what the three models below have in common."""

    causal = False

    def __init__(self, config: str, dtype: str = "float32", **options: Any) -> None:
        super().__init__(dtype=dtype, **options)
        self.text = config
        self.parts: ModelConfig = from_json(config)
        self.embedding = Embedding(self.parts, dtype)
        self.blocks = [Block(self.parts, dtype) for _ in range(self.parts.num_layers)]
        pre = self.parts.norm_order == "pre"
        self.final_norm = build_norm(self.parts.norm, self.parts.d_model, dtype) if pre else None

    def hidden(self, tokens: Array, valid: Array | None, segments: Array | None = None) -> Array:
        positions = place(tokens, valid)
        x = self.embedding(tokens, positions, segments)
        shared = relations(self.parts, positions, valid, causal=self.causal, dtype=self.compute_dtype)
        for block in self.blocks:
            x = block(x, shared)
        return x if self.final_norm is None else self.final_norm(x)

    def build(self, input_shape: Any = None) -> None:
        self.built = True  # every layer has made its weights when it was made

    def get_config(self) -> dict[str, Any]:
        return {"config": self.text, "dtype": self.compute_dtype, "name": self.name}


@no_type_check
@keras.saving.register_keras_serializable("transformer_lib")
class KerasEncoder(_Stack):
    """`Encoder`: tokens (batch, time), valid and segments of the same shape -> states (batch, time, d_model)."""

    def call(self, tokens: Array, valid: Array | None = None, segments: Array | None = None) -> Array:
        return self.hidden(tokens, valid, segments)


@no_type_check
@keras.saving.register_keras_serializable("transformer_lib")
class KerasDecoderLM(_Stack):
    """`DecoderLM`: tokens (batch, time), valid of the same shape -> logits (batch, time, vocab)."""

    causal = True

    def __init__(self, config: str, dtype: str = "float32", **options: Any) -> None:
        super().__init__(config, dtype, **options)
        self.tied = self.parts.tie_embeddings
        self.head = Head(self.parts, dtype, tied=self.tied, bias=self.parts.head_bias)

    def call(self, tokens: Array, valid: Array | None = None) -> Array:
        table = self.embedding.tokens.embeddings if self.tied else None
        return self.head(self.hidden(tokens, valid), table)


@no_type_check
@keras.saving.register_keras_serializable("transformer_lib")
class KerasMaskedLM(keras.Model):
    """`MaskedLM`: arguments as for a `KerasEncoder` -> logits (batch, time, vocab)."""

    def __init__(self, config: str, dtype: str = "float32", **options: Any) -> None:
        super().__init__(dtype=dtype, **options)
        self.encoder = KerasEncoder(config, dtype)
        self.head = MaskedLMHead(self.encoder.parts, dtype)

    def call(self, tokens: Array, valid: Array | None = None, segments: Array | None = None) -> Array:
        return self.head(self.encoder(tokens, valid, segments), self.encoder.embedding.tokens.embeddings)

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return self.encoder.get_config() | {"name": self.name}


class Partner(NamedTuple):
    """A parameter of ours and the variable of theirs that holds the same numbers."""

    parameter: nn.Parameter
    variable: Any
    transposed: bool

    def as_ours(self, array: Any) -> Tensor:
        """Their array, a gradient for instance, in the parameter's shape."""
        array = np.array(array)
        return torch.from_numpy(array.T if self.transposed else array)


def to_keras(model: DecoderLM | Encoder | MaskedLM) -> keras.Model:
    """The model rebuilt from Keras layers, in its type and with a copy of its weights.

    `ValueError` for another kind of model, a type that is neither float32 nor float64, or NTK scaling.
    """
    kinds = {DecoderLM: KerasDecoderLM, Encoder: KerasEncoder, MaskedLM: KerasMaskedLM}
    require(type(model) in kinds, "model", "must be a DecoderLM, an Encoder or a MaskedLM", type(model).__name__)
    types = {parameter.dtype for parameter in model.parameters()}
    require(len(types) == 1 and types <= TYPES.keys(), "model", f"must be of one type of {[*TYPES]}", types)
    config = model.config
    ntk = isinstance(config.positions, Rope) and isinstance(config.positions.scaling, NtkScaling)
    require(not ntk, "positions.scaling", "must not change with the length", "NtkScaling")
    theirs = kinds[type(model)](to_json(config), TYPES[types.pop()])
    for parameter, variable, transposed in partners(model, theirs).values():
        array = parameter.detach().cpu().numpy()
        variable.assign(array.T if transposed else array)
    return theirs


def partners(model: nn.Module, theirs: keras.Model) -> dict[str, Partner]:
    """Each parameter of the model by its name, with the variable that it became in `to_keras(model)`.

    `ValueError` if one has no counterpart, a shape differs, or a variable is left over.
    """
    pairs = {}
    for name, parameter in model.named_parameters():
        *path, kind = name.split(".")
        layer: Any = theirs
        for part in path:
            layer = layer[int(part)] if part.isdigit() else getattr(layer, part, None)
        attribute, transposed = VARIABLES.get(type(layer), {}).get(kind, (kind, False))
        variable: Any = getattr(layer, attribute, None)
        require(variable is not None, "theirs", f"must have a counterpart of {name}", type(theirs).__name__)
        shape = tuple(reversed(parameter.shape)) if transposed else tuple(parameter.shape)
        require(tuple(variable.shape) == shape, name, f"must be of shape {shape} in theirs", tuple(variable.shape))
        pairs[name] = Partner(parameter, variable, transposed)
    found = {id(pair.variable) for pair in pairs.values()}
    left = [variable.path for variable in theirs.weights if id(variable) not in found]
    require(not left, "theirs", "must have no further variables", left)
    return pairs


def export(theirs: keras.Model, folder: str | Path) -> None:
    """Write a model of `to_keras` as a SavedModel with one endpoint, `serve(tokens, valid)`; TensorFlow's backend only.

    tokens are int32 and valid is boolean, both (batch, time) of any size; an encoder with segments takes `segments`,
    int32, as well.
    The new folder appears whole or not at all.
    """
    folder = Path(folder)
    require(not folder.exists(), "folder", "must not exist yet", str(folder))
    backend = keras.backend.backend()
    require(backend == "tensorflow", "keras.backend", "must be 'tensorflow' to write a SavedModel", backend)
    import tensorflow as tf

    encoder = getattr(theirs, "encoder", theirs)
    names = {"tokens": tf.int32, "valid": tf.bool}
    if not encoder.causal and encoder.parts.segments:
        names["segments"] = tf.int32
    signature = [tf.TensorSpec((None, None), kind, name=name) for name, kind in names.items()]
    archive = keras.export.ExportArchive()
    archive.track(theirs)
    archive.add_endpoint("serve", theirs.call, input_signature=signature)
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        archive.write_out(f"{partial}/{folder.name}", verbose=False)
        os.rename(f"{partial}/{folder.name}", folder)
