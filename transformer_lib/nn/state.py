"""What a layer keeps of the text so far, if not keys and values: a short vector a token, or a matrix per head.

A state is an argument, never stored on a module. Vectors are kept token by token, as keys are. A matrix does not grow
with the text; the past cannot be taken out of the sum that it is, so it can be rewound only to where it was marked: to
`mark` it before what may have to be undone costs nothing but to keep it.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_lib.config import GatedDelta, LatentAttention, LinearAttention, require, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import check_rows, require_floating, require_same_dtype
from transformer_lib.nn.memory import require_memory


@checked_once
class RecurrentState:
    """The memory of each head, and the newest inputs of the layer's short convolution (none: a `past` of 0)."""

    def __init__(
        self, memory: Float[Tensor, "batch heads key_dim value_dim"], recent: Float[Tensor, "batch channels past"]
    ) -> None:
        self.memory = memory
        self.recent = recent
        self.length = 0  # tokens read so far, padding included
        self._mark = (0, memory, recent)

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.memory.shape[0]

    @property
    def marked(self) -> int:
        """The length that it can be rewound to, besides 0."""
        return self._mark[0]

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

    @also(lambda self, rows: check_rows(rows, self.batch, self.memory.device))
    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Row i becomes what row `rows[i]` was: repeats a prompt for several beams, or follows those that survive."""
        self.memory, self.recent = self.memory.index_select(0, rows), self.recent.index_select(0, rows)
        length, memory, recent = self._mark
        self._mark = (
            (length, memory.index_select(0, rows), recent.index_select(0, rows)) if length else (0, memory, recent)
        )

    def copy(self) -> "RecurrentState":
        """A state of its own with the same numbers, to go back to."""
        other = RecurrentState(self.memory.clone(), self.recent.clone())
        other.length = self.length
        return other

    def mark(self) -> None:
        """Let `rewind` come back to what holds now; what was marked before no longer counts."""
        self._mark = (self.length, self.memory, self.recent)  # `write` puts new tensors in their place

    def rewind(self, length: int) -> None:
        """Go back to where it was marked, or to the beginning, if `length` is 0."""
        rule = f"must be 0 or all {self.length} tokens read, or {self.marked}, where it was marked"
        rule += ": a recurrent state cannot be rewound to another place"
        require(length in (0, self.marked, self.length), "length", rule, length)
        if length == 0:
            self.memory, self.recent = torch.zeros_like(self.memory), torch.zeros_like(self.recent)
        elif length != self.length:
            _, self.memory, self.recent = self._mark
        self.length = length
        self._mark = (min(length, self.marked), *self._mark[1:])


@checked_once
class LatentState:
    """The vectors that one layer keeps of `batch` texts of up to `max_length` tokens: latent, then rotated key.

    Bytes: batch * max_length * (kv_rank + rope_dim) * bytes per element.
    """

    def __init__(self, entries: Float[Tensor, "batch max_length width"]) -> None:
        self.entries = entries
        self.length = 0  # tokens read so far

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.entries.shape[0]

    @property
    def max_length(self) -> int:
        """Number of slots."""
        return self.entries.shape[1]

    @property
    def bytes(self) -> int:
        """Bytes that the slots take, filled or not."""
        return self.entries.numel() * self.entries.itemsize

    def _check_new(self, new: Tensor) -> None:
        wanted = (self.batch, self.entries.shape[2])
        require(new.shape[::2] == wanted, "new", f"must have batch and width {wanted}", tuple(new.shape))
        require_same_dtype("new", new, self.entries.dtype)
        here = new.device == self.entries.device
        require(here, "new", f"must be on the device of the state, {self.entries.device}", str(new.device))

    @also(_check_new)
    def write(self, new: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch key width"]:
        """Put the newest tokens into the next slots; give back all that are filled."""
        end = self.length + new.shape[1]
        if end > self.max_length:  # a number that is written into a text is compiled in
            room = self.max_length - self.length
            require(False, "state", f"has room for {room} more tokens of max_length={self.max_length}", new.shape[1])
        self.entries[:, self.length : end] = new
        self.length = end
        return self.entries[:, :end]

    @also(lambda self, rows: check_rows(rows, self.batch, self.entries.device))
    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Row i becomes what row `rows[i]` was: repeats a prompt for several beams, or follows those that survive."""
        self.entries = self.entries.index_select(0, rows)

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens, as if those after them had never come."""
        require(0 <= length <= self.length, "length", f"must be at least 0 and at most {self.length}", length)
        self.length = length


Kind = LatentAttention | GatedDelta | LinearAttention
State = LatentState | RecurrentState


@checked_once
@also(require_floating)
def latent_state(
    config: LatentAttention,
    batch: int,
    max_length: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> LatentState:
    """Room for `max_length` tokens of each of `batch` texts."""
    require_positive(batch=batch, max_length=max_length)
    width = config.kv_rank + config.rope_dim
    require_memory(batch * max_length * width * dtype.itemsize, device, batch=batch, max_length=max_length)
    return LatentState(torch.zeros(batch, max_length, width, dtype=dtype, device=device))


@checked_once
@also(require_floating)
def recurrent_state(
    config: GatedDelta | LinearAttention,
    d_model: int,
    batch: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> RecurrentState:
    """What holds before the first token: zeros, the memory in float32 at least."""
    require_positive(d_model=d_model, batch=batch)
    memory, recent = state_shapes(config, d_model, batch)
    require_memory(8 * (math.prod(memory) + math.prod(recent)), device, batch=batch)
    wide = torch.promote_types(dtype, torch.float32)
    return RecurrentState(
        torch.zeros(memory, dtype=wide, device=device), torch.zeros(recent, dtype=dtype, device=device)
    )


@checked_once
def state_shapes(
    config: GatedDelta | LinearAttention, d_model: int, batch: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the memory, and of the newest inputs of the convolution, where there is one."""
    match config:
        case GatedDelta() as delta:
            width = 2 * delta.key_heads * delta.key_dim + delta.num_heads * delta.value_dim
            return (batch, delta.num_heads, delta.key_dim, delta.value_dim), (batch, width, delta.conv - 1)
        case LinearAttention() as linear:
            head = linear.head_dim or d_model // linear.num_heads
            return (batch, linear.num_heads, head, head + 1), (batch, 0, 0)
