"""What an extractor found, placed in the text as it was given: characters instead of words, and how sure it is.

Offsets count characters from 0, and the end is the first that belongs no more to the entity, so that
`text[entity.start:entity.end] == entity.text`. `as_json` gives what `train extraction` reads as JSON lines.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated
from transformer_lib.text.words import word_spans


@checked
class EntityFound(NamedTuple):
    """A thing of this kind: its characters in the text, and from 0 to 1 how likely just this entity is there."""

    kind: str
    start: int
    end: int
    text: str
    confidence: float


@checked
class RelationFound(NamedTuple):
    """A relation between two of the entities, given by their places; how likely it is if both entities are right."""

    kind: str
    head: int
    tail: int
    confidence: float


@checked
class Extracted(NamedTuple):
    """A text with what was found in it."""

    text: str
    entities: tuple[EntityFound, ...]
    relations: tuple[RelationFound, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as values that JSON has."""
        return {
            "text": self.text,
            "entities": [entity._asdict() for entity in self.entities],
            "relations": [relation._asdict() for relation in self.relations],
        }


@checked
class Sure(NamedTuple):
    """A sentence with what was found in it, and the confidence of each entity and of each relation."""

    found: Annotated
    entities: tuple[float, ...]
    relations: tuple[float, ...]


@checked
def placed(sentence: str | Sequence[str], sure: Sure) -> Extracted:
    """What was found in the words of a text, or in words that are put together with a blank between two of them."""
    text = sentence if isinstance(sentence, str) else " ".join(sentence)
    spans = word_spans(text) if isinstance(sentence, str) else _spans(sentence)
    found = sure.found
    require(len(spans) == len(found.words), "sentence", f"must have the {len(found.words)} words found", len(spans))
    entities = []
    for (kind, first, last), confidence in zip(found.entities, sure.entities, strict=True):
        start, end = spans[first][0], spans[last - 1][1]
        entities.append(EntityFound(kind, start, end, text[start:end], confidence))
    relations = [RelationFound(*r, confidence=sure_) for r, sure_ in zip(found.relations, sure.relations, strict=True)]
    return Extracted(text, tuple(entities), tuple(relations))


def _spans(words: Sequence[str]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return spans
