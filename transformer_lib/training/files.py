"""Folders that exist whole or not at all, and that notice when a byte has changed.

A rename within a file system is atomic, so a folder is filled under another name, flushed to the disk, and renamed.
Whoever is killed before that leaves a `*.partial`, which nothing reads and the next save removes. `SHA256SUMS` lists
the other files (`sha256sum --check SHA256SUMS` reads it, too).
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformer_lib.config import require
from transformer_lib.contract import checked

PARTIAL = ".partial"
SUMS = "SHA256SUMS"


@checked
@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill; it appears at `path` only once the block has ended and everything is on the disk."""
    require(not path.exists(), "path", "must not exist yet", str(path))
    partial = path.with_name(path.name + PARTIAL)
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    yield partial
    lines = [f"{_sha256(file)}  {file.name}\n" for file in sorted(partial.iterdir())]
    (partial / SUMS).write_text("".join(lines))
    for entry in (*partial.iterdir(), partial):
        _flush(entry)
    os.rename(partial, path)
    _flush(path.parent)


@checked
def remove_folder(path: Path) -> None:
    """Remove a folder so that a kill in the middle leaves no half of it under its name."""
    partial = path.with_name(path.name + PARTIAL)
    os.rename(path, partial)
    shutil.rmtree(partial)


@checked
def remove_partials(folder: Path) -> None:
    """Clear away what killed writers left in `folder`."""
    for partial in folder.glob("*" + PARTIAL):
        shutil.rmtree(partial)


@checked
def recorded_names(path: Path) -> tuple[str, ...]:
    """The files of a folder as `SHA256SUMS` lists them; without it, none."""
    sums = path / SUMS
    lines = sums.read_text(errors="replace").splitlines() if sums.exists() else []
    return tuple(line.partition("  ")[2] for line in lines)


@checked
def check_folder(path: Path, names: tuple[str, ...]) -> None:
    """Raise `ValueError` unless `path` holds exactly these files, each with the bytes that were written."""
    require(path.is_dir(), "path", "must be a folder", str(path))
    found = sorted(file.name for file in path.iterdir())
    require(found == sorted((*names, SUMS)), str(path), f"must hold exactly {sorted((*names, SUMS))}", found)
    recorded = (path / SUMS).read_bytes()
    for name in names:
        digest = _sha256(path / name)
        line = f"{digest}  {name}\n".encode()
        require(line in recorded, str(path / name), f"must have the sha256 recorded in {SUMS}", digest)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows has no handle to flush a folder with
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
