"""Character offsets become words and entities that spell the same pieces of text."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.data.examples import Annotated, Entity, Relation
from transformer_lib.data.own import Fault, read_offsets
from transformer_lib.data.own.offsets import annotated
from transformer_lib.text.words import split_words

TEXT = "Zo\u00eb works in New York."


def test_entities_and_relations_in_any_order() -> None:
    record = {
        "text": TEXT,
        "entities": [{"start": 13, "end": 21, "label": "LOC"}, {"start": 0, "end": 3, "label": "PER"}],
        "relations": [{"head": 1, "tail": 0, "type": "Works_In"}],
    }
    words = ("Zo\u00eb", "works", "in", "New", "York", ".")
    entities = (Entity("PER", 0, 1), Entity("LOC", 3, 5))
    assert annotated(record) == Annotated(words, entities, (Relation("Works_In", 0, 1),))


def test_the_shape_of_other_tools() -> None:
    record = {"text": TEXT, "label": [[0, 3, "PER"], [13, 21, "LOC"]]}
    assert annotated(record).entities == (Entity("PER", 0, 1), Entity("LOC", 3, 5))
    named: dict[str, Any] = {
        "text": TEXT,
        "entities": [
            {"id": "T7", "start_offset": 13, "end_offset": 21, "label": "LOC"},
            {"id": "T1", "start_offset": 0, "end_offset": 3, "label": "PER"},
        ],
        "relations": [{"from_id": "T1", "to_id": "T7", "type": "Works_In"}],
    }
    assert annotated(named).relations == (Relation("Works_In", 0, 1),)
    assert annotated({"text": TEXT, "entities": []}) == Annotated(split_words(TEXT), (), ())


@given(st.text(max_size=30), st.data())
def test_an_entity_is_the_text_between_its_offsets(text: str, data: st.DataObject) -> None:
    text = text.encode(errors="ignore").decode()
    places = [i for i, sign in enumerate(text) if sign.strip()]
    if not places:
        return
    start, last = sorted(data.draw(st.tuples(st.sampled_from(places), st.sampled_from(places))))
    try:
        found = annotated({"text": text, "entities": [[start, last + 1, "X"]]})
    except ValueError:  # what Python takes for white space, Unicode may not, and the other way round
        assert not text[start : last + 1].isprintable()
        return
    [entity] = found.entities
    inside = "".join(found.words[entity.start : entity.end])
    assert inside == "".join("".join(split_words(text[start : last + 1])).split())
    assert "".join(found.words) == "".join(split_words(text))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "object"),
        ({"entities": []}, "'text'"),
        ({"text": TEXT, "entities": [[0, 99, "PER"]]}, "must lie in the text of 22"),
        ({"text": TEXT, "entities": [[3, 3, "PER"]]}, "must lie in the text"),
        ({"text": TEXT, "entities": [[0, 4, "PER"]]}, "no white space"),
        ({"text": TEXT, "entities": [[0, 3, ""]]}, "a label"),
        ({"text": TEXT, "entities": [[0, 3, "PER"], [0, 9, "LOC"]]}, "must not overlap"),
        (
            {"text": TEXT, "entities": [[0, 3, "PER"]], "relations": [{"head": 0, "tail": 1, "type": "x"}]},
            "two of the 1",
        ),
        ({"text": TEXT, "entities": [[0, 3, "PER"]], "relations": [{"head": 0, "tail": 0, "type": "x"}]}, "different"),
        ({"text": TEXT, "entities": [[0, 3, "PER"]], "relations": [{"head": 0}]}, "a head, a tail and a type"),
        ({"text": TEXT, "entities": {"a": 1}}, "must be a list"),
    ],
)
def test_wrong_records_say_what_is_wrong(record: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(f'{{"text": "fine", "entities": []}}\n{json.dumps(record)}\n')
    good, bad = read_offsets(file)
    assert not isinstance(good, Fault)
    assert isinstance(bad, Fault) and bad.line == 2 and words in bad.why
