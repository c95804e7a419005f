"""A cache for steps that are recorded once and replayed, as CUDA graphs are: nothing in a step depends on Python."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import ModelConfig
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.kept import require_keys_and_values


@checked_once
class FixedCache(KVCache):
    """A cache whose every step has the same shapes: attention sees all slots, and `valid` hides those not yet filled.

    Where the next token goes is a number on the device, so a step can be recorded once and replayed without Python
    (`generation.Recorded`). The price is attention over empty slots.
    """

    _bounded = False

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        max_length: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        require_keys_and_values(config)
        super().__init__(config, batch, max_length, dtype=dtype, device=device)
        self.plain = False  # what is seen is always said by `valid`
        self._filled = torch.zeros((), dtype=torch.int64, device=device)
        self._slots = self._filled[None]

    @property
    def positions(self) -> Int[Tensor, "batch key"]:
        return self._positions

    @property
    def valid(self) -> Bool[Tensor, "batch key"]:
        return self._valid

    def _open(self, positions: Int[Tensor, "#batch time"], valid: Bool[Tensor, "batch time"] | None) -> None:
        self._slots = self._filled + torch.arange(positions.shape[1], device=positions.device)
        self._filled += positions.shape[1]
        real = torch.ones_like(positions, dtype=torch.bool) if valid is None else valid
        self._positions.index_copy_(1, self._slots, positions.expand(self.batch, -1))
        self._valid.index_copy_(1, self._slots, real.expand(self.batch, -1))

    @also(KVCache._check_write)
    def write(
        self,
        layer: int,
        k: Float[Tensor, "batch kv_heads time head_dim"],
        v: Float[Tensor, "batch kv_heads time head_dim"],
    ) -> tuple[Float[Tensor, "batch kv_heads key head_dim"], Float[Tensor, "batch kv_heads key head_dim"]]:
        keys, values = self.layer_keys[layer], self.layer_values[layer]
        keys.index_copy_(2, self._slots, k)
        values.index_copy_(2, self._slots, v)
        return keys, values

    def rewind(self, length: int) -> None:
        super().rewind(length)
        self._filled.fill_(length)
        self._valid[:, length:] = False
