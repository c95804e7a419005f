import json
import os
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB2, Entities

from transformer_lib.data.datasets import (
    _write,
    conll04,
    lines,
    multi30k,
    read_conll,
    read_squad,
    remote_files,
    spans,
    split_by_source,
    tatoeba,
    tiny_shakespeare,
    wnut17,
    xquad,
)
from transformer_lib.data.examples import Annotated, Answer, Entity, Pair, Question, check_annotated

real = pytest.mark.skipif("TRANSFORMER_DATA" not in os.environ, reason="TRANSFORMER_DATA names no folder with the sets")


# ---- the real sets ----


@real
def test_every_file_is_found_in_the_readers_folder():
    folder = Path(os.environ["TRANSFORMER_DATA"])
    for file in remote_files().values():
        assert (folder / file.name).stat().st_size == file.size


@real
def test_multi30k():
    corpus = multi30k()
    assert [len(split) for split in corpus] == [29000, 1014, 1000]
    assert all(pair.source and pair.target for split in corpus for pair in split)
    german = {pair.source.split()[0] for pair in corpus.test}
    assert {"Ein", "Eine", "Zwei"} < german and not {"A", "The"} & german


@real
def test_tatoeba():
    corpus = tatoeba()
    assert [len(split) for split in corpus] == [18585, 516, 1032]
    assert len({pair for split in corpus for pair in split}) == 20133
    sources = [{"".join(filter(str.isalnum, pair.source.lower())) for pair in split} for split in corpus]
    assert [len(split) for split in sources] == [18096, 500, 1000]
    assert not sources[0] & sources[1] and not sources[0] & sources[2] and not sources[1] & sources[2]
    known = {pair.target for pair in corpus.train}
    assert sum(pair.target in known for pair in corpus.test) == 58


@real
def test_conll04():
    """The split of Gupta et al. (2016): 1,153 sentences, of which a fifth to choose by, and 288 to test on."""
    splits = conll04()
    assert [len(split) for split in splits] == [922, 231, 288]
    assert [sum(len(example.entities) for example in split) for split in splits] == [3377, 893, 1079]
    assert [sum(len(example.relations) for example in split) for split in splits] == [1283, 343, 422]
    assert Counter(entity.kind for example in splits.test for entity in example.entities) == {
        "Loc": 427, "Org": 198, "Other": 133, "Peop": 321
    }  # fmt: skip
    assert Counter(relation.kind for example in splits.test for relation in example.relations) == {
        "Kill": 47, "Live_In": 100, "Located_In": 94, "OrgBased_In": 105, "Work_For": 76
    }  # fmt: skip


@real
def test_conll04s_relations_point_at_what_they_say():
    """Head and tail have the kinds that the relation's name promises, in that order."""
    for example in (example for split in conll04() for example in split):
        for relation in example.relations:
            ends = example.entities[relation.head].kind, example.entities[relation.tail].kind
            assert ends == {
                "Kill": ("Peop", "Peop"), "Live_In": ("Peop", "Loc"), "Located_In": ("Loc", "Loc"),
                "OrgBased_In": ("Org", "Loc"), "Work_For": ("Peop", "Org"),
            }[relation.kind]  # fmt: skip


@real
def test_wnut17():
    """The numbers of sentences are those of the copy that Hugging Face gives out as `wnut_17`."""
    splits = wnut17()
    assert [len(split) for split in splits] == [3394, 1009, 1287]
    assert [sum(len(example.entities) for example in split) for split in splits] == [1975, 836, 1079]
    kinds = {entity.kind for split in splits for example in split for entity in example.entities}
    assert kinds == {"person", "location", "group", "corporation", "product", "creative-work"}
    assert not any(example.relations for split in splits for example in split)


@real
def test_xquad():
    english, chinese = xquad("en"), xquad("zh")
    assert len(english) == len(chinese) == len({question.id for question in english}) == 1190
    assert [question.id for question in english] == [question.id for question in chinese]
    assert len({question.context for question in english}) == len({question.context for question in chinese}) == 240
    for question in english + chinese:
        (answer,) = question.answers
        assert question.context[answer.start :].startswith(answer.text)


@real
def test_tiny_shakespeare():
    text = tiny_shakespeare()
    assert len(text) == 1115394 and text.isascii() and len(set(text)) == 65
    assert text.startswith("First Citizen:\nBefore we proceed")


