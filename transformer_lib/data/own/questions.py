"""Questions about passages in the three shapes in which they are handed around.

SQuAD's own files (Rajpurkar et al. 2016 and 2018) nest questions in passages in articles; the library `datasets` has a
line for each question, with lists of answers and of the characters where they start. In both, no answer at all means
that the passage does not tell.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformer_lib.checks import is_whole, require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Answer, Question, check_question
from transformer_lib.data.own.found import Fault, Found, json_lines, text_of
from transformer_lib.files import read_json

MOST_FILE = (
    512 << 20
)  # bytes of a nested file, which must be read at once; the largest part of SQuAD 2.0 has 42 million


@checked
def read_questions(file: Path) -> Iterator[Found | Fault]:
    """The questions of a file, each a `Question`.

    A file of SQuAD 1.1 or 2.0, `{"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}`, has no lines that a
    reader could be sent to: a fault has the number of the question, counted from 1, as its line, and names its `id`.
    Anything else is read as JSON lines, or as one JSON list, of the shape of `datasets`:
    `{"id": ..., "context": ..., "question": ..., "answers": {"text": [...], "answer_start": [...]}}`.
    """
    nested = _nested(file)
    for number, record in json_lines(file) if nested is None else enumerate(nested, start=1):
        if isinstance(record, Fault):
            yield record
            continue
        try:
            yield Found(question(record, number), str(file), number)
        except ValueError as error:
            name = record.get("id") if isinstance(record, dict) else None
            yield Fault(str(file), number, f"{f'question {name}: ' if name else ''}{error}")


@checked
def question(record: Any, number: int = 1) -> Question:
    """The question that a JSON object of either shape describes; one without an `id` is called by its number."""
    context, asked = text_of(record, "context"), text_of(record, "question")
    require(asked.strip() != "", "question", "must have words", asked)
    found = _answers(record)
    if record.get("is_impossible") is True:
        found = []
    name = record.get("id")
    example = Question(str(number) if name is None else str(name), context, asked, tuple(found))
    check_question(example)
    return example


def _answers(record: dict[str, Any]) -> list[Answer]:
    told = record.get("answers")
    if isinstance(told, dict):
        texts, starts = told.get("text"), told.get("answer_start")
        same = isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)
        require(same, "answers", "must have two lists of one length, text and answer_start", told)
        assert isinstance(texts, list) and isinstance(starts, list)
        told = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    require(isinstance(told, list), "answers", "must be a list, empty if the passage does not tell", told)
    assert isinstance(told, list)
    answers = []
    for answer in told:
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        require(is_whole(start), "answers", "must have each a text and an answer_start", answer)
        assert isinstance(start, int)
        answers.append(Answer(text_of(answer, "text"), start))
    return list(dict.fromkeys(answers))


def _nested(file: Path) -> list[Any] | None:
    """The questions of a file that is one JSON value, each with its passage; None for JSON lines."""
    if file.suffix in (".jsonl", ".ndjson"):
        return None
    whole = read_json(file, most=MOST_FILE)
    if isinstance(whole, list):
        return whole
    require(isinstance(whole, dict), str(file), "must be a JSON object or list", whole)
    assert isinstance(whole, dict)
    if "data" not in whole:
        return [whole]
    try:
        articles = whole["data"]
        if all("paragraphs" not in article for article in articles):
            return list(articles)
        parts = [part for article in articles for part in article["paragraphs"]]
        return [{**asked, "context": part["context"]} for part in parts for asked in part["qas"]]
    except (KeyError, TypeError, AttributeError) as error:
        shape = '{"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}'
        raise ValueError(f"{file} must have the shape {shape}: {type(error).__name__} {error}") from error
