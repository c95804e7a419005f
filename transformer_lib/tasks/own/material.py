"""The examples of a run on own data: read from the files as often as needed, and split if no splits are given."""

import json
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, overload

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.own import Fault, Kind, Sides, Split, drawn, kind_of, read_own, sides
from transformer_lib.data.own.found import json_lines
from transformer_lib.data.own.pairs import JSON
from transformer_lib.runs.recipe import Run

OPTIONS = {
    "data": "[]",
    "validation": "[]",
    "test": "[]",
    "skip_bad": "no",
    "epochs": "",
    "vocab": "",
    "size": "",
    "from": "",
    "tune": "full",
    "rank": "8",
}  # of every recipe here; the first three are lists of files in JSON


@checked
@dataclass(frozen=True)
class Material:
    """The files of a run, as one of `kinds`; without files of its own, a split is drawn from `data` by the seed."""

    data: tuple[Path, ...]
    validation: tuple[Path, ...]
    test: tuple[Path, ...]
    kinds: tuple[Kind, ...]
    seed: int
    skip_bad: bool = False

    @classmethod
    def of(cls, run: Run, kinds: Sequence[Kind]) -> "Material":
        """What the options of a run name; `ValueError` if `data` names no file."""
        files = {name: tuple(map(Path, json.loads(run.options[name]))) for name in ("data", "validation", "test")}
        require(len(files["data"]) > 0, "data", "must name at least one file", run.options["data"])
        return cls(**files, kinds=tuple(kinds), seed=run.seed, skip_bad=run.options["skip_bad"] == "yes")

    def examples(self, split: Split) -> Iterator[Any]:
        """The examples of one side, in the order of the files."""
        given = {"train": (), "validation": self.validation, "test": self.test}[split]
        if given:
            yield from (example for example, _ in self._read(given))
            return
        cuts = self._sides
        for example, number in self._read(self.data):
            if cuts.of(number) == split:
                yield example

    def whole(self, split: Split) -> Iterator[Any]:
        """What the files of this name hold, without any split being drawn."""
        files = {"train": self.data, "validation": self.validation, "test": self.test}[split]
        return (example for example, _ in self._read(files)) if files else iter(())

    @cached_property
    def _sides(self) -> Sides:
        """Where to cut; the files are read once for it, and refused if a line of them cannot be used."""
        numbers = array("d", (number for _, number in self._read(self.data)))
        require(len(numbers) > 0, "data", "must hold examples", list(map(str, self.data)))
        return sides(numbers, validation=not self.validation, test=not self.test)

    def _read(self, files: tuple[Path, ...]) -> Iterator[tuple[Any, float]]:
        bad: list[Fault] = []
        for found in read_own(files, self._kind(files)):
            if isinstance(found, Fault):
                bad.append(found)
            else:
                yield found.example, drawn(found.example, self.seed)
        if bad and not self.skip_bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise ValueError(f"{bad[0]}{more} (check-data lists them all, and --skip-bad goes on without them)")

    def _kind(self, files: tuple[Path, ...]) -> Kind:
        if len(self.kinds) == 1:
            return self.kinds[0]
        kind = kind_of(files)
        require(kind in self.kinds, "data", f"must be of the kind {' or '.join(self.kinds)}", kind)
        return kind


@checked
class Rows(Sequence[list[int]]):
    """Lists of ids in one array of four bytes a number: two million sentences take some hundred megabytes."""

    def __init__(self) -> None:
        self._ids, self._ends = array("i"), array("q", [0])

    def append(self, ids: list[int]) -> None:
        """Add one list; `ValueError` for an id that four bytes cannot hold."""
        require(all(0 <= i < 2**31 for i in ids), "ids", "must be from 0 to 2**31 - 1", ids)
        self._ids.extend(ids)
        self._ends.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._ids[self._ends[place] : self._ends[place + 1]].tolist()


@checked
def number_of(options: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of at least 1 among the options; the default where it is left empty."""
    require(name in options, "name", f"must be one of {sorted(options)}", name)
    text = options[name]
    if not text:
        return default
    require(
        text.isascii() and text.isdecimal() and len(text) < 19 and int(text) >= 1,
        name,
        "must be a whole number of at least 1",
        text,
    )
    return int(text)


@checked
def size_named(options: Mapping[str, str], sizes: Collection[str], default: str) -> str:
    """The name of a size among the options; the default where it is left empty."""
    name = options.get("size", "")
    require(not name or name in sizes, "size", f"must be one of {sorted(sizes)}", name)
    return name or default


@checked
def has_chats(files: Sequence[Path]) -> bool:
    """Whether the files are conversations; anything else may be meant as text."""
    return len(files) > 0 and all(file.suffix in JSON and _has_messages(file) for file in files)


def _has_messages(file: Path) -> bool:
    """Told by any of the first lines: another may be the bad one."""
    return any(isinstance(record, dict) and "messages" in record for _, record in islice(json_lines(file), 200))
