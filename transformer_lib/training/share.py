"""The stream of batches of a run, and each rank's share of it: together the ranks read what one process reads.

Batches that can `skip` are read once, by the rank that they are for: the others only count them. Of others each rank
draws all and keeps its own, which costs little where making a batch does. Left out: workers that read ahead.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.training.state import Batches


@runtime_checkable
class Skipping(Protocol):
    """Batches that can be passed over without being made.

    `skip(count)` moves on as far as `count` batches would, across the ends of passes where iterating does without an
    end. `ValueError` if there are not so many left.
    """

    def skip(self, count: int, /) -> None: ...


@checked
def endless(batches: Batches) -> Iterator[Any]:
    """Pass after pass, until one is empty: a position restored at the very end of a pass gives one such, not two."""
    empty_passes = 0
    while empty_passes < 2:
        empty_passes += 1
        for batch in batches:
            empty_passes = 0
            yield batch
    raise ValueError(f"batches must not run out before the last step, got {batches.state_dict()!r}")


@checked
class Share:
    """Of every `ranks` batches the one for this rank; the position is counted in whole such rounds.

    A round may begin in one pass and end in the next, so that any number of ranks goes through the same batches, in
    the order that one process has. Raises `ValueError` for a rank that is not from 0 to below `ranks`.
    """

    def __init__(self, batches: Batches, rank: int, ranks: int) -> None:
        require(0 <= rank < ranks, "rank", f"must be from 0 to {ranks - 1}", rank)
        self.batches, self.rank, self.ranks = batches, rank, ranks

    def __iter__(self) -> Iterator[Any]:
        stream = endless(self.batches)
        while True:
            if isinstance(self.batches, Skipping):
                self.batches.skip(self.rank)
                batch = next(stream)
                self.batches.skip(self.ranks - self.rank - 1)  # before it is handed out, as the position is
            else:
                batch = list(islice(stream, self.ranks))[self.rank]
            yield batch

    def require_whole_rounds(self, batches: int) -> None:
        """`ValueError` unless all ranks together can learn from so many batches in a step."""
        require(batches % self.ranks == 0, "micro_batches", f"must share out over {self.ranks} processes", batches)

    def state_dict(self) -> dict[str, Any]:
        """The position of all ranks."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go to the position, whatever number of ranks reached it."""
        self.batches.load_state_dict(state)
