"""`generate --chat`: a conversation, a turn for each line; or with `--messages` a reply to each of many conversations.

A line that cannot be answered (no text, no room left) costs its own place: it is named on standard error, and is no
part of the conversation, which goes on with the next.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_lib.checks import shown
from transformer_lib.cli.lines import Line, as_line, complain, each_line, form_of, say, say_json
from transformer_lib.device import check_device

if TYPE_CHECKING:
    from transformer_lib.tasks.talk import Talker

FIELDS = ("messages", "tools", "documents")


class _Turn(NamedTuple):
    """What was asked, and the reply; or why there is none."""

    asked: Any
    reply: str
    fault: str | None = None


def talk(options: Namespace) -> int:
    """Print the reply to each line; 1 if there were lines without one."""
    if options.from_hf is None:
        rule = "must be given with --from-hf, or what was made of such a model: its chat template is needed"
        raise ValueError(f"--chat and --messages {rule}")
    if options.messages is not None and (options.chat or options.text or options.file or options.system):
        raise ValueError("--messages must be given without a text, --file, --system and --chat")
    lines = each_line(options.text, options.messages or options.file)
    talker = _load(options)

    def reply(conversation: dict[str, Any]) -> str:
        drawn = {"temperature": options.temperature, "seed": options.seed}
        return talker(**conversation, max_new_tokens=options.max_new_tokens, **drawn)

    turns = _conversations(lines, reply) if options.messages is not None else _turns(lines, options.system, reply)
    values, failed = [], False
    for number, turn in enumerate(turns, start=1):
        if turn.fault is not None:
            failed = True
            complain(f"line {number}: {turn.fault}")
        value = {"messages": turn.asked, "reply": turn.reply} if not turn.fault else {"error": turn.fault}
        match form_of(options):
            case "json":
                values.append(value)
            case "json lines":
                say(as_line(value))
            case "text":
                say(turn.reply)
    if options.json:
        say_json(values)
    return int(failed)


def _load(options: Namespace) -> "Talker":
    import torch

    from transformer_lib.interop.hub import find
    from transformer_lib.tasks.talk import Talker

    dtype, device = getattr(torch, options.dtype or "float32"), check_device(options.device)
    return Talker.from_hf(find(options.from_hf), dtype=dtype, drop=options.drop, ignore=options.ignore, device=device)


def _turns(lines: Iterator[Line], system: str | None, reply: Callable[[dict[str, Any]], str]) -> Iterator[_Turn]:
    """One conversation: each line is what the user says next."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    for line in lines:
        asked = [*messages, {"role": "user", "content": line.text}]
        turn = _answered(line, lambda asked=asked: (asked, {"messages": asked}), reply)  # type: ignore[misc]
        if turn.fault is None:
            messages = [*asked, {"role": "assistant", "content": turn.reply}]
        yield turn


def _conversations(lines: Iterator[Line], reply: Callable[[dict[str, Any]], str]) -> Iterator[_Turn]:
    """Each line is a conversation as JSON: a list of messages, or an object that has one beside tools or documents."""
    for line in lines:
        yield _answered(line, lambda line=line: _parsed(line.text), reply)  # type: ignore[misc]


def _answered(
    line: Line, read: Callable[[], tuple[Any, dict[str, Any]]], reply: Callable[[dict[str, Any]], str]
) -> _Turn:
    if line.fault is None and not line.text.strip():
        return _Turn(None, "", f"must not be empty, got {line.text!r}")
    try:
        if line.fault is not None:
            raise ValueError(line.fault)
        asked, conversation = read()
        return _Turn(asked, reply(conversation))
    except (ValueError, TypeError) as error:
        return _Turn(None, "", str(error))


def _parsed(text: str) -> tuple[Any, dict[str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must be JSON: {error}") from None
    conversation = {"messages": value} if isinstance(value, list) else value
    if not isinstance(conversation, dict) or not isinstance(conversation.get("messages"), list):
        raise ValueError(f"must be a list of messages, or an object with one as its messages, got {shown(value)}")
    unknown = sorted(conversation.keys() - {*FIELDS})
    if unknown:
        raise ValueError(f"must have no fields but {list(FIELDS)}, got {shown(unknown)}")
    return conversation["messages"], conversation