@real
def test_a_folder_takes_the_place_of_the_environment(monkeypatch):
    folder = Path(os.environ["TRANSFORMER_DATA"])
    monkeypatch.setenv("TRANSFORMER_DATA", "/nowhere")
    assert len(tiny_shakespeare(folder=folder)) == 1115394
    with pytest.raises(ValueError, match="must be a folder, got '/nowhere'"):
        tiny_shakespeare()


# ---- what does not need them ----


def test_every_address_is_pinned_to_a_commit():
    files = remote_files()
    assert len(files) == 16
    for name, file in files.items():
        site, owner, project, commit, *path = file.url.removeprefix("https://").split("/")
        assert site == "raw.githubusercontent.com" and owner and project
        assert len(commit) == 40 and set(commit) <= set("0123456789abcdef")
        assert path[-1] == name.split("/")[1] and file.name == name
        assert file.size < 1.3e6


def test_a_wrong_file_is_never_read(tmp_path):
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare/input.txt").write_text("First Citizen:\n")
    with pytest.raises(ValueError, match=r"input\.txt must have the sha256 86c4e6aa"):
        tiny_shakespeare(folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb\nc\r\n", ["a", "b", "c"]),
        ("a\nb", ["a", "b"]),
        ("a\n\nb\n\n", ["a", "", "b", ""]),
        ("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh\n", ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh"]),
        ("\ufeffa\nb\n", ["a", "b"]),
        ("\n", [""]),
        ("", []),
    ],
)
def test_lines_end_at_line_feeds_only(text, wanted):
    assert lines(text) == wanted


@given(st.lists(st.tuples(st.text("ab.! ", max_size=3), st.text("猫狗", max_size=2)).map(lambda row: Pair(*row))))
def test_no_source_is_in_two_splits(pairs):
    def key(pair):
        return "".join(filter(str.isalnum, pair.source)) or pair.source

    distinct = len({key(pair) for pair in pairs})
    if distinct < 4:
        with pytest.raises(ValueError, match=f"pairs must have more than 3 sources, got {distinct}"):
            split_by_source(pairs, validation=1, test=2)
        return
    splits = split_by_source(pairs, validation=1, test=2)
    assert [len({key(pair) for pair in split}) for split in splits] == [distinct - 3, 1, 2]
    assert Counter(pair for split in splits for pair in split) == Counter(pairs)
    shuffled = random.Random(0).sample(pairs, len(pairs))
    assert [set(split) for split in split_by_source(shuffled, validation=1, test=2)] == [set(split) for split in splits]


def test_the_split_is_a_hash_and_not_a_habit_of_this_python():
    """By hand: `printf sentence8 | sha256sum` and so on, sorted; first two to test on, then two to choose by."""
    splits = split_by_source([Pair(f"Sentence {i}.", "") for i in range(9)], validation=2, test=2)
    assert [[int(pair.source[9]) for pair in split] for split in splits] == [[1, 3, 5, 6, 7], [0, 4], [2, 8]]


TAGS = st.lists(st.sampled_from(["O", *(f"{letter}-{kind}" for letter in "BILU" for kind in "xy")]), max_size=6)
LAID_OUT = st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 2), st.integers(1, 4)), max_size=4)


def lay_out(parts):
    """Entities from (kind, gap before, length), and the number of words."""
    entities, at = [], 0
    for kind, gap, length in parts:
        entities.append(Entity(kind, at + gap, at + gap + length))
        at += gap + length
    return tuple(entities), at + 1


@given(LAID_OUT, st.sampled_from(["IB", "LU"]))
def test_spans_are_what_was_tagged(parts, letters):
    entities, length = lay_out(parts)
    tags = _write(entities, length, *letters)
    assert spans(tags) == entities
    scheme = IOB2 if letters == "IB" else BILOU
    (found,) = Entities([tags], scheme).entities
    assert [Entity(span.tag, span.start, span.end) for span in found] == list(entities)
    if letters == "IB":
        assert [Entity(kind, start, end + 1) for kind, start, end in get_entities(tags)] == list(entities)


