"""Where a token stands: five ways to tell attention, which by itself sees a bag of vectors.

`sinusoidal` and `LearnedPositions` add a vector to the embedding; `apply_rope` rotates queries and keys;
`alibi_bias` lowers the scores of distant pairs; the fifth way is to add nothing and rely on the causal mask.
All are functions of position numbers, never of tensor shapes, so they hold under padding and caching.

RoPE uses the half-split layout of Hugging Face: channel i turns together with channel i + head_dim / 2. The paper and
some checkpoints pair channels 2i and 2i + 1 instead; the two differ by a permutation of the channels.
Left out: the scaling schemes that extend a trained context (linear, NTK, YaRN).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.config import require


def sinusoidal(
    positions: Int[Tensor, "*batch time"], d_model: int, *, base: float = 10_000.0, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*batch time d_model"]:
    """sin and cos of position / base^(2i / d_model) in channels 2i and 2i + 1 (Vaswani et al. 2017, section 3.5)."""
    require(d_model % 2 == 0, "d_model", "must be even", d_model)
    angles = _angles(positions, d_model, base, dtype)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class LearnedPositions(nn.Module):
    """One trained vector for each of `max_length` positions; a position outside the table is a `ValueError`."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_length, d_model) * 0.02)

    def forward(self, positions: Int[Tensor, "*batch time"]) -> Float[Tensor, "*batch time d_model"]:
        try:
            return F.embedding(positions, self.weight)
        except IndexError:  # the CPU's kernel looks at every index; a GPU's fails by itself
            low, high, rows = int(positions.min()), int(positions.max()), len(self.weight)
            rule = f"must be at least 0 and below max_length={rows}, the size of the position table"
            raise ValueError(f"positions {rule}, got {low if low < 0 else high}") from None


class Rotation(NamedTuple):
    """The turn of each position and channel pair, shared by every layer of one forward pass."""

    cos: Float[Tensor, "batch 1 time half"]
    sin: Float[Tensor, "batch 1 time half"]


def rope_rotation(
    positions: Int[Tensor, "batch time"], head_dim: int, *, theta: float = 10_000.0, dtype: torch.dtype = torch.float32
) -> Rotation:
    """Angles position * theta^(-2i / head_dim) for i below head_dim / 2 (Su et al. 2021)."""
    require(head_dim % 2 == 0, "head_dim", "must be even", head_dim)
    angles = _angles(positions, head_dim, theta, dtype)[:, None]
    return Rotation(angles.cos().to(dtype), angles.sin().to(dtype))


def apply_rope(
    x: Float[Tensor, "batch heads time head_dim"], rotation: Rotation
) -> Float[Tensor, "batch heads time head_dim"]:
    """Turn each pair (x_i, x_{i + head_dim / 2}) by its angle, so that q . k depends on the distance alone."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = rotation
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def alibi_slopes(heads: int) -> Float[Tensor, " heads"]:
    """A geometric sequence of slopes, 2^(-8/heads) to 2^-8 when `heads` is a power of two (Press et al. 2021).

    For another number of heads, the sequence of the next lower power of two is filled up with every second slope of
    the next higher one, as in the authors' code.
    """
    power = 2 ** (heads.bit_length() - 1)
    ladder = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * power, 2)]
    return torch.tensor(ladder + between[: heads - power], dtype=torch.float64)


def alibi_bias(
    query_positions: Int[Tensor, "#batch query"],
    key_positions: Int[Tensor, "#batch key"],
    heads: int,
    *,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "#batch heads query key"]:
    """-slope_h * |query position - key position|, to be added to the scores."""
    distance = (query_positions[:, None, :, None] - key_positions[:, None, None, :]).abs()
    return -alibi_slopes(heads).to(dtype).to(distance.device)[None, :, None, None] * distance


def _angles(positions: Tensor, width: int, base: float, dtype: torch.dtype) -> Tensor:
    # Computed at each forward pass, and never below float32: a stored table is silently rounded by model.to(bfloat16).
    wide = torch.promote_types(dtype, torch.float32)
    frequencies = base ** -(torch.arange(0, width, 2, dtype=wide, device=positions.device) / width)
    return positions[..., None].to(wide) * frequencies
