"""The key/value cache: keep what attention has already computed, so that each new token costs one position.

A cache is an argument, never stored on a module. It is allocated once and written in place. All rows share the slots;
rows of unequal length differ in which slots hold real tokens (`valid`) and at which positions they stand. `KVCache`
holds a whole text, `RollingCache` the beginning and the newest part of a text without end. Left out: paging.
"""

import sys
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import (
    Alibi,
    ModelConfig,
    NoPositions,
    NtkScaling,
    Rope,
    YarnScaling,
    require,
    require_positive,
)
from transformer_lib.nn.positions import Rotation, apply_rope, rope_rotation


class KVCache:
    """Keys and values of every layer for `batch` rows of up to `max_length` tokens.

    Bytes: 2 * num_layers * batch * kv_heads * max_length * head_dim * bytes per element.
    """

    # A tensor for each layer: of one tensor for all, a compiled step would copy the whole at every write.
    layer_keys: list[Float[Tensor, "batch kv_heads max_length head_dim"]]
    layer_values: list[Float[Tensor, "batch kv_heads max_length head_dim"]]

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
        shape = (batch, config.attention.kv_heads, max_length, config.head_dim)
        self.layer_keys, self.layer_values = (
            [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)] for _ in range(2)
        )
        self._positions = torch.zeros(batch, max_length, dtype=torch.int64, device=device)
        self._valid = torch.zeros(batch, max_length, dtype=torch.bool, device=device)
        self.length = 0  # tokens read so far
        self.plain = True  # so far every token is real, and they stand at consecutive positions from 0
        self._start = 0  # the slot where the newest tokens begin

    @property
    def keys(self) -> Float[Tensor, "layers batch kv_heads max_length head_dim"]:
        """The keys of all layers, copied."""
        return torch.stack(self.layer_keys)

    @property
    def values(self) -> Float[Tensor, "layers batch kv_heads max_length head_dim"]:
        """The values of all layers, copied."""
        return torch.stack(self.layer_values)

    @property
    def device(self) -> torch.device:
        """Where the cache is."""
        return self._valid.device

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self._valid.shape[0]

    @property
    def max_length(self) -> int:
        """Number of slots."""
        return self._valid.shape[1]

    @property
    def positions(self) -> Int[Tensor, "batch key"]:
        """The position of each key that the newest tokens look at."""
        return self._positions[:, : self.length]

    @property
    def valid(self) -> Bool[Tensor, "batch key"]:
        """Which of those keys are real tokens."""
        return self._valid[:, : self.length]

    @property
    def room(self) -> int:
        """How many tokens may come next in one piece."""
        return self.max_length - self.length

    @property
    def reach(self) -> int | None:
        """A token sees no key at this distance or beyond; None if all."""
        return None

    def check_fits(self, config: ModelConfig) -> None:
        """`ValueError` unless the cache has the layers, heads and widths of the model that is to use it."""
        _, heads, _, width = self.layer_keys[0].shape
        mine = (len(self.layer_keys), heads, width)
        wanted = (config.num_layers, config.attention.kv_heads, config.head_dim)
        if mine != wanted:
            require(False, "cache", f"must have the model's layers, kv_heads and head_dim, {wanted}", mine)

    def extend(
        self,
        positions: Int[Tensor, "#batch time"],
        valid: Bool[Tensor, "batch time"] | None,
        *,
        batch: int,
        plain: bool,
    ) -> None:
        """Open slots for new tokens; every layer then writes into them."""
        if batch != self.batch:
            require(False, "tokens", f"must have the cache's batch of {self.batch} rows", batch)
        room, new = self.room, positions.shape[1]
        if new > room:  # a number that is written into a text is compiled in: the step would not serve other lengths
            require(False, "cache", f"has room for {room} more tokens of max_length={self.max_length}", new)
        self._open(positions, valid)
        self.length += new
        self.plain = self.plain and plain

    def _open(self, positions: Int[Tensor, "#batch time"], valid: Bool[Tensor, "batch time"] | None) -> None:
        self._fill(self.length, positions, valid)

    def _fill(self, start: int, positions: Tensor, valid: Tensor | None) -> None:
        self._start = start
        slots = slice(start, start + positions.shape[1])
        self._positions[:, slots] = positions
        self._valid[:, slots] = True if valid is None else valid

    def write(
        self,
        layer: int,
        k: Float[Tensor, "batch kv_heads time head_dim"],
        v: Float[Tensor, "batch kv_heads time head_dim"],
    ) -> tuple[Float[Tensor, "batch kv_heads key head_dim"], Float[Tensor, "batch kv_heads key head_dim"]]:
        """Put a layer's newest keys and values into the slots opened by `extend`; give back all to be looked at."""
        keys, values = self.layer_keys[layer], self.layer_values[layer]
        slots = slice(self._start, self._start + k.shape[2])
        keys[:, :, slots] = k
        values[:, :, slots] = v
        return keys[:, :, : self.length], values[:, :, : self.length]

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Row i becomes what row `rows[i]` was: repeats a prompt for several beams, or follows the beams that survive.

        As many rows as before are moved in place, and only their filled slots.
        """
        in_place = len(rows) == self.batch
        held = min(self.length, self.max_length)

        def moved(old: Tensor, slots: int) -> Tensor:
            if not in_place:
                return old.index_select(0, rows)
            filled = old.narrow(slots, 0, held)
            filled.copy_(filled.index_select(0, rows))
            return old

        self.layer_keys = [moved(keys, 2) for keys in self.layer_keys]
        self.layer_values = [moved(values, 2) for values in self.layer_values]
        self._positions, self._valid = moved(self._positions, 1), moved(self._valid, 1)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` slots, as if the tokens after them had never come."""
        require(0 <= length <= self.length, "length", f"must be at least 0 and at most {self.length}", length)
        self.length = length

    def layer(self, index: int) -> "LayerCache":
        """The view that one layer's attention writes and reads."""
        return LayerCache(self, index)


