"""Where a token stands: five ways to tell attention, which by itself sees a bag of vectors.

`sinusoidal` and `LearnedPositions` add a vector to the embedding; `apply_rope` rotates queries and keys;
`alibi_bias` lowers the scores of distant pairs; the fifth way is to add nothing and rely on the causal mask.
All are functions of position numbers, never of tensor shapes, so they hold under padding and caching.

RoPE uses the half-split layout of Hugging Face: channel i turns together with channel i + head_dim / 2. The paper and
some checkpoints pair channels 2i and 2i + 1 instead; the two differ by a permutation of the channels.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.config import (
    LinearScaling,
    Llama3Scaling,
    NtkScaling,
    RopeScaling,
    YarnScaling,
    require,
    require_positive,
)
from transformer_lib.contract import also, checked_once, require_parts
from transformer_lib.nn.fit import require_base, require_floating, require_index, require_same_dtype
from transformer_lib.nn.memory import require_memory

MOST_HEADS = 2**16  # that have slopes of their own; beyond, two neighbours would hardly differ


def _check_width(name: str, width: int, positions: Tensor) -> None:
    require_positive(**{name: width})
    require(width % 2 == 0, name, "must be even", width)
    require_memory(8 * positions.numel() * width, positions.device, **{name: width})


@checked_once
@also(
    lambda d_model, positions: _check_width("d_model", d_model, positions),
    lambda base: require_base("base", base),
    require_floating,
)
def sinusoidal(
    positions: Int[Tensor, "*batch time"], d_model: int, *, base: float = 10_000.0, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*batch time d_model"]:
    """sin and cos of position / base^(2i / d_model) in channels 2i and 2i + 1 (Vaswani et al. 2017, section 3.5)."""
    angles = _angles(positions, d_model, base, dtype)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


@checked_once
class LearnedPositions(nn.Module):
    """One trained vector for each of `max_length` positions; a position outside the table is a `ValueError`."""

    def __init__(self, max_length: int, d_model: int) -> None:
        require_positive(max_length=max_length, d_model=d_model)
        require_memory(8 * max_length * d_model, max_length=max_length, d_model=d_model)
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_length, d_model) * 0.02)

    @also(lambda positions: require_index("positions", positions))
    def forward(self, positions: Int[Tensor, "*batch time"]) -> Float[Tensor, "*batch time d_model"]:
        try:
            return F.embedding(positions, self.weight)
        except IndexError:  # the CPU's kernel looks at every index; a GPU's fails by itself
            low, high, rows = int(positions.min()), int(positions.max()), len(self.weight)
            rule = f"must be at least 0 and below max_length={rows}, the size of the position table"
            raise ValueError(f"positions {rule}, got {low if low < 0 else high}") from None


@checked_once
class Rotation(NamedTuple):
    """The turn of each position and channel pair, shared by every layer of one forward pass."""

    cos: Float[Tensor, "batch 1 time half"]
    sin: Float[Tensor, "batch 1 time half"]


def _check_scaling(head_dim: int, scaling: RopeScaling | None) -> None:
    wide = head_dim > 2 or not isinstance(scaling, NtkScaling)
    require(wide, "head_dim", "must be above 2 for NtkScaling", head_dim)


@checked_once
@also(
    lambda head_dim, positions: _check_width("head_dim", head_dim, positions),
    lambda theta: require_base("theta", theta),
    _check_scaling,
    require_floating,
)
def rope_rotation(
    positions: Int[Tensor, "batch time"],
    head_dim: int,
    *,
    theta: float = 10_000.0,
    scaling: RopeScaling | None = None,
    dtype: torch.dtype = torch.float32,
) -> Rotation:
    """Angles position * theta^(-2i / head_dim) for i below head_dim / 2 (Su et al. 2021), slowed down by `scaling`.

    Under `NtkScaling` the frequencies are those of the length that each row has reached, so keys in a cache keep the
    turn of the length at which they were written, as everybody has it; a text read in other pieces then differs.
    """
    wide = torch.promote_types(dtype, torch.float32)
    frequencies = rope_frequencies(positions, head_dim, theta, scaling, wide)
    angles = (positions[..., None].to(wide) * frequencies)[:, None]
    cos, sin = angles.cos(), angles.sin()
    if (size := attention_factor(scaling)) != 1.0:
        cos, sin = cos * size, sin * size
    return Rotation(cos.to(dtype), sin.to(dtype))


@checked_once
def check_rotation(rotation: Rotation, shape: tuple[int, int, int, int], like: Tensor) -> None:
    """`ValueError` unless it can turn what has this shape, (batch, heads, time, head_dim), and is otherwise `like`."""
    require_parts(rotation)
    batch, _, time, head_dim = shape
    require(head_dim % 2 == 0, "head_dim", "must be even to be turned", head_dim)
    wanted = (batch, 1, time, head_dim // 2)
    for name, part in rotation._asdict().items():
        fits = part.shape[1:] == wanted[1:] and part.shape[0] in (1, batch)
        require(fits, name, f"must have the axes batch, 1, time, half {wanted}", tuple(part.shape))
        require_same_dtype(name, part, like.dtype)
        require(part.device == like.device, name, f"must be on the device {like.device}", str(part.device))


@checked_once
@also(lambda x, rotation: check_rotation(rotation, tuple(x.shape), x))
def apply_rope(
    x: Float[Tensor, "batch heads time head_dim"], rotation: Rotation
) -> Float[Tensor, "batch heads time head_dim"]:
    """Turn each pair (x_i, x_{i + head_dim / 2}) by its angle, so that q . k depends on the distance alone."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = rotation
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _check_heads(heads: int) -> None:
    require_positive(heads=heads)
    require(heads <= MOST_HEADS, "heads", f"must be at most {MOST_HEADS}", heads)


