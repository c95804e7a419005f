"""The account of a training's time: it survives kills and strange clocks, and nothing that is none is taken for one."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from transformer_lib.runs.account import PARTS, keep_time, parts_below, read_parts
from transformer_lib.training.log import Record


def step(number: int) -> Record:
    return Record(step=number, loss=1.0, tokens=1, learning_rate=0.1, gradient_norm=1.0)


def test_seconds_are_those_between_the_calls_and_a_clock_that_is_set_back_takes_none_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([100.0, 103.0, 110.5, 40.0, 41.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(readings))
    on_step = keep_time(tmp_path / PARTS, steps=4)
    for number in (1, 2, 3, 4):
        on_step(step(number))
    assert read_parts(tmp_path / PARTS) == [{"until_step": 4, "seconds": 11.5}]


def test_a_part_is_added_to_those_before_and_other_processes_write_nothing(tmp_path: Path) -> None:
    file = tmp_path / PARTS
    keep_time(file, steps=2)(step(2))
    keep_time(file, steps=3, write=False)(step(3))
    keep_time(file, steps=4)(step(4))
    assert [part["until_step"] for part in read_parts(file)] == [2, 4]
    (tmp_path / "second").mkdir()
    keep_time(tmp_path / "second" / PARTS, steps=9)(step(9))
    assert [part["until_step"] for part in parts_below(tmp_path)] == [2, 4, 9]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be JSON"),
        ("{", "must be JSON"),
        ("{}", "must be a JSON list"),
        ('[{"a": 1}]', "must hold parts with until_step and seconds"),
        ('[{"until_step": "3", "seconds": 1}]', "must hold parts"),
        ('[{"until_step": 3, "seconds": -1}]', "must hold parts"),
        ('[{"until_step": 3, "seconds": NaN}]', "NaN is no JSON"),
        ("[3]", "must hold parts"),
    ],
)
def test_a_damaged_file_is_named_before_anything_is_trained(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / PARTS
    file.write_text(text)
    for read in (lambda: keep_time(file, steps=3), lambda: read_parts(file), lambda: parts_below(tmp_path)):
        with pytest.raises(ValueError, match=words) as error:
            read()
        assert str(file) in str(error.value)


def test_a_write_that_fails_leaves_the_older_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / PARTS
    keep_time(file, steps=2)(step(2))
    before = file.read_bytes()

    def full(path: Path, data: bytes) -> Any:
        path.open("wb").write(data[:5])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        keep_time(file, steps=4)(step(4))
    assert file.read_bytes() == before and json.loads(before)[0]["until_step"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [PARTS]
