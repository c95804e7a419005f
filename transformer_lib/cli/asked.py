"""Questions as JSON lines, each with what it is to be answered from: {"question": ..., "context": ...}.

The context is a passage, or a list of them; an `id` is handed through, and other fields, such as the answers that data
sets have, are not looked at.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_lib.checks import require
from transformer_lib.cli.lines import Shown
from transformer_lib.cli.results import show_answer

if TYPE_CHECKING:
    from transformer_lib.tasks.question_answering import AnswerFound, QuestionAnswerer


class Asked(NamedTuple):
    """A question with its passages; `name` holds its id, if it has one."""

    question: str
    passages: tuple[str, ...]
    name: dict[str, Any]


def asked(line: str) -> Asked:
    """The question of a line; `ValueError` for anything else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must be JSON: {error}") from None
    require(isinstance(value, dict), "the line", "must be a JSON object with a question and a context", value)
    question, context = value.get("question"), value.get("context")
    require(isinstance(question, str), "question", "must be a text", question)
    passages = [context] if isinstance(context, str) else context
    rule = "must be a text, or a list of at least one"
    texts = isinstance(passages, list) and passages and all(isinstance(each, str) for each in passages)
    require(bool(texts), "context", rule, context)
    for passage in passages:
        require(bool(passage.strip()), "context", "must not be empty", passage)
        _require_text("context", passage)
    return Asked(question, tuple(passages), {"id": value["id"]} if "id" in value else {})


def _require_text(name: str, text: str) -> None:
    from transformer_lib.tasks.readable import fault_of_text

    fault = fault_of_text(text)
    if fault is not None:
        raise ValueError(f"{name} {fault}")


def faults_of(lines: Sequence[str], answerer: "QuestionAnswerer") -> dict[int, str]:
    """By number from 0, the lines that cannot be answered, with the reason."""
    faults = {}
    for number, line in enumerate(lines):
        try:
            fault = answerer.unreadable([asked(line).question]).get(0)
        except ValueError as error:
            faults[number] = str(error)
            continue
        if fault is not None:
            faults[number] = f"question {fault}"
    return faults


def answers_to(lines: Sequence[str], answerer: "QuestionAnswerer") -> list["AnswerFound"]:
    """The answer to each; those that have one passage are read together."""
    from transformer_lib.data.examples import Question

    all_asked = [asked(line) for line in lines]
    single = [Question("", each.passages[0], each.question, ()) for each in all_asked if len(each.passages) == 1]
    together = iter(answerer.answer_all(single) if single else ())
    return [
        next(together) if len(each.passages) == 1 else answerer(each.question, list(each.passages))
        for each in all_asked
    ]


def show_answered(line: str, found: "AnswerFound") -> Shown:
    """The answer behind the question's id and text."""
    question, _, name = asked(line)
    return show_answer(found, name | {"question": question})
