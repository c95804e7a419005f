"""Pairs come out as they stand in the file, and a wrong line costs itself alone, named by its number."""

import json
from pathlib import Path

import pytest

from transformer_lib.data.examples import Pair
from transformer_lib.data.own import Fault, read_pairs


def _read(*files: Path) -> tuple[list[tuple[Pair, int]], list[tuple[int, str]]]:
    found = list(read_pairs(files))
    good = [(each.example, each.line) for each in found if not isinstance(each, Fault)]
    return good, [(each.line, each.why) for each in found if isinstance(each, Fault)]


def test_lines_with_tabs(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_bytes("\ufeffa cat\teine  Katze\tCC-BY\r\n\na\u2028dog\tein Hund\r\n".encode())
    assert _read(file) == ([(Pair("a cat", "eine Katze"), 1), (Pair("a dog", "ein Hund"), 3)], [])


def test_wrong_lines_are_named_and_cost_themselves_alone(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_bytes(b"no tab\nx\ty\n\xff\tz\n \tw\nw\t\nu\tv")
    good, faults = _read(file)
    assert good == [(Pair("x", "y"), 2), (Pair("u", "v"), 6)]
    assert [line for line, _ in faults] == [1, 3, 4, 5]
    for (_, why), words in zip(faults, ("a tab", "0xff", "the source has none", "the target has none"), strict=True):
        assert words in why


def test_json_lines_of_both_shapes(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"source": "a", "target": "b"},
        {"id": 7, "translation": {"de": "c", "en": "d"}},
        {"source": "a"},
        {"translation": {"de": "c"}},
        {"source": "a", "target": 3},
        {"source": "\ud800", "target": "b"},
        [1],
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n{not json\n")
    good, faults = _read(file)
    assert good == [(Pair("a", "b"), 1), (Pair("c", "d"), 2)]
    assert [line for line, _ in faults] == [3, 4, 5, 6, 7, 8]
    for (_, why), words in zip(faults, ("'target'", "two languages", "a text", "UTF-8", "object", "JSON"), strict=True):
        assert words in why


def test_two_files_side_by_side(tmp_path: Path) -> None:
    english, german = tmp_path / "train.en", tmp_path / "train.de"
    english.write_text("a\n\nb\nc\n")
    german.write_text("A\n\nB\n\n")
    good, faults = _read(english, german)
    assert good == [(Pair("a", "A"), 1), (Pair("b", "B"), 3)]
    assert [line for line, _ in faults] == [4]


def test_files_of_unequal_length_are_refused(tmp_path: Path) -> None:
    english, german = tmp_path / "train.en", tmp_path / "train.de"
    english.write_text("a\nb\nc\n")
    german.write_text("A\nB\n")
    with pytest.raises(ValueError, match=r"train\.en must have as many lines as .*train\.de, which ends before line 3"):
        list(read_pairs([english, german]))


def test_one_file_without_tabs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "train.en"
    file.write_text("a\nb\n")
    with pytest.raises(ValueError, match="must have a tab between source and target, or be one of two files"):
        list(read_pairs([file]))


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a regular file"):
        list(read_pairs([tmp_path]))
    with pytest.raises(FileNotFoundError):
        list(read_pairs([tmp_path / "none.tsv"]))
