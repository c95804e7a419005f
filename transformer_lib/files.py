"""Files and folders that exist whole or not at all, and how bytes from outside become text.

A rename within a file system is atomic. So a file or a folder is filled under another name, flushed to the disk, and
renamed, and then the folder that holds the name is flushed. Whoever is killed before that leaves a `*.partial`, which
nothing reads and the next writer removes. In a folder, `SHA256SUMS` lists the other files (`sha256sum --check
SHA256SUMS` reads it, too), so that a changed byte is noticed.

Only regular files are read or replaced: a pipe would be waited for without end, and a rename over a device would take
the device away. Texts are UTF-8, read as bytes and decoded here, since Python's own text mode also ends a line at a
lone carriage return.
"""

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.extras import needed

PARTIAL = ".partial"
SUMS = "SHA256SUMS"
LOCK = "lock"
MOST_JSON = 64 << 20  # bytes of a JSON file that is read at once: json makes some ten times as much of them

StrPath = str | os.PathLike[str]


# Bytes and text -------------------------------------------------------------------------------------------------------


@checked
def read_bytes(path: StrPath, *, most: int | None = None) -> bytes:
    """The content of a regular file; `ValueError` for anything else that has a name, or for more than `most` bytes."""
    with regular_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        require(most is None or size <= most, os.fspath(path), f"must have at most {most} bytes", size)
        # Asked for `most` bytes, Python would set so many aside.
        return stream.read() if most is None else stream.read(size)


@checked
def sha256_of(path: StrPath) -> str:
    """The SHA-256 of a regular file, as 64 hexadecimal digits."""
    with regular_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@checked
def decode(data: bytes, name: str = "text") -> str:
    """The text of bytes in UTF-8, without the byte order mark that some editors put in front.

    `ValueError` naming the line if they are none.
    """
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name} must be UTF-8, got the byte 0x{data[error.start]:02x} in line {line}") from None


@checked
def read_text(path: StrPath) -> str:
    """The text of a regular file in UTF-8, with its line ends as they are."""
    return decode(read_bytes(path), os.fspath(path))


@checked
def split_lines(text: str) -> list[str]:
    """The lines of a text, which end in a line feed, with or without a carriage return before it; in nothing else.

    `str.splitlines` also cuts at a lone carriage return and at U+2028, which stand inside lines.
    """
    lines = text.removesuffix("\n").split("\n") if text else []
    return [line.removesuffix("\r") for line in lines]


@checked
def read_json(path: StrPath, *, most: int = MOST_JSON) -> object:
    """The value of a JSON file; `ValueError` naming the file if it is none."""
    text = decode(read_bytes(path, most=most), os.fspath(path))
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # json recurses into nested lists
        raise ValueError(f"{os.fspath(path)} must be JSON: {error}") from error


@checked
def write_bytes(path: StrPath, data: bytes) -> None:
    """Write a file that appears whole or not at all, and is on the disk when this returns.

    It replaces an older file, never anything else: `ValueError` if `path` is a folder, a pipe or a device.
    """
    with new_file(Path(path)) as partial:
        partial.write_bytes(data)


