"""How long a training took, in a file that outlives the process: a run that is killed and resumed is several parts.

`parts.json` is a list of `{"until_step": ..., "seconds": ...}`, one for each part, rewritten every few seconds.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.files import read_json, write_text
from transformer_lib.training.log import Record

PARTS = "parts.json"
EVERY_SECONDS = 5


@checked
def keep_time(file: Path, *, steps: int, write: bool = True) -> Callable[[Record], None]:
    """A function to be called after each step, up to the last of `steps`, which adds this part to those in the file.

    With `write=False` it leaves the file alone, as all processes but one must. `ValueError` if the file is damaged.
    """
    before = read_parts(file) if file.exists() else []
    last = written = time.monotonic()
    seconds = 0.0

    def on_step(record: Record) -> None:
        nonlocal last, written, seconds
        now = time.monotonic()
        seconds += max(0.0, now - last)  # a clock that is set back takes no time away
        last = now
        if write and (now - written > EVERY_SECONDS or record.step == steps):
            written = now
            write_text(file, json.dumps([*before, {"until_step": record.step, "seconds": round(seconds, 1)}]))

    return on_step


@checked
def parts_below(folder: Path) -> list[dict[str, Any]]:
    """The parts of all trainings in a folder and those below it."""
    return [part for file in sorted(folder.rglob(PARTS)) for part in read_parts(file)]


@checked
def read_parts(file: Path) -> list[dict[str, Any]]:
    """What `keep_time` wrote; `ValueError` naming the file if it holds anything else."""
    parts: Any = read_json(file)
    require(
        isinstance(parts, list), str(file), "must be a JSON list (or be removed: then only the time is lost)", parts
    )
    for part in parts:
        known = isinstance(part, dict) and part.keys() == {"until_step", "seconds"}
        numbers = known and type(part["until_step"]) is int and type(part["seconds"]) in (int, float)
        require(numbers and part["seconds"] >= 0, str(file), "must hold parts with until_step and seconds", part)
    return parts
