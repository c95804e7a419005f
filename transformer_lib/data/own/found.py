"""What was found in a file of examples: those that can be used, and for each of the others where it stands and why.

A wrong line costs itself alone. Readers give examples and faults one after the other, so that a file of any size can be
gone through in little memory; whoever needs all of them at once makes a list.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from transformer_lib.checks import require, shown
from transformer_lib.contract import checked
from transformer_lib.files import regular_file

BOM = b"\xef\xbb\xbf"  # the byte order mark that some editors put in front
MOST_LINE = 64 << 20  # bytes: a longer line is no line of examples, and reading it would take all memory


@checked
class Fault(NamedTuple):
    """Why the line `line` (from 1) of a file cannot be used."""

    file: str
    line: int
    why: str

    def __str__(self) -> str:
        """As it is said to the user."""
        return f"{self.file}, line {self.line}: {self.why}"


@checked
class Found(NamedTuple):
    """An example, and the line where it begins."""

    example: Any
    file: str
    line: int


@checked
def lines_in(path: str | os.PathLike[str]) -> Iterator[tuple[int, str | Fault]]:
    """Each line of a UTF-8 file with its number from 1, without its end; a `Fault` for one that is no UTF-8.

    Lines end in a line feed, with or without a carriage return before it. A byte order mark in front is no part of the
    first line. `ValueError` for what is no regular file, or for a line of more than 64 MiB.
    """
    name = os.fspath(path)
    with regular_file(path) as stream:
        number = 0
        while line := stream.readline(MOST_LINE + 1):
            number += 1
            require(len(line) <= MOST_LINE, f"{name}, line {number}", f"must have at most {MOST_LINE} bytes", len(line))
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            if number == 1:
                line = line.removeprefix(BOM)
            try:
                yield number, line.decode()
            except UnicodeDecodeError as error:
                yield number, Fault(name, number, f"must be UTF-8, got the byte 0x{line[error.start]:02x}")


@checked
def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The JSON value of each line that is not blank, or a `Fault`."""
    for number, line in lines_in(path):
        if isinstance(line, Fault):
            yield number, line
        elif line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, Fault(str(path), number, f"must be JSON: {error}")


@checked
def text_of(record: Any, field: str) -> str:
    """The text that a JSON object has under this name; `ValueError` if it has none."""
    require(isinstance(record, dict), "the line", "must be a JSON object", record)
    require(field in record, "the line", f"must have the field {field!r}, and has", sorted(map(str, record)))
    value = record[field]
    require(isinstance(value, str), field, "must be a text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{field} must be what UTF-8 can hold, got {shown(value[error.start])}") from None
    return str(value)
