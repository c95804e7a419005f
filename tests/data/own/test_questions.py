"""The three shapes of questions give the same examples, which stand where they say."""

import json
from pathlib import Path
from typing import Any

import pytest

from transformer_lib.data.datasets import read_squad
from transformer_lib.data.examples import Answer, Question
from transformer_lib.data.own import Fault, read_questions

PASSAGE = "Leo works in Oslo."
ASKED = [
    {"id": "1", "question": "Where?", "answers": [{"text": "Oslo", "answer_start": 13}] * 2, "is_impossible": False},
    {"id": "2", "question": "Why?", "answers": [], "is_impossible": True},
]
WANTED = [Question("1", PASSAGE, "Where?", (Answer("Oslo", 13),)), Question("2", PASSAGE, "Why?", ())]
FLAT = [
    {"id": "1", "context": PASSAGE, "question": "Where?", "answers": {"text": ["Oslo"], "answer_start": [13]}},
    {"id": "2", "context": PASSAGE, "question": "Why?", "answers": {"text": [], "answer_start": []}},
]


def _write(file: Path, value: Any) -> Path:
    lines = file.suffix == ".jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in value) if lines else json.dumps(value, indent=1))
    return file


@pytest.mark.parametrize("name", ["nested.json", "flat.jsonl", "flat.json", "data.json"])
def test_every_shape_gives_the_same_questions(name: str, tmp_path: Path) -> None:
    nested = {"version": "2.0", "data": [{"title": "t", "paragraphs": [{"context": PASSAGE, "qas": ASKED}]}]}
    value: Any = {"nested.json": nested, "data.json": {"data": FLAT}}.get(name, FLAT)
    found = list(read_questions(_write(tmp_path / name, value)))
    assert [each.example for each in found if not isinstance(each, Fault)] == WANTED
    assert [each.line for each in found] == [1, 2]


def test_as_the_older_reader_reads(tmp_path: Path) -> None:
    asked = [dict(question, answers=question["answers"][:1]) for question in ASKED]
    file = _write(tmp_path / "x.json", {"data": [{"paragraphs": [{"context": PASSAGE, "qas": asked}]}]})
    assert [each.example for each in read_questions(file)] == list(read_squad(file.read_text()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answers": {"text": ["Rome"], "answer_start": [13]}}, "found there: 'Oslo'"),
        ({"answers": {"text": ["Oslo"], "answer_start": []}}, "two lists of one length"),
        ({"answers": {"text": ["Oslo"], "answer_start": ["13"]}}, "answer_start"),
        ({"answers": None}, "must be a list"),
        ({"question": " "}, "must have words"),
        ({"context": 3}, "must be a text"),
    ],
)
def test_a_wrong_question_is_named_and_costs_itself_alone(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = list(read_questions(_write(tmp_path / "x.jsonl", [{**FLAT[0], **change}, FLAT[1]])))
    assert isinstance(found[0], Fault) and found[0].line == 1
    assert words in found[0].why and "question 1: " in found[0].why
    assert not isinstance(found[1], Fault)


@pytest.mark.parametrize("value", [{"data": [{"paragraphs": [{}]}]}, {"data": 3}, {"data": [3]}, "text"])
def test_a_file_of_another_shape_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must"):
        list(read_questions(_write(tmp_path / "x.json", value)))
