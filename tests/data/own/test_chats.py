"""Conversations are read line by line; a wrong line costs itself alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from transformer_lib.data.examples import Chat
from transformer_lib.data.own import Fault, Survey, drawn, kind_of, read_own

USER, ANSWER = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "The cat."}


def put(file: Path, *records: Any) -> Path:
    file.write_text("".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records))
    return file


def test_conversations_with_their_places(tmp_path: Path) -> None:
    file = put(tmp_path / "c.jsonl", {"messages": [USER, ANSWER], "id": 3}, "", {"messages": [USER, ANSWER, USER]})
    assert kind_of([file]) == "chats"
    found = [each.example for each in read_own([file], "chats")]  # type: ignore[union-attr]
    assert [len(chat.messages) for chat in found] == [2, 3]
    assert found[1].place.endswith("c.jsonl, line 3")
    assert found[0].said("assistant") == "The cat." and found[1].said("user") == "Who?\nWho?"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("{", "must be JSON"),
        ([1], "the line must be a JSON object"),
        ({"text": "a"}, "must have the field 'messages'"),
        ({"messages": []}, "must be a list of messages"),
        ({"messages": "hello"}, "must be a list of messages"),
        ({"messages": [USER, {"role": "assistant"}]}, "must have the field 'content'"),
        ({"messages": [USER, {"role": 1, "content": "a"}]}, "role must be a text"),
        ({"messages": [USER, {"role": "assistant", "content": ["a"]}]}, "content must be a text"),
        ({"messages": [USER]}, "must have a message of the assistant"),
        ({"messages": [ANSWER, USER]}, "must have a message of the assistant"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "must have words of the assistant"),
    ],
)
def test_a_wrong_line(record: Any, why: str, tmp_path: Path) -> None:
    good = {"messages": [USER, ANSWER]}
    first, second, third = read_own([put(tmp_path / "c.jsonl", good, record, good)], "chats")
    assert isinstance(second, Fault) and second.line == 2 and why in second.why
    assert not isinstance(first, Fault) and not isinstance(third, Fault)


def test_what_is_said_first_decides_the_side() -> None:
    one, other = Chat((USER, ANSWER)), Chat(({"role": "user", "content": "who"}, {**ANSWER, "content": "A dog."}))
    assert drawn(one, 0) == drawn(other, 0) != drawn(Chat(({**USER, "content": "Where?"}, ANSWER)), 0)


def test_the_survey_counts_turns_and_contradictions(tmp_path: Path) -> None:
    file = put(tmp_path / "c.jsonl", *({"messages": [USER, {**ANSWER, "content": text}]} for text in ("a", "b", "a")))
    survey = Survey()
    for found in read_own([file], "chats"):
        survey.add(found)
    report = survey.report()
    assert report["counts"]["messages"] == {"user": 3, "assistant": 3}
    assert report["lengths"]["words of assistant"]["most"] == 1
    assert any("another answer" in odd["what"] for odd in report["odd"])
