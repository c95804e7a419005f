"""Files and folders that appear whole: what a failure in the middle leaves, and what is on the disk before the name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from transformer_lib.files import check_folder, new_file, new_folder, write_bytes, write_text

Step = tuple[str, int]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """What is flushed and renamed, in order, each by its inode, which a rename does not change."""
    seen: list[Step] = []

    def watched(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(first: int | str | Path, *rest: object) -> None:
            seen.append((name, os.stat(first).st_ino))
            real(first, *rest)

        return call

    for word, name in (("fsync", "flush"), ("replace", "rename"), ("rename", "rename")):
        monkeypatch.setattr(os, word, watched(name, getattr(os, word)))
    return seen


def inode(path: Path) -> int:
    return path.stat().st_ino


@pytest.mark.parametrize("older", [False, True])
def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_its_folder(
    older: bool, tmp_path: Path, steps: list[Step]
) -> None:
    path = tmp_path / "file"
    if older:
        path.write_bytes(b"older")
    write_bytes(path, b"newer")
    assert path.read_bytes() == b"newer" and list(tmp_path.iterdir()) == [path]
    assert steps == [("flush", inode(path)), ("rename", inode(path)), ("flush", inode(tmp_path))]


def test_every_file_of_a_folder_is_on_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, steps: list[Step]
) -> None:
    path = tmp_path / "folder"
    with new_folder(path) as new:
        for name in ("a", "b"):
            (new / name).write_text(name)
    check_folder(path, ("a", "b"))
    renamed = steps.index(("rename", inode(path)))
    flushed = {at for word, at in steps[:renamed] if word == "flush"}
    assert flushed >= {inode(path), *map(inode, path.iterdir())}
    assert steps[renamed + 1 :] == [("flush", inode(tmp_path))]


def test_a_write_that_fails_midway_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "older")
    with pytest.raises(OSError, match="full"), new_file(path) as new:
        new.write_text("half")
        assert path.read_text() == "older"
        raise OSError("the disk is full")
    assert path.read_text() == "older" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_fails_midway_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "folder") as new:
        (new / "a").write_text("half")
        raise OSError("the disk is full")
    assert list(tmp_path.iterdir()) == []
