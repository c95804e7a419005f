"""Giving up the slots of a cache that no text continues any more: a beam search need not look at its dead texts.

The beams of a prompt share a row, and each step opens a slot for every beam. Most beams soon have their last tokens
in common only with the few that live on; what the others wrote stays behind, and attention would go through it at
every step. Left out: layers with a window, whose slots have an order, and recurrent states, which texts cannot share.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.state import LatentState


@checked_once
def can_give_up_slots(cache: KVCache) -> bool:
    """Whether every layer keeps something of every slot, and nothing else."""
    return type(cache) is KVCache and not cache._spans and not cache.recurrent


def _check_slots(cache: KVCache, slots: Tensor) -> None:
    name, length = type(cache).__name__, cache.length
    require(can_give_up_slots(cache), "cache", "must be a KVCache without windows and recurrent states", name)
    require(len(slots) == cache.batch, "slots", f"must have the cache's {cache.batch} rows", len(slots))
    require(slots.device == cache.device, "slots", f"must be on the device of the cache, {cache.device}", slots.device)
    require(0 < slots.shape[1] <= length, "slots", f"must be at least 1 and at most {length} a row", slots.shape[1])
    inside = slots.dtype == torch.int64 and bool(((slots >= 0) & (slots < length)).all())
    require(inside, "slots", f"must be int64, at least 0 and below the {length} that are filled", slots)


@checked_once
@also(_check_slots)
def keep_slots(cache: KVCache, slots: Int[Tensor, "batch kept"]) -> None:
    """Keep only these slots of each row, in this order, and extend the cache behind them from then on.

    The tokens keep their positions. Raises `ValueError` for a cache with windows or recurrent states.
    """
    kept = slots.shape[1]
    for stored in (*cache.layer_keys, *cache.layer_values):
        _move(stored, slots)
    for state in cache.states.values():
        if isinstance(state, LatentState):
            _move(state.entries, slots)
    for stored in (cache.positions, cache.valid):
        stored[:, :kept] = stored.gather(1, slots)
    cache.plain = False  # positions no longer run as the slots do
    cache.rewind(kept)


def _move(stored: Tensor, slots: Tensor) -> None:
    """Put the slots of (batch, ..., slot, width) at the front; whole vectors move, which a gather would not do."""
    *outer, length, width = stored.shape
    begin = length * torch.arange(stored[..., 0, 0].numel(), device=slots.device).view(outer)
    rows = slots.view(len(slots), *[1] * (len(outer) - 1), -1) + begin[..., None]
    moved = stored.view(-1, width).index_select(0, rows.flatten())
    stored[..., : slots.shape[1], :] = moved.view(*outer, -1, width)