@given(TAGS)
def test_tags_that_contradict_one_another_are_refused(tags):
    """Well-formed is what the letters' meaning says: checked here by looking at neighbours only."""

    def follows(left, right, bilou):
        inside = left[0] in "BI"
        if right[0] in "IL":
            return inside and left[2:] == right[2:]
        return not (bilou and inside)

    def sound(bilou):
        letters = "OBILU" if bilou else "OBI"
        row = ["O", *tags, "O"]
        return all(tag[0] in letters for tag in tags) and all(
            follows(left, right, bilou) for left, right in pairwise(row)
        )

    if sound(bilou=True) or sound(bilou=False):
        assert len(spans(tags)) == sum(tag[0] in "BU" for tag in tags)
    else:
        with pytest.raises(ValueError, match="tags must be well-formed BIO or BILOU"):
            spans(tags)


@pytest.mark.parametrize("tags", [[""], ["X-person"], ["person"], ["B"], ["B-a", "U-b", "B-c"]])
def test_tags_that_are_none_are_refused(tags):
    with pytest.raises(ValueError, match="tags must be well-formed BIO or BILOU"):
        spans(tags)


def test_read_conll():
    text = "Ada\tB-person\r\nLovelace\tI-person\nsings\tO\n\t\n\n\nIn\tO\nNew\u2028York\tB-place\n"
    assert read_conll(text) == (
        Annotated(("Ada", "Lovelace", "sings"), (Entity("person", 0, 2),), ()),
        Annotated(("In", "New\u2028York"), (Entity("place", 1, 2),), ()),
    )
    assert read_conll("\n") == ()
    assert read_conll("\ufeffAlex\tB-person\n") == (Annotated(("Alex",), (Entity("person", 0, 1),), ()),)
    with pytest.raises(ValueError, match="line must be a word, a tab and a tag, got 'Ada B-person'"):
        read_conll("Ada B-person\n")


def test_read_squad():
    answer = {"text": "猫", "answer_start": 1}
    asked = {"id": "7", "question": "谁?", "answers": [answer]}
    unanswerable = {"id": "8", "question": "何时?", "answers": []}
    data = {"data": [{"paragraphs": [{"context": "小猫坐", "qas": [asked, unanswerable]}]}]}
    assert read_squad(json.dumps(data)) == (
        Question("7", "小猫坐", "谁?", (Answer("猫", 1),)),
        Question("8", "小猫坐", "何时?", ()),
    )
    assert read_squad("\ufeff" + json.dumps(data)) == read_squad(json.dumps(data))
    answer["answer_start"] = 2
    with pytest.raises(ValueError, match="answers must be the passage's text at its start"):
        read_squad(json.dumps(data))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "[" * 100_000, '{"data": 1}', '{"data": [{"paragraphs": [{"qas": [1]}]}]}'),
        '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": 7, "question": "q", "answers": []}]}]}]}',
        '{"data": [{"paragraphs": [{"context": ["x"], "qas": [{"id": "7", "question": "q", "answers": []}]}]}]}',
        '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "7", "question": "q", "answers": '
        '[{"text": "x", "answer_start": false}]}]}]}]}',
    ],
)
def test_what_is_no_squad(text):
    with pytest.raises(ValueError, match="text must be JSON in the format of SQuAD"):
        read_squad(text)


def test_one_source_in_two_spellings_is_in_one_split():
    """An accent may be a character of its own; a vowel of Hindi always is one, and tells words apart."""
    pairs = [Pair("Cafe\u0301!", "1"), Pair("café", "2"), Pair("की", ""), Pair("का", ""), Pair("के", "")]
    splits = split_by_source(pairs, validation=1, test=1)
    assert sorted(len(split) for split in splits) in ([1, 1, 3], [1, 2, 2])
    assert any({"1", "2"} <= {pair.target for pair in split} for split in splits)


@pytest.mark.parametrize("sizes", [{"validation": -1, "test": 1}, {"validation": 1, "test": -1}])
def test_splits_of_less_than_nothing(sizes):
    with pytest.raises(ValueError, match=r"(validation|test) must not be negative, got -1"):
        split_by_source([Pair(f"{i}", "") for i in range(9)], **sizes)


def test_overlapping_entities_are_refused():
    """Tags cannot overlap; whoever makes examples in another way is checked alike."""
    with pytest.raises(ValueError, match="entities must not overlap"):
        check_annotated(Annotated(("a", "b", "c"), (Entity("x", 0, 2), Entity("y", 1, 3)), ()))


def test_unknown_language(unchecked_types):
    with pytest.raises(ValueError, match=r"language must be one of \(?'en', 'zh'\)?, got 'de'"):
        xquad("de")
