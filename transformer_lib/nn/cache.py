"""The cache: keep what attention has already computed, so that each new token costs one position.

A cache is an argument, never stored on a module. It is allocated once and written in place. All rows share the slots;
rows of unequal length differ in which slots hold real tokens (`valid`) and at which positions they stand. `KVCache`
holds a whole text. Left out: paging.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import AttentionConfig, LatentAttention, ModelConfig, require, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import require_floating, require_index
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.state import RecurrentState, State, latent_state, recurrent_state


@checked_once
class KVCache:
    """Keys and values of every layer for `batch` rows of up to `max_length` tokens.

    Bytes, in layers that are alike: 2 * num_layers * batch * kv_heads * max_length * head_dim * bytes per element.
    """

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
        numbers = 2 * sum(
            count * layer.heads.kv_heads * layer.head_dim
            for layer, count in config.tally
            if isinstance(layer.attention, AttentionConfig)
        )
        size = batch * max_length * (numbers * dtype.itemsize + 9)  # and a position of 8 bytes, and a flag
        require_memory(size, device, batch=batch, max_length=max_length)
        self.layer_keys, self.layer_values, self.states = [], [], {}
        self._place: dict[int, int] = {}  # of a layer's keys among `layer_keys`
        for index, layer in enumerate(config.layers):
            match layer.attention:
                case AttentionConfig(kv_heads=heads):
                    self._place[index] = len(self.layer_keys)
                    shape = (batch, heads, max_length, layer.head_dim)
                    self.layer_keys.append(torch.zeros(shape, dtype=dtype, device=device))
                    self.layer_values.append(torch.zeros(shape, dtype=dtype, device=device))
                case LatentAttention() as latent:
                    self.states[index] = latent_state(latent, batch, max_length, dtype=dtype, device=device)
                case kind:
                    self.states[index] = recurrent_state(kind, config.d_model, batch, dtype=dtype, device=device)
        self._dtype = dtype
        self._config = config
        self._positions = torch.zeros(batch, max_length, dtype=torch.int64, device=device)
        self._valid = torch.zeros(batch, max_length, dtype=torch.bool, device=device)
        self.length = 0  # tokens read so far
        self.plain = True  # so far every token is real, and they stand at consecutive positions from 0
        self._start = 0  # the slot where the newest tokens begin
        self._opened = 0  # how many they are

    @property
    def keys(self) -> Float[Tensor, "layers batch kv_heads max_length head_dim"]:
        """The keys of all layers, which must be alike, copied."""
        return self._stacked(self.layer_keys)

    @property
    def values(self) -> Float[Tensor, "layers batch kv_heads max_length head_dim"]:
        """The values of all layers, which must be alike, copied."""
        return self._stacked(self.layer_values)

    def _stacked(self, layers: list[Tensor]) -> Tensor:
        kept = kept_by(self._config)
        alike = len(set(kept)) == 1 and not self.states
        require(alike, "cache", "must have layers that keep as many heads of the same width", kept)
        return torch.stack(layers)

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
        if config is self._config:  # as in every step but a stranger's
            return
        mine, wanted = kept_by(self._config), kept_by(config)
        rule = f"must have the model's layers, kv_heads and head_dim, {_shown(wanted)}"
        require(mine == wanted, "cache", rule, _shown(mine))

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
        self._open(positions, valid)
        self.length += new
        self._opened = new
        self.plain = self.plain and plain

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
        slots = slice(self._start, self._start + k.shape[2])
        keys[:, :, slots] = k
        values[:, :, slots] = v
        return keys[:, :, : self.length], values[:, :, : self.length]

    def _check_rows(self, rows: Tensor) -> None:
        require_index("rows", rows)
        device = self.device
        require(rows.device == device, "rows", f"must be on the device of the cache, {device}", str(rows.device))
        require(rows.numel() > 0, "rows", "must hold at least one row", tuple(rows.shape))
        low, high = (int(bound) for bound in rows.aminmax())
        inside = low >= 0 and high < self.batch
        require(inside, "rows", f"must be at least 0 and below the batch of {self.batch}", low if low < 0 else high)

    @also(_check_rows)
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
        for state in self.states.values():
            state.select(rows)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` slots, as if the tokens after them had never come."""
        require(0 <= length <= self.length, "length", f"must be at least 0 and at most {self.length}", length)
        if length not in (0, self.length):
            self.require_rewinding()
        for state in self.states.values():
            state.rewind(length)
        self.length = length

    def require_rewinding(self) -> None:
        """`ValueError` for layers of which no part of the past can be forgotten."""
        kept = [index for index, state in self.states.items() if isinstance(state, RecurrentState)]
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


@checked_once
def require_keys_and_values(config: ModelConfig) -> None:
    """`ValueError` for a stack with layers that keep something else than keys and values."""
    others = sorted({type(layer.attention).__name__ for layer, _ in config.tally} - {AttentionConfig.__name__})
    require(not others, "attention", "must be an AttentionConfig in every layer for this cache", others)


@checked_once
def kept_by(config: ModelConfig) -> tuple[Any, ...]:
    """Of each layer what it keeps: how many heads of keys and values and how wide, or the kind of its state."""
    return tuple(
        (layer.heads.kv_heads, layer.head_dim) if isinstance(layer.attention, AttentionConfig) else layer.attention
        for layer in config.layers
    )


def _shown(kept: tuple[Any, ...]) -> tuple[Any, ...]:
    """(layers, heads, width) of a stack of like layers, else what each keeps."""
    alike = len(set(kept)) == 1 and isinstance(kept[0], tuple)
    return (len(kept), *kept[0]) if alike else kept
