"""Which tokens a layer with a window keeps: those that the next ones may see, and a few more, to go back to.

A window counts positions, a cache slots. Where both run alike, a window is the newest slots, and older ones are given
up. Where they do not (padding between tokens, several texts in one row), no more is given up from then on.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.contract import checked_once

Positions = Int[Tensor, "batch key"]
Valid = Bool[Tensor, "batch key"]
SPARE = 32  # tokens that can be taken back unless more are asked for; moving what is kept is rare in this measure


@checked_once
class Span:
    """The slots that layers with this window hold of a text of up to `max_length`: `first` and those behind it."""

    def __init__(self, window: int, max_length: int) -> None:
        require_positive(window=window, max_length=max_length)
        self.window, self.max_length, self.spare = window, max_length, SPARE
        self.first = 0  # the oldest slot held
        self.seen = 0  # the oldest slot that the newest tokens may see
        self.slots = self._needed()  # room for so many
        self._old = 0  # how many were held before the newest tokens came
        self._held = 0  # how many are held now
        self._before = 0  # the oldest slot that was held then

    def _needed(self) -> int:
        return min(self.max_length, self.window + 2 * self.spare)

    @property
    def least(self) -> int:
        """How many tokens must at least be left for the next one to find all of its window; beside 0, to begin anew."""
        return self.first + self.window - 1 if self.first else 0

    def reserve(self, spare: int) -> None:
        """Keep so many tokens beyond the window from now on."""
        require_positive(spare=spare + 1)
        self.spare = max(self.spare, spare)
        self.slots = max(self.slots, self._needed())

    def open(self, length: int, new: int, *, in_order: bool) -> None:
        """Make room for new tokens behind `length` others; `in_order` says that positions run as the slots do."""
        self._before, self._old = self.first, length - self.first
        self._held = self._old + new
        if in_order:
            self.seen = max(self.first, length + 1 - self.window)
            if self._held > self.slots:
                self._held = min(self._held, max(1, self.window - 1 + self.spare))
                self.first = length + new - self._held
        else:
            self.seen = self.first
            self.slots = max(self.slots, self.max_length - self.first)

    def rewind(self, length: int) -> None:
        """Hold no more than the first `length` slots."""
        self.first = min(self.first, length)

    def put(
        self, stored: Float[Tensor, "batch heads slots width"], new: Float[Tensor, "batch heads time width"]
    ) -> tuple[Float[Tensor, "batch heads grown width"], Float[Tensor, "batch heads key width"]]:
        """What is stored with the new keys or values, and those that the newest tokens may see."""
        if stored.shape[2] < self.slots:
            stored = F.pad(stored, (0, 0, 0, self.slots - stored.shape[2]))
        seen = self.seen - self._before
        if self.first == self._before:
            stored[:, :, self._old : self._held] = new
            return stored, stored[:, :, seen : self._held]
        whole = torch.cat([stored[:, :, : self._old], new], dim=2)
        stored[:, :, : self._held] = whole[:, :, -self._held :]
        return stored, whole[:, :, seen:]


@checked_once
class Spans:
    """The spans of all windows of a stack, and whether they may still give up what is older than their window."""

    def __init__(self, windows: Iterable[int | None], max_length: int) -> None:
        self._of = {window: Span(window, max_length) for window in set(windows) if window is not None}
        self._in_order = True  # in each row the real tokens stand as far apart as their slots

        self._max_length = max_length

    def __bool__(self) -> bool:
        return bool(self._of)

    def of(self, window: int | None) -> Span | None:
        """The span of layers with this window; None for those that keep everything."""
        return None if window is None else self._of.get(window)

    def slots(self, window: int | None) -> int:
        """How many slots layers with this window have."""
        return self._max_length if (span := self.of(window)) is None else span.slots

    def open(self, positions: Positions, valid: Valid, new: int, *, plain: bool) -> None:
        """Make room for `new` tokens, the last of those given; `plain` says that they are real and go on counting."""
        compiling = torch.compiler.is_compiling()  # such code cannot ask for numbers: it keeps everything
        if not plain and self._in_order:
            self._in_order = not compiling and _in_order(positions, valid)
        for span in self._of.values():
            span.open(positions.shape[1] - new, new, in_order=self._in_order)

    def check_reach(
        self,
        positions: Positions,
        valid: Valid,
        new: Int[Tensor, "#batch time"],
        real: Bool[Tensor, "batch time"] | None,
    ) -> None:
        """`ValueError` if one of the new tokens, `real` unless that is said otherwise, would look at what is gone."""
        if torch.compiler.is_compiling():
            return
        for window, span in self._of.items():
            if span.first:
                wrong = (new < positions[:, span.first, None] + window - 1) & valid[:, span.first, None]
                wrong = wrong if real is None else wrong & real
                rule = f"must be at least {window - 1} above the oldest that a layer with window={window} still has"
                require(not wrong.any(), "positions", rule, new)

    def check_rewind(self, held: int, length: int) -> None:
        """`ValueError` unless the first `length` of the tokens held, or the windows behind them, are still there."""
        least = max((span.least for span in self._of.values()), default=0)
        rule = f"must be 0, or at least {least}, since layers with a window have given up older tokens"
        require(length in (0, held) or length >= least, "length", rule, length)

    def rewind(self, positions: Positions, valid: Valid, *, plain: bool) -> None:
        """Hold no more than these."""
        for span in self._of.values():
            span.rewind(positions.shape[1])
        if self._of:
            self._in_order = plain or positions.shape[1] == 0 or (self._in_order and _in_order(positions, valid))

    def reserve(self, held: int, tokens: int) -> None:
        """Keep so much that the newest `tokens` of the tokens held, and of those to come, can be forgotten."""
        require(tokens >= 0, "tokens", "must be at least 0", tokens)
        for span in self._of.values():
            most = held - span.least if span.first else tokens
            require(tokens <= most, "tokens", f"must be at most {most}, which have their window behind them", tokens)
            span.reserve(tokens)


def _in_order(positions: Positions, valid: Valid) -> bool:
    """Whether in each row the real tokens stand as far apart as their slots, and the newest slot holds one, if any."""
    offsets = positions - torch.arange(positions.shape[1], device=positions.device)
    ends = torch.iinfo(offsets.dtype)
    low, high = offsets.masked_fill(~valid, ends.max).amin(dim=1), offsets.masked_fill(~valid, ends.min).amax(dim=1)
    return bool(((high < low) | ((high == low) & valid[:, -1])).all())
