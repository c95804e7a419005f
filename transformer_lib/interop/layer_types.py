"""Layers that differ, as Hugging Face's configs list them, and as the pattern of ours."""

import dataclasses
from collections.abc import Sequence

from transformer_lib.checks import require, shown
from transformer_lib.config import LayerConfig, ModelConfig
from transformer_lib.contract import checked
from transformer_lib.interop.reader import Reader

FULL, SLIDING = "full_attention", "sliding_attention"
MOST_LAYERS = 100_000  # that a list is made of; no model comes near


@checked
def with_layers(config: ModelConfig, layers: Sequence[LayerConfig]) -> ModelConfig:
    """The config with these layers, as the shortest pattern that repeats to them; of one kind, they are the model's."""
    require(len(layers) == config.num_layers, "layers", f"must be num_layers={config.num_layers}", len(layers))
    period = next(n for n in range(1, len(layers) + 1) if all(layers[i] == layers[i % n] for i in range(len(layers))))
    if period == 1:
        return config.with_layer(layers[0])
    return dataclasses.replace(config, pattern=tuple(layers[:period]))


@checked
def read_layer_types(reader: Reader, default: Sequence[str], *, known: Sequence[str] = (FULL, SLIDING)) -> list[str]:
    """The kind of each layer, as the config lists them, or as its other fields mean them."""
    listed = reader.get("layer_types")
    if listed is None:
        return list(default)
    whole = isinstance(listed, list) and len(listed) == len(default) and all(kind in known for kind in listed)
    if not whole:
        reader.fault(f"layer_types must be a list of {len(default)} of {list(known)}, got {shown(listed)}")
        return list(default)
    return list(listed)


@checked
def number_of_layers(reader: Reader) -> int:
    """The layers of the stack, few enough that a list can be made of them."""
    count = reader.take("num_hidden_layers")
    possible = type(count) is int and 1 <= count <= MOST_LAYERS
    require(possible, "num_hidden_layers", f"must be a whole number from 1 to {MOST_LAYERS}", count)
    return int(count)
