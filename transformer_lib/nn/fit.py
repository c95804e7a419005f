"""Whether vectors fit the weights that they meet, and settings the equations that they stand in.

These rules go with `@also`: they hold at the door of the library and cost nothing further in.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_lib import checks
from transformer_lib.checks import require
from transformer_lib.contract import checked_once

require_eps = checked_once(checks.require_eps)
require_base = checked_once(checks.require_base)


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
def require_index(field: str, x: Tensor) -> None:
    """Raise `ValueError` unless these numbers can be looked up in a table."""
    require(x.dtype in (torch.int64, torch.int32), field, "must be of the integer type int64 or int32", x.dtype)


@checked_once
def check_rows(rows: Int[Tensor, " rows"], batch: int, device: torch.device) -> None:
    """Raise `ValueError` unless these numbers choose rows of what has `batch` of them, on this device."""
    require_index("rows", rows)
    require(rows.numel() > 0, "rows", "must hold at least one row", tuple(rows.shape))
    require(
        rows.device == device, "rows", f"must be on the device of what they choose from, {device}", str(rows.device)
    )
    low, high = (int(bound) for bound in rows.aminmax())
    inside = low >= 0 and high < batch
    require(inside, "rows", f"must be at least 0 and below the batch of {batch}", low if low < 0 else high)


@checked_once
def require_floating(dtype: torch.dtype) -> None:
    """Raise `ValueError` unless this is the type of real numbers."""
    require(dtype.is_floating_point, "dtype", "must be a floating-point type", dtype)


@checked_once
def require_probability(field: str, p: float) -> None:
    """Raise `ValueError` unless this is a probability below 1."""
    require(0 <= p < 1, field, "must be at least 0 and below 1", p)
