"""What one example of a task is, the same for authored and for real data.

Everything is text and whole numbers: how words are cut into tokens is the business of the task that reads them.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from transformer_lib.checks import require
from transformer_lib.contract import checked, require_parts


@checked
class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@checked
class ParallelCorpus(NamedTuple):
    """Pairs to train on, to choose by, and to measure on."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]


@checked
class Entity(NamedTuple):
    """The words `start` to `end - 1` name a thing of this kind."""

    kind: str
    start: int
    end: int


@checked
class Relation(NamedTuple):
    """A directed relation between two entities, given as indices into the entities of the sentence."""

    kind: str
    head: int
    tail: int


@checked
class Annotated(NamedTuple):
    """A sentence as words, with what is marked in it."""

    words: tuple[str, ...]
    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]


@checked
class Splits(NamedTuple):
    """Annotated sentences to train on, to choose by, and to measure on."""

    train: tuple[Annotated, ...]
    validation: tuple[Annotated, ...]
    test: tuple[Annotated, ...]


@checked
class Answer(NamedTuple):
    """A piece of a passage: its text, and the index of its first character in the passage."""

    text: str
    start: int


@checked
class Question(NamedTuple):
    """A question about the passage `context`; several answers are alternatives, none means it cannot be answered."""

    id: str
    context: str
    question: str
    answers: tuple[Answer, ...]


@checked
class Chat(NamedTuple):
    """A conversation: messages with a `role` and a `content`; `place` says where it stands, and is no part of it."""

    messages: tuple[Mapping[str, Any], ...]
    place: str = ""

    def said(self, *roles: str) -> str:
        """What these roles say, one message a line."""
        return "\n".join(str(message["content"]) for message in self.messages if message["role"] in roles)


class _Kept(dict[int, int | None]):
    """For `str.translate`: letters, marks and numbers as they are, and everything else gone; filled as it is asked."""

    def __missing__(self, code: int) -> int | None:
        self[code] = code if unicodedata.category(chr(code))[0] in "LMN" else None
        return self[code]


_kept = _Kept()


@checked
def normal_form(text: str) -> str:
    """The text without case, spacing, punctuation, and ways in which accents are spelled; itself if none is left."""
    return unicodedata.normalize("NFC", text).casefold().translate(_kept) or text


@checked
def parallel(sources: Sequence[str], targets: Sequence[str]) -> tuple[Pair, ...]:
    """Pair line by line; `ValueError` unless there are as many targets as sources."""
    require(len(targets) == len(sources), "targets", f"must be as many as the {len(sources)} sources", len(targets))
    return tuple(map(Pair, sources, targets))


@checked
def check_annotated(example: Annotated) -> None:
    """`ValueError` unless entities lie inside the sentence, none overlaps another, and relations join two of them."""
    require_parts(example)
    for part in (*example.entities, *example.relations):
        require_parts(part)
    words = len(example.words)
    for entity in example.entities:
        inside = 0 <= entity.start < entity.end <= words
        require(inside, "entities", f"must be spans of at least one of the {words} words", entity)
    ordered = sorted(example.entities, key=lambda entity: entity.start)
    for left, right in pairwise(ordered):
        require(left.end <= right.start, "entities", "must not overlap", (left, right))
    count = len(example.entities)
    for relation in example.relations:
        known = 0 <= relation.head < count and 0 <= relation.tail < count and relation.head != relation.tail
        require(known, "relations", f"must join two different entities of {count}", relation)
    require(len(set(example.relations)) == len(example.relations), "relations", "must be distinct", example.relations)


@checked
def check_question(example: Question) -> None:
    """`ValueError` unless every answer is a piece of the passage and stands where it says."""
    require_parts(example)
    for answer in example.answers:
        require_parts(answer)
    for answer in example.answers:
        end = answer.start + len(answer.text)
        found = example.context[answer.start : end] if answer.start >= 0 else None
        rule = f"must be the passage's text at its start (question {example.id}, found there: {found!r})"
        require(found == answer.text != "", "answers", rule, answer)