class RollingCache(KVCache):
    """The first `sinks` tokens of a text and the newest `window` of the others: memory does not grow with the text.

    Without sinks, a model with `attention.window = window` computes what it would with a cache of everything.
    A model without a window has learnt to lean on the first tokens; it writes on only if they stay as attention sinks
    (Xiao et al. 2023). All tokens kept then stand at consecutive positions: the sinks move along behind the window.
    That asks for positions that tell only distances, and for real tokens from the first on.
    Angles of RoPE are float32 numbers, so that a position p is exact to about p / 10^7 radians.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        *,
        window: int,
        sinks: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        require_positive(window=window)
        require(type(sinks) is int and sinks >= 0, "sinks", "must be a whole number, not negative", sinks)
        if sinks:
            relative = isinstance(config.positions, NoPositions | Rope | Alibi)
            require(
                relative, "sinks", "need positions that tell distances alone: Rope, Alibi or none", config.positions
            )
            longest = config.attention.window or config.max_length
            rule = f"must be at most the {longest} tokens that the model is meant to see"
            require(sinks + window <= longest, "sinks + window", rule, sinks + window)
        super().__init__(config, batch, sinks + window, dtype=dtype, device=device)
        self.sinks, self.window = sinks, window
        self._oldest = sinks  # the slot that is given up next
        self._order: Tensor | None = None  # while a piece is read that gives up tokens: the slots, oldest first
        self._seen = (self._positions, self._valid)  # of that order and of the piece
        self._rope = config.positions if sinks and isinstance(config.positions, Rope) else None
        if self._rope is not None:
            # Their keys depend on the length as well, or carry a factor besides the turn.
            plain = not isinstance(self._rope.scaling, NtkScaling | YarnScaling)
            require(plain, "sinks", "need keys that are turned and no more", self._rope.scaling)
        self._turn: Rotation | None = None  # how far the sinks have moved along
        self._unturned = [keys[:, :, :sinks].clone() for keys in self.layer_keys]  # their keys as they were written

    @property
    def positions(self) -> Int[Tensor, "batch key"]:
        return super().positions if self._order is None else self._seen[0]

    @property
    def valid(self) -> Bool[Tensor, "batch key"]:
        return super().valid if self._order is None else self._seen[1]

    @property
    def room(self) -> int:
        # Behind sinks, the tokens of a piece would see them at different distances.
        return max(1, self.max_length - self.length) if self.sinks else sys.maxsize

    @property
    def reach(self) -> int | None:
        return self.max_length

    def rewind(self, length: int) -> None:
        require(self.length <= self.max_length, "cache", "has already given up its oldest tokens", self.length)
        super().rewind(length)

    def extend(
        self,
        positions: Int[Tensor, "#batch time"],
        valid: Bool[Tensor, "batch time"] | None,
        *,
        batch: int,
        plain: bool,
    ) -> None:
        require(plain or valid is not None, "positions", "must be left to a RollingCache's own count", positions)
        super().extend(positions, valid, batch=batch, plain=plain)

    def _open(self, positions: Int[Tensor, "#batch time"], valid: Bool[Tensor, "batch time"] | None) -> None:
        if valid is not None:
            require(self.sinks == 0, "valid", "must be None: with sinks every token is real", valid)
            begun = torch.cat([self.valid.any(dim=1, keepdim=True), valid], dim=1)
            left = bool((begun[:, 1:] >= begun[:, :-1]).all())
            require(left, "valid", "must have its padding on the left, where it is the first to be given up", valid)
        new = positions.shape[1]
        self._order = None
        if self.length + new <= self.max_length:
            return super()._open(positions, valid)
        if new > 1:
            return self._open_piece(positions, valid)
        self._fill(self._oldest, positions, valid)
        self._oldest = self.sinks + (self._oldest + 1 - self.sinks) % self.window
        given_up = self.length + 1 - self.max_length
        moved = torch.arange(given_up, given_up + self.sinks, device=positions.device)[None]
        self._positions[:, : self.sinks] = moved
        if self._rope is not None:
            theta, scaling, keys = self._rope.theta, self._rope.scaling, self.layer_keys[0]
            self._turn = rope_rotation(moved[:, :1], keys.shape[3], theta=theta, scaling=scaling, dtype=keys.dtype)

    def _open_piece(self, positions: Tensor, valid: Tensor | None) -> None:
        """The piece looks at all old tokens, and what is left of both in the end is the newest."""
        held = min(self.length, self.max_length)
        self._order = torch.arange(held, device=positions.device).roll(-self._oldest)
        new = positions.expand(self.batch, -1)
        real = torch.ones_like(new, dtype=torch.bool) if valid is None else valid
        self._seen = (
            torch.cat([self._positions[:, self._order], new], dim=1),
            torch.cat([self._valid[:, self._order], real], dim=1),
        )
        self._positions[:], self._valid[:] = (part[:, -self.max_length :] for part in self._seen)
        self._oldest = 0

    def write(
        self,
        layer: int,
        k: Float[Tensor, "batch kv_heads time head_dim"],
        v: Float[Tensor, "batch kv_heads time head_dim"],
    ) -> tuple[Float[Tensor, "batch kv_heads key head_dim"], Float[Tensor, "batch kv_heads key head_dim"]]:
        if self._order is not None:
            keys, values = self.layer_keys[layer], self.layer_values[layer]
            k = torch.cat([keys[:, :, self._order], k], dim=2)
            v = torch.cat([values[:, :, self._order], v], dim=2)
            keys[:], values[:] = k[:, :, -self.max_length :], v[:, :, -self.max_length :]
            return k, v
        keys, values = super().write(layer, k, v)
        if self._turn is not None:
            if self.length == self.max_length + 1:
                self._unturned[layer] = keys[:, :, : self.sinks].clone()
            keys[:, :, : self.sinks] = apply_rope(self._unturned[layer], self._turn)
        return keys, values

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        super().select(rows)
        self._unturned = [keys.index_select(0, rows) for keys in self._unturned]


class LayerCache(NamedTuple):
    """One layer of a `KVCache`."""

    cache: KVCache
    layer: int

    def write(
        self, k: Float[Tensor, "batch kv_heads time head_dim"], v: Float[Tensor, "batch kv_heads time head_dim"]
    ) -> tuple[Float[Tensor, "batch kv_heads key head_dim"], Float[Tensor, "batch kv_heads key head_dim"]]:
        """Put the newest keys and values into the slots opened by `extend`; give back all to be looked at."""
        return self.cache.write(self.layer, k, v)
