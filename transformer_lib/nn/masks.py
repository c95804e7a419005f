"""Who may look at whom: boolean masks, True = may look, everywhere in this library.

Masks are built from positions, never from tensor shapes, so the same function serves a whole sequence, a piece of it
behind a cache, and rows of unequal length. The string "causal" stands for the most common mask where it can be left
to a faster kernel: queries and keys are the same positions 0..T-1 and each looks at itself and what came before.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.contract import checked_once

Mask = Bool[Tensor, "#batch #heads query key"] | Bool[Tensor, "#batch #heads #query key"] | Literal["causal"] | None


@checked_once
def causal_mask(
    query_positions: Int[Tensor, "#batch query"], key_positions: Int[Tensor, "#batch key"], *, window: int | None = None
) -> Bool[Tensor, "#batch 1 query key"]:
    """True where the key is not after the query and, with a window, less than `window` positions before it."""
    distance = query_positions[:, None, :, None] - key_positions[:, None, None, :]
    mask = distance >= 0
    if window is None:
        return mask
    require_positive(window=window)
    return mask & (distance < window)


@checked_once
def padding_mask(valid: Bool[Tensor, "batch key"]) -> Bool[Tensor, "batch 1 1 key"]:
    """True where the key is a real token; every query of a row sees the same keys."""
    return valid[:, None, None, :]


@checked_once
def check_mask(mask: Tensor, shape: tuple[int, int, int, int], device: torch.device) -> None:
    """`ValueError` unless the mask is boolean, on this device, and broadcasts to (batch, heads, query, key)."""
    if mask.device != device:
        require(False, "mask", f"must be on the device of what it masks, {device}", str(mask.device))
    require(mask.dtype == torch.bool, "mask", "must be boolean, True = may look", mask.dtype)
    fits = mask.ndim == 4 and all(have == 1 or have == want for have, want in zip(mask.shape, shape, strict=True))
    if not fits:  # a number that is written into a text is compiled in
        require(False, "mask", f"must broadcast to (batch, heads, query, key) = {shape}", tuple(mask.shape))
