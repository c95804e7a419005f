"""What a run reports about each step, as JSON lines.

A record holds no clock time: the same run writes the same bytes, however often it was killed and resumed.
"""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from transformer_lib.config import require
from transformer_lib.contract import checked


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One update: the mean `loss` in nats over `tokens` counted targets, and after it the `held_out` loss if measured.

    `gradient_norm` is taken before clipping.
    """

    step: int
    loss: float
    tokens: int
    learning_rate: float
    gradient_norm: float
    held_out: float | None = None


@checked
class StepLog:
    """Appends records to a file, first cut back to the steps up to `step`: what follows will be written again."""

    def __init__(self, path: Path, *, step: int) -> None:
        self.path = path
        end = _end_of_step(path, step)
        self._file = path.open("ab")
        self._file.truncate(end)

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, record: Record) -> None:
        """Append one line; it is the operating system's at once, so that a killed process loses none."""
        self._file.write(json.dumps(dataclasses.asdict(record)).encode() + b"\n")
        self._file.flush()

    def flush_to_disk(self) -> None:
        """Before a checkpoint, so that not even a power failure leaves one that is ahead of its log."""
        os.fsync(self._file.fileno())


@checked
def read_log(path: str | Path, *, most: int | None = None) -> list[Record]:
    """The records of a log, or its first `most`, in the order of their steps; a damaged line is a `ValueError`."""
    lines = Path(path).read_bytes().splitlines()[:most]
    return [_parse(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1)]


def _end_of_step(path: Path, step: int) -> int:
    """The length in bytes of the lines for steps 1 to `step`, which must all be there."""
    lines = path.read_bytes().splitlines(keepends=True)[:step] if path.exists() else []
    steps = [_parse(line, f"{path}: line {number}").step for number, line in enumerate(lines, start=1)]
    whole = len(steps) == step and steps == list(range(1, len(steps) + 1))
    require(whole, str(path), f"must hold the steps 1 to {step} in order", steps[-3:])
    return sum(map(len, lines))


def _parse(line: bytes, name: str) -> Record:
    try:
        return Record(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must be a record of a step: {error}") from error
