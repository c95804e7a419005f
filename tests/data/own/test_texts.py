"""Plain texts, from files and folders."""

from pathlib import Path

import pytest

from transformer_lib.data.own import Fault, read_texts


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rstill\n")
    (tmp_path / "b" / "c.txt").write_bytes(b"good\n\xffbad\nend")
    (tmp_path / "d.txt").write_text(" \n")
    (tmp_path / "e.md").write_text("not read")
    (tmp_path / "f.txt").write_bytes(b"\xff")
    found = list(read_texts([tmp_path]))
    assert [each.example for each in found if not isinstance(each, Fault)] == ["one\ntwo\rstill", "good\nend"]
    faults = [(Path(each.file).name, each.line) for each in found if isinstance(each, Fault)]
    assert faults == [("c.txt", 2), ("d.txt", 1), ("f.txt", 1)]  # what is damaged has text


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold files that end in \.txt"):
        list(read_texts([tmp_path]))
