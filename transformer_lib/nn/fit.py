"""Whether vectors fit the weights that they meet, and settings the equations that they stand in.

These rules go with `@also`: they hold at the door of the library and cost nothing further in.
"""

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.config import require, require_numbers
from transformer_lib.contract import checked_once
from transformer_lib.kinds import Accepts, accepts, annotations_of, refuse

LEAST_EPS = 1e-30  # what is smaller vanishes in float32, and a constant vector would be divided by zero
MOST_BASE = 1e30  # of positions' wavelengths; what is larger is infinite in float32, or soon will be


@checked_once
def require_fit(field: str, x: Tensor, weight: Float[Tensor, "... width"]) -> None:
    """Raise `ValueError` unless `x` is as wide as the rows of `weight`, and as precise unless autocast sees to that."""
    width = weight.shape[-1]
    require(x.shape[-1:] == (width,), field, f"must hold vectors of {width} numbers", tuple(x.shape))
    require_same_dtype(field, x, weight.dtype)


@checked_once
def require_same_dtype(field: str, x: Tensor, dtype: torch.dtype) -> None:
    """Raise `ValueError` unless `x` has this dtype, or autocast sees to that."""
    cast = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
    require(cast or x.dtype == dtype, field, f"must be {dtype}, as what it meets", x.dtype)


@checked_once
def require_parts(value: tuple[Any, ...]) -> None:
    """Raise what making this NamedTuple would raise: `_replace` changes its parts and looks at nothing."""
    for part, (name, annotation, fits) in zip(value, _parts(type(value)), strict=False):
        if not fits(part):
            refuse(name, annotation, part)


@functools.cache
def _parts(kind: type) -> list[tuple[str, Any, Accepts]]:
    return [(name, annotation, accepts(annotation)) for name, annotation in annotations_of(kind.__new__).items()]


@checked_once
def require_index(field: str, x: Tensor) -> None:
    """Raise `ValueError` unless these numbers can be looked up in a table."""
    require(x.dtype in (torch.int64, torch.int32), field, "must be of the integer type int64 or int32", x.dtype)


@checked_once
def require_floating(dtype: torch.dtype) -> None:
    """Raise `ValueError` unless this is the type of real numbers."""
    require(dtype.is_floating_point, "dtype", "must be a floating-point type", dtype)


@checked_once
def require_eps(eps: float) -> None:
    """Raise `ValueError` unless this keeps a division by zero away, in float32 too."""
    require_numbers(eps=eps)
    require(eps >= LEAST_EPS, "eps", f"must be at least {LEAST_EPS}", eps)


@checked_once
def require_base(field: str, base: float) -> None:
    """Raise `ValueError` unless the wavelengths of positions can grow by powers of this."""
    require_numbers(**{field: base})
    require(1 < base <= MOST_BASE, field, f"must be above 1 and at most {MOST_BASE}", base)


@checked_once
def require_probability(field: str, p: float) -> None:
    """Raise `ValueError` unless this is a probability below 1."""
    require(0 <= p < 1, field, "must be at least 0 and below 1", p)
