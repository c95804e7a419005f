"""What a recurrent layer keeps of the text so far: a matrix per head, whose size does not grow.

A state is an argument, never stored on a module. The past cannot be taken out of the sum that a matrix is, so it
cannot be rewound; `copy` it before what may have to be undone.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import require_index


@checked_once
class RecurrentState:
    """The memory of each head, and the newest inputs of the layer's short convolution (none: a `past` of 0)."""

    def __init__(
        self, memory: Float[Tensor, "batch heads key_dim value_dim"], recent: Float[Tensor, "batch channels past"]
    ) -> None:
        self.memory = memory
        self.recent = recent
        self.length = 0  # tokens read so far, padding included

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.memory.shape[0]

    @property
    def bytes(self) -> int:
        """Bytes that it takes, however long the text is."""
        return sum(part.numel() * part.itemsize for part in (self.memory, self.recent))

    def check_fits(self, memory: tuple[int, ...], recent: tuple[int, ...], weight: Tensor) -> None:
        """`ValueError` unless the parts have these shapes, and stand on the device of the layer's weights."""
        for name, part, wanted in (("memory", self.memory, memory), ("recent", self.recent, recent)):
            require(part.shape == wanted, f"state.{name}", f"must have the shape {wanted}", tuple(part.shape))
            here = part.device == weight.device
            require(here, f"state.{name}", f"must be on the device of the layer, {weight.device}", str(part.device))

    def _check_same(self, memory: Tensor, recent: Tensor, new: int) -> None:
        self.check_fits(tuple(memory.shape), tuple(recent.shape), memory)
        require_positive(new=new)

    @also(_check_same)
    def write(
        self,
        memory: Float[Tensor, "batch heads key_dim value_dim"],
        recent: Float[Tensor, "batch channels past"],
        *,
        new: int,
    ) -> None:
        """Put what holds after `new` more tokens in the place of what held before them."""
        self.memory, self.recent = memory.to(self.memory.dtype), recent.to(self.recent.dtype)
        self.length += new

    def _check_rows(self, rows: Tensor) -> None:
        require_index("rows", rows)
        require(rows.numel() > 0, "rows", "must hold at least one row", tuple(rows.shape))
        device = self.memory.device
        require(rows.device == device, "rows", f"must be on the device of the state, {device}", str(rows.device))
        low, high = (int(bound) for bound in rows.aminmax())
        inside = low >= 0 and high < self.batch
        require(inside, "rows", f"must be at least 0 and below the batch of {self.batch}", low if low < 0 else high)

    @also(_check_rows)
    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Row i becomes what row `rows[i]` was: repeats a prompt for several beams, or follows those that survive."""
        self.memory, self.recent = self.memory.index_select(0, rows), self.recent.index_select(0, rows)

    def copy(self) -> "RecurrentState":
        """A state of its own with the same numbers, to go back to."""
        other = RecurrentState(self.memory.clone(), self.recent.clone())
        other.length = self.length
        return other

    def rewind(self, length: int) -> None:
        """Forget everything, if `length` is 0; no other part of the past can be taken out."""
        rule = f"must be 0 or all {self.length} tokens read: a recurrent state cannot be rewound, copy it before"
        require(length in (0, self.length), "length", rule, length)
        if length == 0:
            self.memory, self.recent = torch.zeros_like(self.memory), torch.zeros_like(self.recent)
            self.length = 0
