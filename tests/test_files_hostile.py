"""Files under attack: names, links, other writers, kills and content that are made to do harm, or just unlucky."""

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.plain import rejects, unchecked
from transformer_lib.files import (
    decode,
    new_file,
    new_folder,
    read_bytes,
    read_json,
    read_text,
    split_lines,
    write_bytes,
    write_text,
)

ROUNDS = 50
LONGEST = 255  # bytes of a name


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# What is written over -------------------------------------------------------------------------------------------------


def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody is at its other end: opened, it would be waited for
    (tmp_path / "folder").mkdir()
    (tmp_path / "to pipe").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    for name in before:
        with rejects("path", "must be a regular file or not exist", str(tmp_path)):
            write_text(tmp_path / name, "new")
    for name in ("pipe", "to pipe"):
        for read in (read_bytes, read_text, read_json):
            with rejects("path", "must be a regular file", name):
                read(tmp_path / name)
    assert names(tmp_path) == before
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "loop").is_symlink()


def test_what_became_no_file_during_writing_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with rejects("path", "must be a regular file or not exist"), new_file(path) as partial:
        partial.write_text("new")
        os.mkfifo(path)
    assert path.is_fifo() and names(tmp_path) == ["file"]


def test_a_link_is_followed_also_to_what_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    for text in ("first", "second"):
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink() and read_text(tmp_path / "file") == text
    assert names(tmp_path) == ["file", "link"]
    (tmp_path / "astray").symlink_to("no folder/file")
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "astray", "new")


@pytest.mark.parametrize("letter", ["a", "ä", "語", "🙂"])
def test_a_name_may_be_as_long_as_names_can_be(letter: str, tmp_path: Path) -> None:
    path = tmp_path / (letter * (LONGEST // len(letter.encode())))
    for text in ("first", "second"):
        write_text(path, text)
        assert read_text(path) == text and names(tmp_path) == [path.name]


def test_names_with_a_null_character_are_refused(tmp_path: Path) -> None:
    calls: list[Any] = [read_bytes, read_text, read_json, lambda path: write_text(path, "x")]
    for call in calls:
        with rejects("path", "null character"):
            call("a\0b")
    with rejects("path", "null character"), new_folder(Path("a\0b")):
        pass


def test_an_absent_folder_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        write_text(tmp_path / "missing" / "file", "x")
    assert names(tmp_path) == []


def test_who_may_read_and_write_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "older")
    path.chmod(0o640)
    write_text(path, "newer")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_outgrows_the_disk_leaves_the_older_one(tmp_path: Path) -> None:
    path, before = tmp_path / "file", resource.getrlimit(resource.RLIMIT_FSIZE)
    write_text(path, "older")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_bytes(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_text(path) == "older" and names(tmp_path) == ["file"]


# Others at work -------------------------------------------------------------------------------------------------------


def test_two_writers_in_one_process_do_not_mix(tmp_path: Path) -> None:
    """Each is in the middle of its file while the other begins: what appears is the whole of one, then of the other."""
    path, both_inside, first_done = tmp_path / "file", threading.Barrier(2), threading.Event()

    def write(text: str, first: bool) -> None:
        with new_file(path) as partial:
            partial.write_text(text)
            both_inside.wait(timeout=60)
            if not first:
                first_done.wait(timeout=60)
                assert path.read_text() == "a" * 1000
        if first:
            first_done.set()

    def caught(text: str, first: bool) -> None:
        try:
            write(text, first)
        except BaseException as error:
            failed.append(error)

    failed: list[BaseException] = []
    threads = [
        threading.Thread(target=caught, args=("a" * 1000, True)),
        threading.Thread(target=caught, args=("b", False)),
    ]
    with unchecked():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == [] and path.read_text() == "b" and names(tmp_path) == ["file"]


def kill_while_writing(path: Path) -> None:
    """Kill a writer again and again, after so many of its files were seen; the file is always one of them, whole."""
    wholes = {letter * 200_000 for letter in (b"a", b"b")}
    write_bytes(path, b"a" * 200_000)
    for round_ in range(ROUNDS):
        writer = os.fork()
        if writer == 0:
            while True:
                for whole in wholes:
                    write_bytes(path, whole)
        changes, last = 0, path.stat().st_ino
        while changes <= round_ % 5:
            assert read_bytes(path) in wholes
            changes, last = changes + (path.stat().st_ino != last), path.stat().st_ino
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        assert read_bytes(path) in wholes
    print("whole")


def test_a_reader_sees_whole_files_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    code = "import sys; from tests.test_files_hostile import *; kill_while_writing(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


# What is read ---------------------------------------------------------------------------------------------------------


def test_bytes_become_text_in_one_way() -> None:
    assert decode(b"\xef\xbb\xbfa\xef\xbb\xbf") == "a\ufeff"  # a mark in front alone is none of the text
    assert decode(b"") == decode(b"\xef\xbb\xbf") == ""
    with rejects("poem.txt", "must be UTF-8", "0xff in line 3"):
        decode(b"one\ntwo\r\nth\xffree\n", "poem.txt")
    with rejects("text", "UTF-8", "0xed in line 1"):
        decode("\ud800".encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n", [""]),
        ("a\nb", ["a", "b"]),
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\rb\n", ["a\rb"]),
        ("a\u2028b\x0bc\x85d\x1ce\n", ["a\u2028b\x0bc\x85d\x1ce"]),
        ("a\n\n", ["a", ""]),
    ],
)
def test_lines_end_in_a_line_feed_alone(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


def test_texts_come_back_as_they_were_written(tmp_path: Path) -> None:
    text = "a\rb\r\nc\u2028\nCafe\u0301 \0 \U0001f642"
    write_text(tmp_path / "file", text)
    assert read_text(tmp_path / "file") == text
    with rejects("text", "must be what UTF-8 can hold"):
        write_text(tmp_path / "file", "half a pair: \ud800")
    assert read_text(tmp_path / "file") == text and names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "data",
    [b"", b"NaN", b'{"a": -Infinity}', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"{'a': 1}", b"[1] 2", b"\xff"],
    ids=range(9),
)
def test_what_is_no_json_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(data)
    with rejects(str(tmp_path / "file.json"), "must be"):
        read_json(tmp_path / "file.json")


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"[1, 2]")
    assert read_json(path, most=6) == [1, 2]
    for read in (read_bytes, read_json):
        with rejects(str(path), "must have at most 5 bytes", "6"):
            read(path, most=5)
    with path.open("wb") as stream:
        stream.truncate(1 << 40)  # a hole, which takes no room on the disk
    with rejects(str(path), "must have at most", str(1 << 40)):
        read_json(path)
    path.write_bytes(b"[]")
    assert read_bytes(path, most=1 << 40) == b"[]"  # without setting so much aside