@checked
def write_text(path: StrPath, text: str) -> None:
    """Write a text in UTF-8 as `write_bytes` writes bytes, without changing its line ends."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        rule = "must be what UTF-8 can hold, in which half a surrogate pair is nothing"
        raise ValueError(f"text {rule}, got {text[error.start]!r} at {error.start}") from None
    write_bytes(path, data)


@checked
@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a name to write to; the file appears at `path` only once the block has ended and everything is on the disk.

    If the block fails, what it wrote is removed. A link is followed: the file that it names is the one replaced.
    """
    _check_name(path)
    path = Path(os.path.realpath(path))
    _check_replaceable(path)
    # Each writer has a name of its own, which is short, since that of the file may be as long as names can be.
    partial = path.with_name(f"{path.name[:40]}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        yield partial
        _flush(partial)
        _check_replaceable(path)  # once more: the block may have taken hours
        if path.exists():
            shutil.copymode(path, partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _check_name(path: StrPath) -> None:
    require("\0" not in os.fspath(path), "path", "must not hold a null character", os.fspath(path))


def _check_replaceable(path: Path) -> None:
    rule = "must be a regular file or not exist"
    require(not os.path.lexists(path) or path.is_file(), "path", rule, str(path))


@checked
@contextmanager
def regular_file(path: StrPath) -> Iterator[BufferedReader]:
    """A regular file, open for reading its bytes; `ValueError` for anything else that has a name."""
    _check_name(path)
    # Without O_NONBLOCK, opening a pipe waits for somebody who writes into it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        require(regular, "path", "must be a regular file", os.fspath(path))
        with open(descriptor, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(descriptor)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


@checked
@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Make the folder if need be and keep other writers out of it; `ValueError` if one is in it already.

    The lock is the operating system's, which releases it even if its holder is killed. The empty file that it is on
    stays, and means nothing. Where locks do not hold, as on some network file systems, nobody is kept out.
    """
    with needed():
        from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        rule = "must not be in use by another run, which holds its lock"
        raise ValueError(f"folder {rule}, got {str(folder)!r}") from None
    try:
        yield
    finally:
        lock.release()


# Folders --------------------------------------------------------------------------------------------------------------


@checked
@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill; it appears at `path` only once the block has ended and everything is on the disk.

    If the block fails, what it wrote is removed.
    """
    _check_name(path)
    require(not os.path.lexists(path), "path", "must not exist yet", str(path))
    partial = path.with_name(path.name + PARTIAL)
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        lines = [f"{sha256_of(file)}  {file.name}\n" for file in sorted(partial.iterdir())]
        (partial / SUMS).write_text("".join(lines))
        for entry in (*partial.iterdir(), partial):
            _flush(entry)
        os.rename(partial, path)
    except BaseException:
        _remove(partial)
        raise
    _flush(path.parent)


@checked
def remove_folder(path: Path) -> None:
    """Remove a folder so that a kill in the middle leaves no half of it under its name."""
    partial = path.with_name(path.name + PARTIAL)
    _remove(partial)
    os.rename(path, partial)
    shutil.rmtree(partial)


@checked
def remove_partials(folder: Path) -> None:
    """Clear away what killed writers left in `folder`."""
    for partial in folder.glob("*" + PARTIAL):
        _remove(partial)


@checked
def recorded_names(path: Path) -> tuple[str, ...]:
    """The files of a folder as `SHA256SUMS` lists them; without it, none."""
    sums = path / SUMS
    lines = read_bytes(sums).decode(errors="replace").splitlines() if sums.exists() else []
    return tuple(line.partition("  ")[2] for line in lines)


@checked
def check_folder(path: Path, names: tuple[str, ...]) -> None:
    """Raise `ValueError` unless `path` holds exactly these files, each with the bytes that were written."""
    require(path.is_dir(), "path", "must be a folder", str(path))
    found = sorted(file.name for file in path.iterdir())
    require(found == sorted((*names, SUMS)), str(path), f"must hold exactly {sorted((*names, SUMS))}", found)
    for name in found:
        require((path / name).is_file(), str(path / name), "must be a regular file", _kind(path / name))
    recorded = read_bytes(path / SUMS)
    for name in names:
        digest = sha256_of(path / name)
        line = f"{digest}  {name}\n".encode()
        require(line in recorded, str(path / name), f"must have the sha256 recorded in {SUMS}", digest)


def _kind(path: Path) -> str:
    tests = {"a folder": Path.is_dir, "a pipe": Path.is_fifo, "a socket": Path.is_socket, "a link": Path.is_symlink}
    return next((name for name, holds in tests.items() if holds(path)), "a device")


def _remove(path: Path) -> None:
    """Remove whatever has this name: a folder, a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows has no handle to flush a folder with
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
