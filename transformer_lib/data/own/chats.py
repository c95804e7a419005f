"""Conversations as JSON lines: `{"messages": [{"role": "user", "content": ...}, {"role": "assistant", ...}]}`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Chat
from transformer_lib.data.own.found import Fault, Found, json_lines, text_of


@checked
def read_chats(file: Path) -> Iterator[Found | Fault]:
    """The conversations, each a `Chat`: of at least one question, and at least one answer of the assistant with words.

    Roles are what the template of the model knows, such as system, user and assistant. Messages may have more fields;
    so may the lines, which are passed over.
    """
    for number, record in json_lines(file):
        if isinstance(record, Fault):
            yield record
            continue
        try:
            yield Found(chat(record, f"{file}, line {number}"), str(file), number)
        except ValueError as error:
            yield Fault(str(file), number, str(error))


@checked
def chat(record: Any, place: str = "") -> Chat:
    """The conversation that a JSON object describes."""
    require(isinstance(record, dict), "the line", "must be a JSON object", record)
    require("messages" in record, "the line", "must have the field 'messages', and has", sorted(map(str, record)))
    messages = record["messages"]
    require(isinstance(messages, list) and len(messages) > 0, "messages", "must be a list of messages", messages)
    for message in messages:
        text_of(message, "role")
        text_of(message, "content")
    first = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), None)
    rule = "must have a message of the assistant after one of somebody else"
    require(first is not None and first > 0, "messages", rule, [message["role"] for message in messages])
    said = Chat(tuple(messages), place)
    require(said.said("assistant").strip() != "", "messages", "must have words of the assistant", "none")
    return said
