"""The key/value cache: keep what attention has already computed, so that each new token costs one position.

A cache is an argument, never stored on a module. It is allocated once and written in place. All rows share the slots
0..length-1; rows of unequal length differ in which slots hold real tokens (`valid`) and at which positions they stand.
Left out: paging and eviction.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import ModelConfig, require, require_positive


class KVCache:
    """Keys and values of every layer for `batch` rows of up to `max_length` tokens.

    Bytes: 2 * num_layers * batch * kv_heads * max_length * head_dim * bytes per element.
    """

    keys: Float[Tensor, "layers batch kv_heads max_length head_dim"]
    values: Float[Tensor, "layers batch kv_heads max_length head_dim"]

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        max_length: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        require_positive(batch=batch, max_length=max_length)
        shape = (config.num_layers, batch, config.attention.kv_heads, max_length, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self._positions = torch.zeros(batch, max_length, dtype=torch.int64, device=device)
        self._valid = torch.zeros(batch, max_length, dtype=torch.bool, device=device)
        self.length = 0
        self.plain = True  # so far every token is real and stands at the position of its slot

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.keys.shape[1]

    @property
    def max_length(self) -> int:
        """Number of slots."""
        return self.keys.shape[3]

    @property
    def positions(self) -> Int[Tensor, "batch key"]:
        """The position of each filled slot."""
        return self._positions[:, : self.length]

    @property
    def valid(self) -> Bool[Tensor, "batch key"]:
        """Which filled slots hold real tokens."""
        return self._valid[:, : self.length]

    def check_fits(self, config: ModelConfig) -> None:
        """`ValueError` unless the cache has the layers, heads and widths of the model that is to use it."""
        mine = (self.keys.shape[0], self.keys.shape[2], self.keys.shape[4])
        wanted = (config.num_layers, config.attention.kv_heads, config.head_dim)
        require(mine == wanted, "cache", f"must have the model's layers, kv_heads and head_dim, {wanted}", mine)

    def extend(
        self,
        positions: Int[Tensor, "#batch time"],
        valid: Bool[Tensor, "batch time"] | None,
        *,
        batch: int,
        plain: bool,
    ) -> None:
        """Open slots for new tokens; every layer then writes into them."""
        require(batch == self.batch, "tokens", f"must have the cache's batch of {self.batch} rows", batch)
        room, new = self.max_length - self.length, positions.shape[1]
        require(new <= room, "cache", f"has room for {room} more tokens of max_length={self.max_length}", new)
        slots = slice(self.length, self.length + new)
        self._positions[:, slots] = positions
        self._valid[:, slots] = True if valid is None else valid
        self.length += new
        self.plain = self.plain and plain

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Row i becomes what row `rows[i]` was: repeats a prompt for several beams, or follows the beams that survive.

        As many rows as before are moved in place, and only their filled slots.
        """
        in_place = len(rows) == self.batch
        for name, axis, slots in (("keys", 1, 3), ("values", 1, 3), ("_positions", 0, 1), ("_valid", 0, 1)):
            old = getattr(self, name)
            if in_place:
                filled = old.narrow(slots, 0, self.length)
                filled.copy_(filled.index_select(axis, rows))
            else:
                setattr(self, name, old.index_select(axis, rows))

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` slots, as if the tokens after them had never come."""
        require(0 <= length <= self.length, "length", f"must be at least 0 and at most {self.length}", length)
        self.length = length

    def layer(self, index: int) -> "LayerCache":
        """The view that one layer's attention writes and reads."""
        return LayerCache(self, index)


class LayerCache(NamedTuple):
    """One layer of a `KVCache`."""

    cache: KVCache
    layer: int

    def write(
        self, k: Float[Tensor, "batch kv_heads time head_dim"], v: Float[Tensor, "batch kv_heads time head_dim"]
    ) -> tuple[Float[Tensor, "batch kv_heads key head_dim"], Float[Tensor, "batch kv_heads key head_dim"]]:
        """Put the newest keys and values into the slots opened by `extend`; give back all filled ones."""
        end = self.cache.length
        keys, values = self.cache.keys[self.layer], self.cache.values[self.layer]
        keys[:, :, end - k.shape[2] : end] = k
        values[:, :, end - k.shape[2] : end] = v
        return keys[:, :, :end], values[:, :, :end]
