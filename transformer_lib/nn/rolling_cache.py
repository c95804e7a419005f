"""A cache of bounded size: the beginning and the newest part of a text without end."""

import sys

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
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.fit import check_rows
from transformer_lib.nn.kept import require_keys_and_values
from transformer_lib.nn.positions import Rotation, apply_rope, rope_rotation


@checked_once
class RollingCache(KVCache):
    """The first `sinks` tokens of a text and the newest `window` of the others: memory does not grow with the text.

    Without sinks, a model with `attention.window = window` computes what it would with a cache of everything.
    A model without a window has learnt to lean on the first tokens; it writes on only if they stay as attention sinks
    (Xiao et al. 2023). All tokens kept then stand at consecutive positions: the sinks move along behind the window.
    That asks for positions that tell only distances, and for real tokens from the first on.
    Angles of RoPE are float32 numbers, so that a position p is exact to about p / 10^7 radians.
    """

    _bounded = False

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
        require_keys_and_values(config)
        require(sinks >= 0, "sinks", "must be a whole number, not negative", sinks)
        if sinks:
            config.multihead  # noqa: B018 - the sinks move along in every layer alike
            relative = isinstance(config.positions, NoPositions | Rope | Alibi)
            require(
                relative, "sinks", "need positions that tell distances alone: Rope, Alibi or none", config.positions
            )
            longest = config.heads.window or config.max_length
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

    @also(KVCache._check_new)
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
            width = self._rope.rotated(keys.shape[3])
            self._turn = rope_rotation(moved[:, :1], width, theta=theta, scaling=scaling, dtype=keys.dtype)

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

    @also(KVCache._check_write)
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
            width = 2 * self._turn.cos.shape[-1]  # what lies behind it has no position
            keys[:, :, : self.sinks, :width] = apply_rope(self._unturned[layer][..., :width], self._turn)
        return keys, values

    @also(lambda self, rows: check_rows(rows, self.batch, self.device))
    def select(self, rows: Int[Tensor, " rows"]) -> None:
        super().select(rows)
        self._unturned = [keys.index_select(0, rows) for keys in self._unturned]
