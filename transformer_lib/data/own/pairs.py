"""Sentence pairs: lines with a tab, JSON lines, or two files that are translations of each other line by line."""

from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Pair
from transformer_lib.data.own.found import Fault, Found, json_lines, lines_in, text_of

LOOKED_AT = 50  # lines, to tell what a file holds
JSON = (".jsonl", ".json", ".ndjson")


@checked
def read_pairs(files: Sequence[Path]) -> Iterator[Found | Fault]:
    """The pairs of these files, each a `Pair`, in their order.

    - `source TAB target` in each line; more columns, such as Tatoeba's licence, are passed over;
    - JSON lines: `{"source": ..., "target": ...}`, or the shape of the library `datasets`,
      `{"translation": {"en": ..., "zh": ...}}`, whose first language is the source;
    - exactly two files without tabs: line i of the second translates line i of the first. If they have not equally
      many lines, that is a `ValueError`: one line too many, and all that follow are paired wrongly.
    """
    require(len(files) > 0, "files", "must not be empty", files)
    tabs = [file.suffix not in JSON and _has_tabs(file) for file in files]
    if len(files) == 2 and not any(tabs) and all(file.suffix not in JSON for file in files):
        yield from _side_by_side(*files)
        return
    for file, tab in zip(files, tabs, strict=True):
        if file.suffix in JSON:
            yield from _json(file)
        else:
            rule = "must have a tab between source and target, or be one of two files that are parallel"
            require(tab, str(file), rule, "lines without tabs")
            yield from _tabs(file)


def _has_tabs(file: Path) -> bool:
    """Whether one of the first lines has a tab: any of them may be the bad one."""
    return any(isinstance(line, str) and "\t" in line for _, line in islice(lines_in(file), LOOKED_AT))


def _tabs(file: Path) -> Iterator[Found | Fault]:
    for number, line in lines_in(file):
        if isinstance(line, Fault):
            yield line
        elif line.strip():
            yield _pair(file, number, line.split("\t")[:2])


def _json(file: Path) -> Iterator[Found | Fault]:
    for number, record in json_lines(file):
        if isinstance(record, Fault):
            yield record
            continue
        try:
            yield _pair(file, number, _sides(record))
        except ValueError as error:
            yield Fault(str(file), number, str(error))


def _sides(record: Any) -> list[str]:
    if isinstance(record, dict) and isinstance(record.get("translation"), dict):
        record = record["translation"]
        require(len(record) == 2, "translation", "must have two languages, and has", sorted(record))
        return [text_of(record, language) for language in record]
    return [text_of(record, field) for field in ("source", "target")]


def _side_by_side(source: Path, target: Path) -> Iterator[Found | Fault]:
    for left, right in zip_longest(lines_in(source), lines_in(target)):
        if left is None or right is None:
            longer, shorter = (source, target) if right is None else (target, source)
            number, _ = left or right or (0, "")
            raise ValueError(f"{longer} must have as many lines as {shorter}, which ends before line {number}")
        (number, one), (_, other) = left, right
        if isinstance(one, Fault):
            yield one
        elif isinstance(other, Fault):
            yield other
        elif one.strip() or other.strip():  # an empty line in both is no pair, and no mistake
            yield _pair(source, number, [one, other])


def _pair(file: Path, number: int, sides: list[str]) -> Found | Fault:
    if len(sides) < 2:
        return Fault(str(file), number, "must have a tab between source and target")
    source, target = (" ".join(side.split()) for side in sides)
    if not (source and target):
        return Fault(
            str(file), number, f"must have words on both sides, and the {'target' if source else 'source'} has none"
        )
    return Found(Pair(source, target), str(file), number)
