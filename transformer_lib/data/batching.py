"""Endless shuffled batches that can be stopped anywhere and resumed bit for bit.

Both kinds here are a position in a stream that is fixed by a seed: epoch e is shuffled by a random generator made from
(seed, e) alone. So the whole state is the number of things already given out, and resuming means setting it. The state
also names the data, by a digest of its content, and the settings that it belongs to, and loading it anywhere else is a
`ValueError`.

`PackedBatches` cuts equal windows from one stream of tokens; `BucketedBatches` groups examples of unequal length so
that little is padding. An iterator goes on from the object's position; two iterators share it. Left out: worker
processes (a batch costs far less than a training step) and sharding over machines.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.packing import LMBatch, integer_tokens
from transformer_lib.identity import digest

Batch = TypeVar("Batch")
MOST_SEEN = 2**53  # no run gives out so many batches, and JSON readers agree on whole numbers up to here


@checked
class Padded(NamedTuple):
    """Sequences of unequal length in one tensor; `valid` is False where `tokens` is padding."""

    tokens: Int[Tensor, "batch time"]
    valid: Bool[Tensor, "batch time"]


@checked
def pad(sequences: Sequence[Sequence[int] | Tensor], pad_id: int) -> Padded:
    """The sequences as rows, each filled with `pad_id` on the right to the length of the longest."""
    require(len(sequences) > 0, "sequences", "must not be empty", sequences)
    rows = [integer_tokens(row, f"sequences[{index}]") for index, row in enumerate(sequences)]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(row) for row in rows])
    return Padded(tokens, torch.arange(tokens.shape[1]) < lengths[:, None])


class _Resumable(Generic[Batch]):
    """An iterator over epochs of `per_epoch` units each, of which `seen` have been given out, `_step` with a batch."""

    _step = 1

    def __init__(self, per_epoch: int, seed: int, epochs: int | None, identity: dict[str, Any]) -> None:
        require(type(seed) is int and seed >= 0, "seed", "must be a whole number of at least 0", seed)
        if epochs is not None:
            require_positive(epochs=epochs)
        self.per_epoch = per_epoch
        self.seen = 0
        self._seed = seed
        self._end = None if epochs is None else epochs * per_epoch
        self._identity = {"kind": type(self).__name__, "seed": seed} | identity

    def __iter__(self) -> Iterator[Batch]:
        while self._end is None or self.seen < self._end:
            # `seen` moves before the batch is handed out: a state saved while it is in use is the state after it.
            batch, self.seen = self._next(self.seen)
            yield batch

    def skip(self, count: int) -> None:
        """Move on by `count` batches without making them; `ValueError`, and no move, if there are not so many left."""
        require(type(count) is int and count >= 0, "count", "must be a whole number of at least 0", count)
        seen = self.seen + count * self._step
        if self._end is not None:  # the last batch may be shorter
            left = -(-(self._end - self.seen) // self._step)
            require(count <= left, "count", f"must be at most the {left} batches left", count)
            seen = min(seen, self._end)
        self.seen = seen

    def _next(self, seen: int) -> tuple[Batch, int]:
        raise NotImplementedError

    def _rng(self, epoch: int) -> np.random.Generator:
        # Not default_rng([seed, epoch]): it joins the two without a boundary, so that (2**32, 0) is (0, 1).
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(epoch,)))

    def _data(self) -> int | str:
        """A short name for the content of the data."""
        raise NotImplementedError

    @cached_property
    def _whole_identity(self) -> dict[str, Any]:
        return self._identity | {"data": self._data()}

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it is a position in; small, and plain JSON."""
        return self._whole_identity | {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position. A state of other data or other settings is a `ValueError`."""
        expected = self._whole_identity.keys() | {"seen"}
        require(state.keys() == expected, "state", f"must have exactly the keys {sorted(expected)}", sorted(state))
        for key, value in self._whole_identity.items():
            require(state[key] == value, f"state[{key!r}]", f"must be {value!r} to continue here", state[key])
        seen, end = state["seen"], MOST_SEEN if self._end is None else self._end
        within = type(seen) is int and 0 <= seen <= end
        require(within, "state['seen']", f"must be a whole number from 0 to {end}", seen)
        self.seen = seen


@checked
class PackedBatches(_Resumable[LMBatch]):
    """Shuffled windows of one stream: every window exactly once per epoch, in a new order and newly cut each epoch.

    An epoch has `per_epoch` windows of `context` tokens, `(len(tokens) - 1) // context`, that do not overlap; where
    the first one starts is drawn anew, so that what an epoch leaves over (less than one window) differs. All batches
    have `batch` rows: one that meets the end of an epoch is filled from the next. Only the last of `epochs` (None:
    endless) can have fewer.
    """

    def __init__(
        self, tokens: Int[Tensor, "time"], *, batch: int, context: int, seed: int, epochs: int | None = None
    ) -> None:
        require_positive(batch=batch, context=context)
        tokens = integer_tokens(tokens, "tokens")
        require(len(tokens) > context, "tokens", f"must be longer than context={context}", len(tokens))
        super().__init__((len(tokens) - 1) // context, seed, epochs, {"batch": batch, "context": context})
        self._tokens, self._batch, self._context = tokens, batch, context
        self._step = batch
        self._spare = (len(tokens) - 1) % context
        # Views: row i of `_inputs` is tokens[i : i + context], and nothing is copied until a batch is picked.
        self._inputs, self._targets = tokens[:-1].unfold(0, context, 1), tokens[1:].unfold(0, context, 1)
        self._starts = (-1, torch.empty(0, dtype=torch.int64))

    def _data(self) -> int:
        return zlib.crc32(self._tokens.numpy().tobytes())

    def _next(self, seen: int) -> tuple[LMBatch, int]:
        stop = seen + self._batch if self._end is None else min(seen + self._batch, self._end)
        rows = []
        while seen < stop:
            epoch, place = divmod(seen, self.per_epoch)
            rows.append(self._epoch_starts(epoch)[place : place + stop - seen])
            seen += len(rows[-1])
        starts = torch.cat(rows)
        return LMBatch(self._inputs[starts], self._targets[starts]), stop

    def _epoch_starts(self, epoch: int) -> Int[Tensor, "window"]:
        if self._starts[0] != epoch:
            rng = self._rng(epoch)
            first = rng.integers(self._spare + 1)
            self._starts = (epoch, torch.from_numpy(first + self._context * rng.permutation(self.per_epoch)))
        return self._starts[1]


@checked
class BucketedBatches(_Resumable[Batch]):
    """Batches of examples of like length under a budget: every example exactly once per epoch.

    `lengths[i]` is the length of example i, or one length per side, as (source, target) for translation. A batch of B
    examples costs, summed over sides, B times its longest length, padding included; no batch costs more than
    `token_budget`. Each epoch puts examples of equal length in a new random order, sorts by length, cuts the row into
    batches as full as the budget allows, and shuffles these. `collate` makes a batch of a list of example numbers:

        BucketedBatches([len(text) for text in texts], lambda rows: pad([texts[i] for i in rows], 0), ...)

    `per_epoch` is the number of batches. An example above the budget is a `ValueError` that gives its number.
    """

    def __init__(
        self,
        lengths: Sequence[int] | Sequence[tuple[int, ...]],
        collate: Callable[[list[int]], Batch],
        *,
        token_budget: int,
        seed: int,
        epochs: int | None = None,
    ) -> None:
        require_positive(token_budget=token_budget)
        require(len(lengths) > 0, "lengths", "must not be empty", lengths)
        sides = np.asarray(lengths).reshape(len(lengths), -1)
        require(sides.dtype.kind in "iu", "lengths", "must hold whole numbers", sides.dtype)
        rule = f"must be at least 1 a side and at most token_budget={token_budget} in all"
        for index, row in enumerate(sides.tolist()):
            require(min(row) >= 1 and sum(row) <= token_budget, f"lengths[{index}]", rule, row)
        self._sides, self._collate = sides, collate
        self._cuts = _budget_cuts(sides[_by_length(sides)].tolist(), token_budget)
        super().__init__(len(self._cuts) + 1, seed, epochs, {"token_budget": token_budget})
        self._batches: tuple[int, list[list[int]]] = (-1, [])

    def _data(self) -> str:
        """Of every batch of an epoch in the order of the lengths: what `collate` draws must not count, or disturb."""
        order = _by_length(self._sides)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return digest([digest(self._collate(rows.tolist())) for rows in np.split(order, self._cuts)])

    def _next(self, seen: int) -> tuple[Batch, int]:
        epoch, place = divmod(seen, self.per_epoch)
        if self._batches[0] != epoch:
            self._batches = (epoch, self._shuffled(self._rng(epoch)))
        return self._collate(self._batches[1][place]), seen + 1

    def _shuffled(self, rng: np.random.Generator) -> list[list[int]]:
        order = rng.permutation(len(self._sides))
        # The sort is stable: the sorted lengths are the same in every epoch, and so the cuts are too, but which of the
        # equally long examples stands where is not.
        order = order[_by_length(self._sides[order])]
        batches = np.split(order, self._cuts)
        return [batches[i].tolist() for i in rng.permutation(len(batches))]


def _by_length(sides: Int[np.ndarray, "example side"]) -> Int[np.ndarray, "example"]:
    """The order by first side, then by second, and otherwise as it was."""
    return np.lexsort(sides.T[::-1])  # lexsort takes the most important key last


def _budget_cuts(sides: list[list[int]], token_budget: int) -> list[int]:
    """Where to cut the examples, in this order, so that each run is as long as the budget allows."""
    cuts: list[int] = []
    start, longest = 0, sides[0]
    for index, row in enumerate(sides):
        longest = list(map(max, longest, row))
        if (index + 1 - start) * sum(longest) > token_budget:
            cuts.append(index)
            start, longest = index, row
    return cuts
