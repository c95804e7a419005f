"""Texts with entities by character offsets, and relations between them, as JSON lines: what annotation tools export.

Offsets count characters from 0, and the end is the first that belongs no more to the entity, as in Python's slices. The
text is cut into words by `text.words`, and a word in which an entity begins or ends is cut there as well.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformer_lib.checks import is_whole, require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity, Relation, check_annotated
from transformer_lib.data.own.found import Fault, Found, json_lines, text_of
from transformer_lib.text.words import word_spans

Span = tuple[int, int, str]
NAMES = ("entities", "label", "labels", "spans")  # under which the tools list entities
KINDS = ("label", "type", "kind")
ENDS = (("head", "tail"), ("from_id", "to_id"))  # of a relation


@checked
def read_offsets(file: Path) -> Iterator[Found | Fault]:
    """The sentences of a file, each an `Annotated`.

    A line is `{"text": ..., "entities": [{"start": 0, "end": 5, "label": "PER"}, ...]}`; an entity may also be the list
    `[0, 5, "PER"]`, and the list may be called `label`, `labels` or `spans`. Relations, if any, are
    `"relations": [{"head": 0, "tail": 1, "type": "Work_For"}]`, where head and tail are places in the list of entities,
    or the `id`s of entities that have one.
    """
    for number, record in json_lines(file):
        if isinstance(record, Fault):
            yield record
            continue
        try:
            yield Found(annotated(record), str(file), number)
        except ValueError as error:
            yield Fault(str(file), number, str(error))


@checked
def annotated(record: Any) -> Annotated:
    """The sentence that such a JSON object describes; `ValueError` if it describes none."""
    text = text_of(record, "text")
    listed: list[Any] = next((record[name] for name in NAMES if record.get(name) is not None), [])
    require(isinstance(listed, list), "entities", "must be a list", listed)
    spans = [_span(item, text) for item in listed]
    order = sorted(range(len(spans)), key=lambda place: spans[place][:2])
    words = cut_at(text, [spans[place] for place in order])
    starts, ends = ([span[side] for span in words] for side in (0, 1))
    entities = [
        Entity(kind, bisect_left(starts, start), bisect_left(ends, end) + 1)
        for start, end, kind in (spans[place] for place in order)
    ]
    places = {place: new for new, place in enumerate(order)}
    names = {
        str(item["id"]): n for n, item in enumerate(listed) if isinstance(item, dict) and item.get("id") is not None
    }
    told = record.get("relations") or []
    require(isinstance(told, list), "relations", "must be a list", told)
    relations = [_relation(item, places, names) for item in told]
    example = Annotated(tuple(text[a:b] for a, b in words), tuple(entities), tuple(relations))
    check_annotated(example)
    return example


@checked
def cut_at(text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """The words of the text by their first and last characters, cut also where one of the spans begins or ends."""
    edges = sorted({edge for start, end, _ in spans for edge in (start, end)})
    words = []
    for start, end in word_spans(text):
        inner = edges[bisect_left(edges, start + 1) : bisect_left(edges, end)]
        words += list(zip([start, *inner], [*inner, end], strict=True))
    return words


def _span(item: Any, text: str) -> Span:
    if isinstance(item, dict):
        kind = next((item[name] for name in KINDS if item.get(name) is not None), None)
        item = [item.get("start", item.get("start_offset")), item.get("end", item.get("end_offset")), kind]
    rule = "must be a start, an end and a label, by these names or in a list such as [0, 5, 'PER']"
    require(isinstance(item, list) and len(item) == 3, "an entity", rule, item)
    start, end, kind = item
    require(is_whole(start) and is_whole(end) and isinstance(kind, str) and kind != "", "an entity", rule, item)
    inside = 0 <= start < end <= len(text)
    require(inside, "an entity", f"must lie in the text of {len(text)} characters, with at least one", item)
    piece = text[start:end]
    rule = "must begin and end with a character that is no white space"
    require(piece == piece.strip(), "an entity", rule, f"{item} {piece!r}")
    return start, end, kind


def _relation(item: Any, places: dict[int, int], names: dict[str, int]) -> Relation:
    rule = "must be an object with a head, a tail and a type"
    require(isinstance(item, dict), "a relation", rule, item)
    head, tail = next((names_ for names_ in ENDS if names_[0] in item), ENDS[0])
    kind = next((item[name] for name in KINDS if item.get(name) is not None), None)
    require(head in item and tail in item and isinstance(kind, str), "a relation", rule, item)
    ends = []
    for value in (item[head], item[tail]):
        known = names.get(str(value), value)
        rule = f"must join two of the {len(places)} entities"
        require(type(known) is int and known in places, "a relation", rule, item)
        ends.append(places[known])
    return Relation(str(kind), *ends)
