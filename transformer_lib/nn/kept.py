"""What the layers of a stack keep of a text, as their configs say it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from transformer_lib.config import AttentionConfig, LatentAttention, ModelConfig, require
from transformer_lib.contract import checked_once
from transformer_lib.nn.local import Spans
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.state import State, latent_state, recurrent_state


@checked_once
def require_keys_and_values(config: ModelConfig) -> None:
    """`ValueError` for a stack with layers that keep something else than keys and values."""
    others = sorted({type(layer.attention).__name__ for layer, _ in config.tally} - {AttentionConfig.__name__})
    require(not others, "attention", "must be an AttentionConfig in every layer for this cache", others)


@checked_once
def kept_by(config: ModelConfig) -> tuple[Any, ...]:
    """Of each layer what it keeps: how many heads of keys and values and how wide, or the kind of its state."""
    return tuple(
        (layer.heads.kv_heads, layer.head_dim) if isinstance(layer.attention, AttentionConfig) else layer.attention
        for layer in config.layers
    )


@checked_once
def shown_kept(kept: tuple[Any, ...]) -> tuple[Any, ...]:
    """(layers, heads, width) of a stack of like layers, else what each keeps."""
    alike = len(set(kept)) == 1 and isinstance(kept[0], tuple)
    return (len(kept), *kept[0]) if alike else kept


@checked_once
def window_of(config: ModelConfig) -> int | None:
    """How many positions the attention of this layer sees; None if all, or if it keeps no keys."""
    return config.attention.window if isinstance(config.attention, AttentionConfig) else None


@checked_once
class Room(NamedTuple):
    """Empty keys and values of the layers that keep such, the place of each layer among them, and the other states."""

    keys: list[Tensor]
    values: list[Tensor]
    place: dict[int, int]
    states: dict[int, State]


@checked_once
def room_for(
    config: ModelConfig,
    spans: Spans,
    batch: int,
    max_length: int,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Room:
    """What each layer needs for `batch` texts of up to `max_length` tokens; `ValueError` if memory has no room."""
    numbers = 2 * sum(
        count * layer.heads.kv_heads * layer.head_dim * spans.slots(window_of(layer))
        for layer, count in config.tally
        if isinstance(layer.attention, AttentionConfig)
    )
    size = batch * (numbers * dtype.itemsize + 9 * max_length)  # and a position of 8 bytes, and a flag
    require_memory(size, device, batch=batch, max_length=max_length)
    room = Room([], [], {}, {})
    for index, layer in enumerate(config.layers):
        match layer.attention:
            case AttentionConfig(kv_heads=heads):
                room.place[index] = len(room.keys)
                shape = (batch, heads, spans.slots(window_of(layer)), layer.head_dim)
                room.keys.append(torch.zeros(shape, dtype=dtype, device=device))
                room.values.append(torch.zeros(shape, dtype=dtype, device=device))
            case LatentAttention() as latent:
                room.states[index] = latent_state(latent, batch, max_length, dtype=dtype, device=device)
            case kind:
                room.states[index] = recurrent_state(kind, config.d_model, batch, dtype=dtype, device=device)
    return room
