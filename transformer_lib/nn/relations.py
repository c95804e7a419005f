"""How the positions of a forward pass enter attention: mask, bias and rotation, made once for each kind of layer."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import Alibi, GatedDelta, LinearAttention, ModelConfig, Rope, require
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.fit import require_floating
from transformer_lib.nn.kept import window_of
from transformer_lib.nn.masks import Mask, causal_mask, padding_mask
from transformer_lib.nn.positions import Rotation, alibi_bias, rope_rotation


@checked_once
class Relations(NamedTuple):
    """What every layer's attention needs besides the vectors."""

    mask: Mask = None
    bias: Float[Tensor, "batch heads query key"] | None = None
    rotation: Rotation | None = None


UNRESTRICTED = Relations()


@checked_once
class Kinds(NamedTuple):
    """The layers of a stack by what their attention needs: one config of each kind, and the kind of each layer."""

    configs: tuple[ModelConfig, ...]
    of_layer: tuple[int, ...]


@checked_once
def kinds_of(config: ModelConfig) -> Kinds:
    """Layers of one kind have the same attention and the same positions, and so the same relations."""
    places: dict[Any, int] = {}
    of_layer = tuple(places.setdefault((layer.attention, layer.positions), len(places)) for layer in config.layers)
    return Kinds(tuple(config.layers[of_layer.index(kind)] for kind in range(len(places))), of_layer)


def _check_rows(tokens: Tensor, cache: KVCache | None) -> None:
    if cache is not None:
        require(len(tokens) == cache.batch, "tokens", f"must have the cache's batch of {cache.batch} rows", len(tokens))


@checked_once
@also(_check_rows)
def place(
    tokens: Int[Tensor, "batch time"], valid: Bool[Tensor, "batch time"] | None, cache: KVCache | None
) -> Int[Tensor, "#batch time"]:
    """The position of each token: one more than that of the real token before it, in the cache or in the row."""
    if valid is None and (cache is None or cache.plain):
        start = 0 if cache is None else cache.length
        return torch.arange(start, start + tokens.shape[1], device=tokens.device)[None]
    real = torch.ones_like(tokens, dtype=torch.bool) if valid is None else valid
    positions = real.cumsum(dim=1) - 1
    if cache is not None and cache.length > 0:
        positions += torch.where(cache.valid, cache.positions + 1, 0).amax(dim=1, keepdim=True)
    return positions.clamp(min=0)  # padding on the left gets position 0; nobody looks at it


def _check_held(positions: Tensor, valid: Tensor | None, cache: KVCache | None) -> None:
    if cache is None:
        return
    rows, held = cache.batch, cache.valid.shape[1]
    require(len(positions) in (1, rows), "positions", f"must have 1 or {rows} rows, as the cache", len(positions))
    if valid is not None:
        require(len(valid) == rows, "valid", f"must have {rows} rows, as the cache", len(valid))
    new = positions.shape[1]
    require(new <= held, "positions", f"must be among those of the {held} slots that the cache has open", new)


@checked_once
@also(_check_held, require_floating)
def causal_relations(
    config: ModelConfig,
    positions: Int[Tensor, "#batch time"],
    valid: Bool[Tensor, "batch time"] | None,
    cache: KVCache | None,
    *,
    plain: bool,
    dtype: torch.dtype,
    past: Bool[Tensor, "batch time key"] | None = None,
) -> Relations:
    """Relations of a decoder: each token sees the real tokens at its own and earlier positions, in the cache or new.

    `plain` says that the new tokens are all real and stand at consecutive positions; then the mask of a first piece is
    simply "causal", and a single newest token needs none, as long as all are in the window. `past` hides from each
    token what it does not continue.
    """
    if isinstance(config.attention, GatedDelta | LinearAttention):
        rule = "must be None for layers that keep a recurrent state, which texts cannot share"
        require(past is None, "past", rule, past)
        return UNRESTRICTED
    own = window_of(config)
    start = 0 if cache is None else cache.seen_from(own)  # what is older, the layer does not give back
    held = None if cache is None else cache.positions[:, start:]
    seen = None if held is None or held.shape[1] == positions.shape[1] else held
    plain = plain and (cache is None or cache.plain)
    key_positions = positions if seen is None else seen
    bounds = [w for w in (own, None if cache is None else cache.reach) if w is not None]
    window = min(bounds) if bounds else None
    mask: Mask
    near = window is None or key_positions.shape[1] <= window
    if plain and near and (seen is None or positions.shape[1] == 1):
        mask = "causal" if seen is None else None
    else:
        mask = causal_mask(positions, key_positions, window=window)
        key_valid = valid if cache is None else cache.valid[:, start:]
        if key_valid is not None:
            mask = mask & padding_mask(key_valid)
        if past is not None:
            slots = start + mask.shape[3]
            require(past.shape[2] == slots, "past", f"must say of {slots} slots whether they are seen", past.shape[2])
            mask = mask & past[:, None, :, start:]
    return Relations(mask, *_bias_and_rotation(config, positions, key_positions, dtype))


@checked_once
@also(require_floating)
def full_relations(
    config: ModelConfig,
    positions: Int[Tensor, "#batch time"],
    valid: Bool[Tensor, "batch time"] | None,
    *,
    dtype: torch.dtype,
) -> Relations:
    """Relations of an encoder: each token sees every real token (at most `window - 1` positions away, if set)."""
    mask: Mask = None if valid is None else padding_mask(valid)
    if (window := config.heads.window) is not None:
        near = (positions[:, None, :, None] - positions[:, None, None, :]).abs() < window
        mask = near if valid is None else near & padding_mask(valid)
    return Relations(mask, *_bias_and_rotation(config, positions, positions, dtype))


def _bias_and_rotation(
    config: ModelConfig, query_positions: Tensor, key_positions: Tensor, dtype: torch.dtype
) -> tuple[Tensor | None, Rotation | None]:
    match config.positions:
        case Rope(theta=theta, scaling=scaling):
            width = config.rotated_dim
            return None, rope_rotation(query_positions, width, theta=theta, scaling=scaling, dtype=dtype)
        case Alibi():
            return alibi_bias(query_positions, key_positions, config.heads.num_heads, dtype=dtype), None
        case _:
            return None, None
