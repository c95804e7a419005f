import re

import pytest

from transformer_lib.data.examples import (
    Annotated,
    Answer,
    Entity,
    Pair,
    Question,
    Relation,
    check_annotated,
    check_question,
    parallel,
)

WORDS = ("Ada", "Lovelace", "lived", "in", "London")
ADA, LONDON = Entity("person", 0, 2), Entity("place", 4, 5)


def test_sound_examples_pass():
    check_annotated(Annotated(WORDS, (LONDON, ADA), (Relation("lived_in", 1, 0), Relation("born_in", 1, 0))))
    check_annotated(Annotated(WORDS, (Entity("person", 0, 1), Entity("person", 1, 2)), ()))
    check_annotated(Annotated((), (), ()))
    check_question(Question("1", "伦敦在英国。", "伦敦在哪儿？", (Answer("英国", 3), Answer("在英国", 2))))  # noqa: RUF001
    check_question(Question("2", "London is large.", "Who is Ada?", ()))


@pytest.mark.parametrize(
    ("entities", "relations", "complaint"),
    [
        ((ADA, Entity("person", 1, 3)), (), "entities must not overlap"),
        ((Entity("group", 0, 5), LONDON), (), "entities must not overlap"),
        ((LONDON, LONDON), (), "entities must not overlap"),
        ((Entity("place", 4, 6),), (), "entities must be spans of at least one of the 5 words"),
        ((Entity("place", -1, 2),), (), "entities must be spans"),
        ((Entity("place", 2, 2),), (), "entities must be spans"),
        ((ADA, LONDON), (Relation("lived_in", 0, 2),), "relations must join two different entities of 2"),
        ((ADA, LONDON), (Relation("lived_in", -1, 0),), "relations must join"),
        ((ADA, LONDON), (Relation("lived_in", 1, 1),), "relations must join"),
        ((ADA, LONDON), (Relation("lived_in", 0, 1),) * 2, "relations must be distinct"),
    ],
)
def test_unsound_annotations(entities, relations, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_annotated(Annotated(WORDS, entities, relations))


OUTSIDE = [("London", 1), ("London", -16), ("London", 16), ("Paris", 0), ("e.", 15), ("", 3), ("", 16)]


@pytest.mark.parametrize(("text", "start"), OUTSIDE)
def test_answers_outside_the_passage(text, start):
    with pytest.raises(ValueError, match="answers must be the passage's text at its start"):
        check_question(Question("1", "London is large.", "Where?", (Answer(text, start),)))


def test_a_source_shorter_than_its_target_is_refused():
    assert parallel(["a", "b"], ["c", "d"]) == (Pair("a", "c"), Pair("b", "d"))
    for sources, targets in ((["a"], ["c", "d"]), (["a", "b", "x"], ["c", "d"])):
        rule = f"targets must be as many as the {len(sources)} sources, got 2"
        with pytest.raises(ValueError, match=re.escape(rule)):
            parallel(sources, targets)
