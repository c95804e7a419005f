"""Lines as they arrive: a text is answered before the next one is there, and no file is held in memory.

What each read of the system brings is taken at once, so that a person who types gets an answer to each line, while a
file comes in groups that a model reads together.
"""

import errno
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from transformer_lib.cli.lines import BOM, Line, line_of
from transformer_lib.files import regular_file

CHUNK = 1 << 16  # bytes of a read
MOST_LINE = 64 << 20  # bytes of a line; of a longer one no more than this is kept


class Stream(Protocol):
    """What can be read bit by bit."""

    def read1(self, size: int, /) -> bytes:
        """What is there, at most so many bytes; waits for the first, and gives nothing at the end."""


def groups_of(texts: Sequence[str], file: Path | None, *, at_once: int) -> Iterator[list[Line]]:
    """The arguments, else the lines of the file or of standard input, in groups of at most `at_once`."""
    if texts and file is not None:
        raise ValueError("text must be given as arguments or as --file, got both")
    if texts:
        return _grouped([map(line_of, texts)], at_once)
    stack = ExitStack()
    if file is not None:
        return _grouped(_lines(stack.enter_context(regular_file(file)), stack), at_once)
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed, and neither arguments nor a file hold the text")
    return _grouped(_lines(sys.stdin.buffer, stack), at_once)


def _grouped(arriving: Iterable[Iterable[Line]], at_once: int) -> Iterator[list[Line]]:
    for lines in arriving:
        left = iter(lines)
        while group := list(islice(left, at_once)):
            yield group


def _lines(stream: Stream | BinaryIO, stack: ExitStack) -> Iterator[Iterable[Line]]:
    """The lines that each read completes; the stack closes what is read."""
    with stack:
        for whole in _whole_lines(stream):
            yield map(_line, whole)


def _whole_lines(stream: Stream | BinaryIO) -> Iterator[list[bytes]]:
    begun, mark = bytearray(), BOM  # at the beginning of the first line there may be a mark
    while data := stream.read1(CHUNK):  # type: ignore[union-attr]
        *whole, end = data.split(b"\n")
        if whole:
            whole[0] = (bytes(begun) + whole[0]).removeprefix(mark)
            begun.clear()
            mark = b""
            yield whole
        begun += end[: max(0, MOST_LINE + 1 - len(begun))]
    if last := bytes(begun).removeprefix(mark):
        yield [last]


def _line(data: bytes) -> Line:
    if len(data) > MOST_LINE:
        return Line("", f"must have at most {MOST_LINE} bytes")
    return line_of(data.removesuffix(b"\r").decode(errors="surrogateescape"))
