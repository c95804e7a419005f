"""Authored sentences: what is marked is what stands there, and no split can be answered by remembering another."""

from collections import defaultdict
from typing import get_args

import pytest

from tests.plain import unchecked
from transformer_lib.data.examples import Annotated, check_annotated
from transformer_lib.data.toy_extraction import KINDS, RELATIONS, Group, sentences, splits, wordings

SPLITS = splits()
EVERY = [example for part in SPLITS for example in part]


def names(examples: tuple[Annotated, ...]) -> set[tuple[str, ...]]:
    return {e.words[start:end] for e in examples for _, start, end in e.entities}


def words(examples: tuple[Annotated, ...]) -> set[str]:
    return {word for example in examples for word in example.words}


def skeleton(example: Annotated) -> tuple[str, ...]:
    """The sentence with each entity's kind in its place."""
    starts = {start: (kind, end) for kind, start, end in example.entities}
    found, place = [], 0
    while place < len(example.words):
        kind, end = starts.get(place, (example.words[place], place + 1))
        found.append(kind)
        place = end
    return tuple(found)


@unchecked()
def test_the_first_sentences_never_change() -> None:
    texts = [" ".join(example.words) for example in SPLITS.train[:10]]
    short = [text for text in texts if len(text) < 80]
    assert short == [
        "Jono Holter , who has not written Letters from Madisence , had finished Oskis .",
        "Tanov wrote Letters from Madison , which was written by Victora and Lena .",
        "Port Arford is home to Ino Tansen .",
    ]
    assert splits() == SPLITS
    assert splits(1).train[0] != SPLITS.train[0]


def test_sentences_are_well_formed_and_different() -> None:
    for example in EVERY:
        check_annotated(example)
        for kind, head, tail in example.relations:
            assert (example.entities[head].kind, example.entities[tail].kind) == RELATIONS[kind]
    assert [len(part) for part in SPLITS] == [2000, 200, 300]
    assert len({example.words for example in EVERY}) == 2500


@pytest.mark.parametrize(
    ("text", "kind", "head_first"),
    [
        ("works for", "works_for", True),
        ("employs", "works_for", False),
        ("wrote", "wrote", True),
        ("was written by", "wrote", False),
        ("taught", "taught", True),
        ("was taught by", "taught", False),
        ("acquired", "acquired", True),
        ("was bought by", "acquired", False),
        ("lives in", "lives_in", True),
        ("hosted", "held_in", False),
        ("met", None, True),
        ("was not taught by", None, True),
    ],
)
def test_what_stands_between_two_names_is_what_is_marked(text: str, kind: str | None, head_first: bool) -> None:
    seen = 0
    for example in SPLITS.train:
        for i, left in enumerate(example.entities[:-1]):
            if example.words[left.end : example.entities[i + 1].start] == tuple(text.split()):
                marked = [(k, h, t) for k, h, t in example.relations if {h, t} == {i, i + 1}]
                ends = (i, i + 1) if head_first else (i + 1, i)
                assert marked == ([(kind, *ends)] if kind else [])
                seen += 1
    assert seen > 5


def test_a_relation_can_reach_over_a_clause_and_a_list() -> None:
    by_text = {" ".join(example.words): example for example in SPLITS.train}
    text = "Jono Holter , who has not written Letters from Madisence , had finished Oskis ."
    assert by_text[text].relations == (("wrote", 0, 2),)
    text = "Winter Congress , which opened in Dunham , was held in Linca ."
    assert by_text[text].relations == (("held_in", 0, 1), ("held_in", 0, 2))
    text = "Bank of Carmence was bought by Deltek Press and employs Victorin ."
    assert by_text[text].relations == (("acquired", 1, 0), ("works_for", 2, 0))


def test_no_wording_and_no_skeleton_is_shared_by_two_splits() -> None:
    groups = [{phrase.text for phrase in wordings(group) if phrase.relation} for group in get_args(Group)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert all({p.relation for p in wordings(group)} == {"", *RELATIONS} for group in get_args(Group))
    train, validation, test = ({skeleton(e) for e in part if e.relations} for part in SPLITS)
    assert not train & validation and not train & test and not validation & test


def test_new_wordings_of_old_words_and_new_words() -> None:
    known = words(SPLITS.train)
    for group in ("validation", "recombined"):
        assert words(sentences(500, group=group, names="known", seed=1)) <= known
    new = words(sentences(500, group="new word", names="known", seed=1)) - known
    assert {"purchased", "penned", "tutored", "recruited"} < new


@unchecked()
def test_held_out_names_stand_in_no_sentence_with_known_ones() -> None:
    held_out = sentences(500, group="train", names="held out", seed=1)
    assert not names(held_out) & names(sentences(5000, group="train", names="known", seed=2))
    assert not {name for name in names(held_out) if len(name) == 1} & {(word,) for word in words(SPLITS.train)}


def test_a_name_can_be_of_several_kinds_and_hold_another() -> None:
    kinds = defaultdict(set)
    for example in SPLITS.train:
        for kind, start, end in example.entities:
            kinds[example.words[start:end]].add(kind)
    assert set.union(*kinds.values()) == set(KINDS)
    assert {"person", "place", "work"} <= kinds["Florence",]
    assert sum(len(found) > 1 for found in kinds.values()) > 15
    assert ("Bank", "of", "Florence") in kinds


def test_the_subject_is_often_the_tail() -> None:
    ends = [head < tail for example in SPLITS.train for _, head, tail in example.relations]
    assert 0.4 < sum(ends) / len(ends) < 0.6


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="count must be a whole number of at least 1, got 0"):
        sentences(0, group="train", names="known", seed=0)
    with pytest.raises(ValueError, match=r"validation and test must be at least 2, got \(1, 5\)"):
        splits(validation=1, test=5)