def _check_pairs(query_positions: Tensor, key_positions: Tensor, heads: int) -> None:
    rows = max(len(query_positions), len(key_positions))
    size = 16 * rows * heads * query_positions.shape[1] * key_positions.shape[1]
    require_memory(size, query_positions.device, heads=heads)


@checked_once
@also(_check_heads)
def alibi_slopes(heads: int) -> Float[Tensor, " heads"]:
    """A geometric sequence of slopes, 2^(-8/heads) to 2^-8 when `heads` is a power of two (Press et al. 2021).

    For another number of heads, the sequence of the next lower power of two is filled up with every second slope of
    the next higher one, as in the authors' code.
    """
    power = 2 ** (heads.bit_length() - 1)
    ladder = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * power, 2)]
    return torch.tensor(ladder + between[: heads - power], dtype=torch.float64)


@checked_once
@also(_check_heads, _check_pairs, require_floating)
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


@checked_once
@also(
    lambda head_dim, positions: _check_width("head_dim", head_dim, positions),
    lambda theta: require_base("theta", theta),
    lambda wide: require_floating(wide),
    _check_scaling,
)
def rope_frequencies(
    positions: Int[Tensor, "*batch time"],
    head_dim: int,
    theta: float,
    scaling: RopeScaling | None,
    wide: torch.dtype,
) -> Float[Tensor, "*rows half"]:
    """Radians per position of each channel pair; the positions, whose length counts, matter to `NtkScaling` alone."""
    plain = _frequencies(head_dim, theta, wide, positions.device)
    match scaling:
        case None:
            return plain
        case LinearScaling(factor=factor):
            return plain / factor
        case NtkScaling(factor=factor, original_length=trained):
            length = (positions.amax(dim=-1, keepdim=True)[..., None] + 1).clamp(min=trained).to(wide)
            growth = (factor * length / trained - (factor - 1)) ** (head_dim / (head_dim - 2))
            return _frequencies(head_dim, theta * growth, wide, positions.device)
        case YarnScaling(factor=factor, original_length=trained):
            # The channel pair that turns so often within the trained length, as a real number.
            fast, slow = (
                head_dim * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(theta))
                for turns in (scaling.beta_fast, scaling.beta_slow)
            )
            if scaling.truncate:
                fast, slow = math.floor(fast), math.ceil(slow)
            fast, slow = max(fast, 0), min(slow, head_dim - 1)
            pairs = torch.arange(head_dim // 2, dtype=wide, device=positions.device)
            slowed = ((pairs - fast) / (slow - fast or 0.001)).clamp(0, 1)
            return plain / factor * slowed + plain * (1 - slowed)
        case Llama3Scaling(factor=factor, original_length=trained):
            turns = trained * plain / (2 * math.pi)
            kept = ((turns - scaling.low_turns) / (scaling.high_turns - scaling.low_turns)).clamp(0, 1)
            return plain / factor * (1 - kept) + plain * kept


@checked_once
def attention_factor(scaling: RopeScaling | None) -> float:
    """What cos and sin are multiplied with, which sharpens attention over longer texts (Peng et al. 2023)."""
    if not isinstance(scaling, YarnScaling):
        return 1.0
    return 0.1 * math.log(scaling.factor) + 1 if scaling.attention_factor is None else scaling.attention_factor


def _angles(positions: Tensor, width: int, base: float, dtype: torch.dtype) -> Tensor:
    wide = torch.promote_types(dtype, torch.float32)
    return positions[..., None].to(wide) * _frequencies(width, base, wide, positions.device)


def _frequencies(width: int, base: float | Tensor, wide: torch.dtype, device: torch.device) -> Tensor:
    # Computed at each forward pass, and never below float32: a stored table is silently rounded by model.to(bfloat16).
    return base ** -(torch.arange(0, width, 2, dtype=wide, device=device) / width)
