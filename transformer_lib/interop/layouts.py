"""Tensors of Hugging Face's that hold several of ours side by side, and how to take them apart and put them together.

The parts have names as their own tensors have them in other families, so that one map from names to names serves all.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.config import GatedDelta, ModelConfig
from transformer_lib.contract import checked

Apart = Callable[[Tensor, ModelConfig], Sequence[Tensor]]
Together = Callable[[Sequence[Tensor], ModelConfig], Tensor]


@checked
class Split:
    """What the parts of a tensor are called, and how they lie in it; the config is that of the layer."""

    def __init__(self, *parts: str, apart: Apart, together: Together) -> None:
        self.parts, self.apart, self.together = parts, apart, together


@checked
def halves(first: str, second: str) -> Split:
    """Two matrices of the same size, one below the other."""

    def apart(whole: Tensor, layer: ModelConfig) -> Sequence[Tensor]:
        require(len(whole) % 2 == 0, first, "must be half of an even number of rows", len(whole))
        return whole.chunk(2)

    return Split(first, second, apart=apart, together=lambda parts, layer: torch.cat(list(parts)))


@checked
def alternating(first: str, second: str, *, transposed: bool) -> Split:
    """Two parts whose channels take turns along the last axis (gpt-oss); a matrix may be stored as (in, out)."""

    def turned(part: Tensor) -> Tensor:
        return part.mT if transposed else part

    def apart(whole: Tensor, layer: ModelConfig) -> Sequence[Tensor]:
        require(whole.ndim > 1, first, "must have one row for each expert", tuple(whole.shape))
        return [turned(whole[..., start::2]).contiguous() for start in (0, 1)]

    def together(parts: Sequence[Tensor], layer: ModelConfig) -> Tensor:
        return torch.stack([turned(part) for part in parts], dim=-1).flatten(-2)

    return Split(first, second, apart=apart, together=together)


@checked
def under_name(name: str, *, transposed: bool = False) -> Split:
    """One tensor under another name, of which each matrix may be stored as (in, out)."""

    def apart(whole: Tensor, layer: ModelConfig) -> Sequence[Tensor]:
        return [whole.mT.contiguous() if transposed else whole]

    return Split(name, apart=apart, together=lambda parts, layer: apart(parts[0], layer)[0])


@checked
def by_head(first: str, second: str) -> Split:
    """Of each query head first its rows of the one, then of the other (Qwen3-Next's queries and gates)."""

    def apart(whole: Tensor, layer: ModelConfig) -> Sequence[Tensor]:
        rows, width = layer.heads.num_heads, layer.head_dim
        require(len(whole) == 2 * rows * width, first, f"must have {2 * rows * width} rows with {second}", len(whole))
        pairs = whole.unflatten(0, (rows, 2, width))
        return [pairs[:, part].flatten(0, 1) for part in (0, 1)]

    def together(parts: Sequence[Tensor], layer: ModelConfig) -> Tensor:
        width = layer.head_dim
        return torch.stack([part.unflatten(0, (-1, width)) for part in parts], dim=1).flatten(0, 2)

    return Split(first, second, apart=apart, together=together)


@checked
def by_key_head(qkv: str, gate: str) -> Split:
    """Of each key head its query, key, and the values and gates of the heads that share it (Qwen3-Next)."""

    def sizes(layer: ModelConfig) -> tuple[int, list[int]]:
        delta = _delta(layer)
        values = delta.num_heads // delta.key_heads * delta.value_dim
        return delta.key_heads, [delta.key_dim, delta.key_dim, values, values]

    def apart(whole: Tensor, layer: ModelConfig) -> Sequence[Tensor]:
        heads, rows = sizes(layer)
        require(len(whole) == heads * sum(rows), qkv, f"must have {heads * sum(rows)} rows with {gate}", len(whole))
        q, k, v, z = (part.flatten(0, 1) for part in whole.unflatten(0, (heads, -1)).split(rows, dim=1))
        return [torch.cat([q, k, v]), z]

    def together(parts: Sequence[Tensor], layer: ModelConfig) -> Tensor:
        heads, rows = sizes(layer)
        q, k, v = parts[0].split([heads * count for count in rows[:3]])
        return torch.cat([part.unflatten(0, (heads, -1)) for part in (q, k, v, parts[1])], dim=1).flatten(0, 1)

    return Split(qkv, gate, apart=apart, together=together)


@checked
def rates_by_key_head(name: str) -> Split:
    """Of each key head first what its heads write, then what they keep; ours has all of the one above the other."""

    def apart(whole: Tensor, layer: ModelConfig) -> Sequence[Tensor]:
        delta = _delta(layer)
        require(len(whole) == 2 * delta.num_heads, name, f"must have {2 * delta.num_heads} rows", len(whole))
        return [torch.cat([part.flatten(0, 1) for part in whole.unflatten(0, (delta.key_heads, 2, -1)).unbind(1)])]

    def together(parts: Sequence[Tensor], layer: ModelConfig) -> Tensor:
        halves_ = [part.unflatten(0, (_delta(layer).key_heads, -1)) for part in parts[0].chunk(2)]
        return torch.stack(halves_, dim=1).flatten(0, 2)

    return Split(name, apart=apart, together=together)


def _delta(layer: ModelConfig) -> GatedDelta:
    require(isinstance(layer.attention, GatedDelta), "layer", "must be of GatedDelta", type(layer.attention).__name__)
    assert isinstance(layer.attention, GatedDelta)
    return layer.attention
