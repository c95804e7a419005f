"""The held-out losses of a run: which was the lowest, and whether it is time to stop.

Everything follows from the records of the steps, so a run that is resumed decides as one that never stopped.
"""

from collections.abc import Iterable

from transformer_lib.contract import checked
from transformer_lib.training.log import Record


@checked
class Patience:
    """Looks at the records of a run, one after the other.

    `best` is the step with the lowest held-out loss so far, of equals the first. `over` says that `patience`
    evaluations have passed since then; with `patience=None` it never is.
    """

    def __init__(self, records: Iterable[Record], patience: int | None) -> None:
        self.best: int | None = None
        self._lowest, self._since, self._patience = float("inf"), 0, patience
        for record in records:
            self.add(record)

    @property
    def over(self) -> bool:
        """Whether the run has waited long enough for a lower loss."""
        return self._patience is not None and self._since >= self._patience

    def add(self, record: Record) -> None:
        """Take note of a step; those without a held-out loss change nothing."""
        if record.held_out is None:
            return
        if record.held_out < self._lowest:
            self.best, self._lowest, self._since = record.step, record.held_out, 0
        else:
            self._since += 1
