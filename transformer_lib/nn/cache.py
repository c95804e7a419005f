"""The cache: keep what attention has already computed, so that each new token costs one position.

A cache is an argument, never stored on a module. It is allocated once and written in place. All rows share the slots;
rows of unequal length differ in which slots hold real tokens (`valid`) and at which positions they stand. Each layer
keeps what its own kind needs: keys and values of all tokens, or of the newest ones if it has a window; a short vector a
token; or a state of fixed size. Left out: paging.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import ModelConfig, require, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import check_rows, require_floating
from transformer_lib.nn.kept import kept_by, room_for, shown_kept, window_of
from transformer_lib.nn.local import Spans
from transformer_lib.nn.state import RecurrentState, State


@checked_once
class KVCache:
    """Keys and values of every layer for `batch` rows of up to `max_length` tokens.

    Bytes, in layers that are alike: 2 * num_layers * batch * kv_heads * max_length * head_dim * bytes per element. Of
    those with a window, the newest `window + 2 * SPARE` slots take the place of max_length, if they are fewer.
    """

    _bounded = True  # whether a layer with a window keeps no more of a text than it needs

    # A tensor for each layer: of one for all, a compiled step would copy the whole at every write.
    layer_keys: list[Float[Tensor, "batch kv_heads max_length head_dim"]]
    layer_values: list[Float[Tensor, "batch kv_heads max_length head_dim"]]
    states: dict[int, State]  # what other layers keep, by their number in the stack

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
        require_floating(dtype)
        self._spans = Spans((window_of(layer) for layer, _ in config.tally) if self._bounded else (), max_length)
        self._window = [window_of(layer) for layer in config.layers]
        own = room_for(config, self._spans, batch, max_length, dtype=dtype, device=device)
        self.layer_keys, self.layer_values, self.states = own.keys, own.values, own.states
        self._place = own.place  # of a layer's keys among `layer_keys`
        self._dtype = dtype
        self._config = config
        self._positions = torch.zeros(batch, max_length, dtype=torch.int64, device=device)
        self._valid = torch.zeros(batch, max_length, dtype=torch.bool, device=device)
        self.length = 0  # tokens read so far
        self.plain = True  # so far every token is real, and they stand at consecutive positions from 0
        self.marked = 0  # what layers with a recurrent state can be rewound to, besides the beginning
        self._start, self._opened = 0, 0  # the slot where the newest tokens begin, and how many they are

    @property
    def keys(self) -> Float[Tensor, "layers batch kv_heads max_length head_dim"]:
        """The keys of all layers, which must be alike and keep everything, copied."""
        return self._stacked(self.layer_keys)

    @property
    def values(self) -> Float[Tensor, "layers batch kv_heads max_length head_dim"]:
        """The values of all layers, which must be alike and keep everything, copied."""
        return self._stacked(self.layer_values)

    def _stacked(self, layers: list[Tensor]) -> Tensor:
        kept = kept_by(self._config)
        alike = len(set(kept)) == 1 and not self.states
        require(alike, "cache", "must have layers that keep as many heads of the same width", kept)
        held = [part.shape[2] for part in layers]
        require(set(held) == {self.max_length}, "cache", f"must keep all {self.max_length} slots in every layer", held)
        return torch.stack(layers)

    @property
    def bytes(self) -> int:
        """Bytes that the slots and states of all layers take, filled or not; 9 a slot come on top, of its position."""
        own = sum(part.numel() * part.itemsize for part in (*self.layer_keys, *self.layer_values))
        return own + sum(state.bytes for state in self.states.values())

    @property
    def dtype(self) -> torch.dtype:
        """The type of the keys and values."""
        return self._dtype

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
        if config is self._config:
            return  # as in every step but a stranger's
        mine, wanted = kept_by(self._config), kept_by(config)
        rule = f"must have the model's layers, kv_heads and head_dim, {shown_kept(wanted)}"
        require(mine == wanted, "cache", rule, shown_kept(mine))
        if self._spans:
            windows = [window_of(layer) for layer in config.layers]
            require(
                self._window == windows, "cache", f"must keep what the model's windows see, {windows}", self._window
            )

    def check_meets(self, weight: Tensor) -> None:
        """`ValueError` unless the cache has the type and the device of the weights that are to write into it."""
        if self.dtype != weight.dtype:
            require(False, "cache", f"must have the type of the model, {weight.dtype}", self.dtype)
        if self.device != weight.device:
            require(False, "cache", f"must be on the device of the model, {weight.device}", str(self.device))

    def _check_new(self, positions: Tensor, valid: Tensor | None, batch: int) -> None:
        require_positive(batch=batch)
        require(len(positions) in (1, batch), "positions", f"must have 1 or {batch} rows", len(positions))
        if valid is not None:
            require(len(valid) == batch, "valid", f"must have {batch} rows", len(valid))

    @also(_check_new)
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
            require(False, "cache", f"has room for {self.room} more tokens of max_length={self.max_length}", new)
        if self._spans and not plain:
            self._spans.check_reach(self.positions, self.valid, positions, valid)
        self._open(positions, valid)
        self.length += new
        self._opened = new
        self.plain = self.plain and plain
        if self._spans:
            self._spans.open(self.positions, self.valid, new, plain=plain)

    def _open(self, positions: Int[Tensor, "#batch time"], valid: Bool[Tensor, "batch time"] | None) -> None:
        self._fill(self.length, positions, valid)

    def _fill(self, start: int, positions: Tensor, valid: Tensor | None) -> None:
        self._start = start
        slots = slice(start, start + positions.shape[1])
        self._positions[:, slots] = positions
        self._valid[:, slots] = True if valid is None else valid

    def check_new(self, layer: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """`ValueError` unless new keys of this shape and type fill the slots that a layer has open."""
        self._check_layer(layer)
        batch, heads, _, width = self.layer_keys[self._place[layer]].shape
        wanted = (batch, heads, self._opened, width)
        require(shape == wanted, "k", f"must fill the cache's open slots, {wanted}", shape)
        require(dtype == self.dtype, "k", f"must have the type of the cache, {self.dtype}", dtype)

    def _check_write(self, layer: int, k: Tensor, v: Tensor) -> None:
        self.check_new(layer, tuple(k.shape), k.dtype)
        require(v.dtype == k.dtype, "v", f"must have the type of k, {k.dtype}", v.dtype)

    @also(_check_write)
    def write(
        self,
        layer: int,
        k: Float[Tensor, "batch kv_heads time head_dim"],
        v: Float[Tensor, "batch kv_heads time head_dim"],
    ) -> tuple[Float[Tensor, "batch kv_heads key head_dim"], Float[Tensor, "batch kv_heads key head_dim"]]:
        """Put a layer's newest keys and values into the slots opened by `extend`; give back all to be looked at."""
        place = self._place[layer]
        keys, values = self.layer_keys[place], self.layer_values[place]
        if (span := self._spans.of(self._window[layer])) is not None:
            self.layer_keys[place], keys = span.put(keys, k)
            self.layer_values[place], values = span.put(values, v)
            return keys, values
        slots = slice(self._start, self._start + k.shape[2])
        keys[:, :, slots] = k
        values[:, :, slots] = v
        return keys[:, :, : self.length], values[:, :, : self.length]

    @also(lambda self, rows: check_rows(rows, self.batch, self.device))
    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Row i becomes what row `rows[i]` was: repeats a prompt for several beams, or follows the beams that survive.

        As many rows as before are moved in place, and only their filled slots.
        """
        in_place = len(rows) == self.batch
        held = min(self.length, self.max_length)

        def moved(old: Tensor, slots: int) -> Tensor:
            if not in_place:
                return old.index_select(0, rows)
            filled = old.narrow(slots, 0, min(held, old.shape[slots]))
            filled.copy_(filled.index_select(0, rows))
            return old

        self.layer_keys = [moved(keys, 2) for keys in self.layer_keys]
        self.layer_values = [moved(values, 2) for values in self.layer_values]
        self._positions, self._valid = moved(self._positions, 1), moved(self._valid, 1)
        for state in self.states.values():
            state.select(rows)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` slots, as if the tokens after them had never come.

        A layer with a window holds some more tokens than it, so that as many can be forgotten (see `reserve`).
        """
        require(0 <= length <= self.length, "length", f"must be at least 0 and at most {self.length}", length)
        if length not in (0, self.marked, self.length):
            self.require_rewinding()
        self._spans.check_rewind(self.length, length)
        for state in self.states.values():
            state.rewind(length)
        self.length, self.marked = length, min(self.marked, length)
        self._spans.rewind(self.positions, self.valid, plain=self.plain)

    def reserve(self, tokens: int) -> None:
        """See to it that from now on the newest `tokens` tokens can be forgotten, in layers with a window too."""
        self._spans.reserve(self.length, tokens)

    def seen_from(self, window: int | None) -> int:
        """The oldest slot that layers with this window show to the newest tokens."""
        return 0 if (span := self._spans.of(window)) is None else span.seen

    def mark(self) -> None:
        """Let `rewind` come back to what holds now, in layers with a recurrent state too."""
        self.marked = self.length
        for state in self.states.values():
            if isinstance(state, RecurrentState):
                state.mark()

    @property
    def recurrent(self) -> list[int]:
        """The layers with a state that can be rewound only to where it was marked, and that texts cannot share."""
        return [index for index, state in self.states.items() if isinstance(state, RecurrentState)]

    def require_rewinding(self) -> None:
        """`ValueError` for layers of which no part of the past can be forgotten."""
        kept = self.recurrent
        require(not kept, "cache", "must not be rewound where layers keep a recurrent state, as do layers", kept)

    def _check_layer(self, index: int) -> None:
        layers = self._config.num_layers
        require(0 <= index < layers, "index", f"must be that of one of {layers} layers", index)

    @also(_check_layer)
    def layer(self, index: int) -> "LayerCache | State":
        """What one layer writes and reads: a view of its keys and values, or its own state."""
        return self.states[index] if index in self.states else LayerCache._make((self, index))  # checked already


@checked_once
class LayerCache(NamedTuple):
    """One layer of a `KVCache`."""

    cache: KVCache
    layer: int

    def write(
        self, k: Float[Tensor, "batch kv_heads time head_dim"], v: Float[Tensor, "batch kv_heads time head_dim"]
    ) -> tuple[Float[Tensor, "batch kv_heads key head_dim"], Float[Tensor, "batch kv_heads key head_dim"]]:
        """Put the newest keys and values into the slots opened by `extend`; give back all to be looked at."""
        return self.cache.write(self.layer, k, v)
