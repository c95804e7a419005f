"""Texts in and results out, a line each: one that cannot be read costs its own place and no other.

Texts are the arguments, the lines of a file, or those of standard input; the last two are read as bytes, so that a line
whose bytes are no UTF-8 is that line's fault alone. A fault is named on standard error with the number of its line,
from 1. Where the result would stand there is an empty line, or `{"error": ...}` in JSON. `streams.py` reads lines as
they arrive.
"""

import errno
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from transformer_lib.files import decode, read_bytes, split_lines

BOM = b"\xef\xbb\xbf"

Result = TypeVar("Result")


class Line(NamedTuple):
    """A text, or nothing and the reason why it could not be read."""

    text: str
    fault: str | None = None


class Shown(NamedTuple):
    """A result as a JSON value, and as the text of one or more lines; and what there is to say against it."""

    value: Any
    text: str
    warning: str | None = None


Form = Literal["text", "json", "json lines"]


def form_of(options: Namespace) -> Form:
    """How results are to be printed; `ValueError` for two ways at once."""
    if options.json and getattr(options, "jsonl", False):
        raise ValueError("--jsonl must be given without --json, which prints one value at the end")
    return "json" if options.json else "json lines" if getattr(options, "jsonl", False) else "text"


# In -------------------------------------------------------------------------------------------------------------------


def read_input(file: Path | None) -> bytes:
    """The bytes of the file, or of standard input if there is none."""
    if file is not None:
        return read_bytes(file)
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed, and neither arguments nor a file hold the text")
    return sys.stdin.buffer.read()


def lines_of(data: bytes) -> list[Line]:
    """The lines of a text in UTF-8; those whose bytes are something else have a fault."""
    try:
        return [Line(line) for line in split_lines(decode(data))]
    except ValueError:
        return list(map(line_of, split_lines(data.removeprefix(BOM).decode(errors="surrogateescape"))))


def line_of(text: str) -> Line:
    """A text in which Python keeps each byte that is no UTF-8 as half of a surrogate pair, as in `sys.argv`."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = ord(text[error.start])
        what = f"the byte 0x{found - 0xDC00:02x}" if 0xDC80 <= found <= 0xDCFF else f"U+{found:04X}"
        return Line("", f"must be UTF-8, got {what} after {error.start} characters")
    return Line(text)


def each_line(texts: Sequence[str], file: Path | None) -> Iterator[Line]:
    """The arguments, else the lines of the file or of standard input, the last one by one, as they are typed."""
    if texts and file is not None:
        raise ValueError("text must be given as arguments or as --file, got both")
    if texts or file is not None:
        yield from map(line_of, texts) if texts else lines_of(read_input(file))
        return
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed, and neither arguments nor a file hold the text")
    for number, data in enumerate(sys.stdin.buffer):
        whole = data.removeprefix(BOM) if number == 0 else data
        yield line_of(whole.removesuffix(b"\n").removesuffix(b"\r").decode(errors="surrogateescape"))


# Out ------------------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print to standard output at once."""
    print(text, flush=True)


def say_json(value: object) -> None:
    """Print one JSON value; `ValueError` if it holds NaN or an infinity, which JSON cannot say."""
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"the result must hold finite numbers to be JSON: {error}") from error
    say(text)


def as_line(value: object) -> str:
    """A JSON value without a line break; `ValueError` as for `say_json`."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def complain(text: str) -> None:
    """Print one line to standard error, whatever characters are in it."""
    line = " ".join(filter(None, text.encode(errors="backslashreplace").decode().splitlines()))
    if sys.stderr is not None:  # with None, print would write to standard output
        print(line, file=sys.stderr, flush=True)


def abandon_output() -> None:
    """Send what is still to be written nowhere, since nobody takes it: else Python fails once more when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def deliver(
    groups: Iterable[list[Line]],
    *,
    form: Form,
    unreadable: Callable[[list[str]], dict[int, str]],
    work: Callable[[list[str]], Sequence[Result]],
    show: Callable[[str, Result], Shown],
) -> int:
    """Print a result for each line, and give the exit code: 1 if there were lines that could not be read.

    `unreadable` says which of some texts cannot be read, and why; `work` gives the results of the others, of the lines
    of a group, which are printed before the next group is taken up (JSON, which is one list, at the end). What a result
    has to say besides, `Shown.warning`, goes to standard error.
    """
    shown, failed, number = [], False, 0
    for group in groups:
        for one in _results(group, unreadable, work, show):
            number += 1
            if isinstance(one, Shown) and form == "json lines":
                one = _said_as_line(one)
            if isinstance(one, str):
                failed = True
                complain(f"line {number}: {one}")
                one = Shown({"error": one}, "")
            elif one.warning is not None:
                complain(f"line {number}: {one.warning}")
            match form:
                case "json":
                    shown.append(one.value)
                case "json lines":
                    say(as_line(one.value))
                case "text":
                    say(one.text)
    if form == "json":
        say_json(shown)
    return int(failed)


def _said_as_line(one: Shown) -> Shown | str:
    """The result, or why it cannot be JSON."""
    try:
        as_line(one.value)
    except ValueError as error:
        return f"has a result that is no JSON: {error}"
    return one


def _results(
    lines: Sequence[Line],
    unreadable: Callable[[list[str]], dict[int, str]],
    work: Callable[[list[str]], Sequence[Result]],
    show: Callable[[str, Result], Shown],
) -> Iterator[Shown | str]:
    """For each line what is to be printed, or its fault."""
    decoded = [line.text for line in lines if line.fault is None]
    faults = unreadable(decoded) if decoded else {}
    good = [text for number, text in enumerate(decoded) if number not in faults]
    results = iter(work(good) if good else [])
    number = -1
    for line in lines:
        number += line.fault is None
        fault = line.fault or faults.get(number)
        yield fault or show(line.text, next(results))
