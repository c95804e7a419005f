"""The authored questions against a solver that parses passages and questions by pattern and looks the answer up."""

import re
from functools import cache

import pytest

from tests.oracles import rejects
from transformer_lib.data.examples import Question, check_question
from transformer_lib.data.question_forms import FORMS, NAMES, Form, Wording
from transformer_lib.data.toy_questions import (
    SHORTCUTS,
    Fact,
    QuestionSplits,
    about,
    gold,
    group,
    library,
    questions,
    sentences,
)

SPLITS = questions(0, train=300, held_out=150)
WORDING_OF = {"train": "train", "validation": "validation", "combinations": "train", "test": "test"}


@cache
def template(text: str, form: Form) -> re.Pattern[str]:
    """A regular expression for a template, with a group for each name."""
    parts = re.split(r"(\{\w+\})", text)
    kinds = {"{s}": form.subject, "{o}": form.object, "{s2}": form.subject, "{o2}": form.object}
    return re.compile(
        "".join(f"(?P<{p[1:-1]}>{'|'.join(NAMES[kinds[p]])})" if p in kinds else re.escape(p) for p in parts)
    )


@cache
def stated(sentence: str) -> tuple[Fact, ...]:
    """What a sentence says; it must have exactly one reading."""
    readings = [
        (relation, match.groupdict())
        for relation, form in FORMS.items()
        for statement in (*form.statements, form.both)
        if (match := template(statement, form).fullmatch(sentence))
    ]
    assert len(readings) == 1, sentence
    ((relation, names),) = readings
    return tuple(Fact(relation, names[f"s{n}"], names[f"o{n}"]) for n in ("", "2") if f"s{n}" in names)


def parse(passage: str) -> list[Fact]:
    return [fact for sentence in sentences(passage) for fact in stated(sentence)]


def wordings(form: Form, split: str) -> list[tuple[str, str]]:
    sides = {"object": form.asks_object, "subject": form.asks_subject}
    return [(side, text) for side, asks in sides.items() if asks for text in getattr(asks, WORDING_OF[split])]


def solve(question: Question, facts: list[Fact], split: str) -> list[str]:
    """Every answer that the facts give, by looking it up; the question must have exactly one reading."""
    readings = [
        (relation, side, next(iter(match.groupdict().values())))
        for relation, form in FORMS.items()
        for side, text in wordings(form, split)
        if (match := template(text, form).fullmatch(question.question))
    ]
    assert len(readings) == 1, question.question
    ((relation, side, name),) = readings
    assert (relation, side) == about(question)[2:4]
    given = "subject" if side == "object" else "object"
    return [getattr(f, side) for f in facts if f.relation == relation and getattr(f, given) == name]


@pytest.mark.parametrize("split", QuestionSplits._fields)
def test_answers_are_what_looking_them_up_gives(split: str) -> None:
    for question in getattr(SPLITS, split):
        check_question(question)
        facts = parse(question.context)
        assert solve(question, facts, split) == [answer.text for answer in question.answers]
        assert (about(question).kind == "answerable") == bool(question.answers)


@pytest.mark.parametrize("split", QuestionSplits._fields)
def test_the_answer_stands_in_the_sentence_that_states_it(split: str) -> None:
    for question in getattr(SPLITS, split):
        for answer in question.answers:
            start = 0
            for sentence in sentences(question.context):
                if start <= answer.start < start + len(sentence):
                    asked = about(question)
                    facts = [fact for fact in parse(sentence) if fact.relation == asked.relation]
                    assert answer.text in {getattr(fact, asked.side) for fact in facts}
                start += len(sentence) + 1


def test_a_passage_has_four_to_eight_sentences_and_never_one_candidate_only() -> None:
    for question in (*SPLITS.train, *SPLITS.test):
        rows = sentences(question.context)
        assert " ".join(rows) == question.context and 4 <= len(rows) <= 8
        same = [fact for fact in parse(question.context) if fact.relation == about(question).relation]
        assert len(same) >= 2, question


def test_what_is_unstated_is_mentioned_and_what_is_absent_is_not() -> None:
    for question in (q for part in SPLITS for q in part if not q.answers):
        asked = about(question)
        given = FORMS[asked.relation].subject if asked.side == "object" else FORMS[asked.relation].object
        (name,) = (name for name in NAMES[given] if name in question.question)
        assert (name in question.context) == (asked.kind == "unstated")


def test_wordings_are_disjoint_and_their_words_known_from_training() -> None:
    every: list[Wording] = [w for form in FORMS.values() for w in (form.asks_object, form.asks_subject) if w]
    used = [text for wording in every for part in wording for text in part]
    assert len(set(used)) == len(used)
    known = {word for w in every for text in w.train for word in re.findall(r"\w+", text)}
    known |= {word for form in FORMS.values() for text in form.statements for word in re.findall(r"\w+", text)}
    held_out = {word for w in every for text in (*w.validation, *w.test) for word in re.findall(r"\w+", text)}
    assert held_out - known == set()


def test_no_combination_of_names_is_in_training_and_held_out() -> None:
    train, validation, combinations, test = (
        {frozenset(fact[1:]) for question in part for fact in parse(question.context)} for part in SPLITS
    )
    assert not train & (validation | combinations | test)
    assert not validation & (combinations | test)
    assert {group(*fact[1:]) for question in SPLITS.test for fact in parse(question.context)} == {0}


def test_the_seed_decides_and_a_larger_split_begins_like_a_smaller() -> None:
    again = questions(0, train=30, held_out=20)
    assert all(part == whole[: len(part)] for part, whole in zip(again, SPLITS, strict=True))
    assert questions(1, train=30, held_out=20) != again


def test_kinds_are_as_common_as_promised() -> None:
    share = sum(not question.answers for question in SPLITS.train) / len(SPLITS.train)
    assert 0.3 < share < 0.37
    assert {about(question).relation for question in SPLITS.test} == set(FORMS)


def test_shortcuts_fall_short() -> None:
    found = {
        name: sum(answer(q, SPLITS.train) == gold(q) for q in SPLITS.test) / len(SPLITS.test)
        for name, answer in SHORTCUTS.items()
    }
    assert found["majority"] == sum(not q.answers for q in SPLITS.test) / len(SPLITS.test)
    assert found["without the passage"] < 0.1 and found["without the question"] < 0.2
    assert found["first of the kind"] < 0.45 and found["sentence overlap"] < 0.6


def test_shortcuts_by_hand() -> None:
    passage = "Anna lives in Oslo. Boris works in Rome, Clara in Riga. Boris married in 1960."
    question = Question("test/0/works/object/answerable", passage, "In which town does Clara have a job?", ())
    assert SHORTCUTS["first of the kind"](question, SPLITS.train) == "Oslo"
    assert SHORTCUTS["sentence overlap"](question, SPLITS.train) == "Rome"
    assert SHORTCUTS["without the question"](question, SPLITS.train) == "Anna"


def test_a_library_contradicts_itself_nowhere_and_answers_from_one_passage() -> None:
    books = library(3, passages=40, held_out=150)
    world = [fact for passage in books.passages for fact in parse(passage)]
    for side in ("subject", "object"):
        keys = [(f.relation, getattr(f, side)) for f in world if side == "subject" or FORMS[f.relation].asks_subject]
        assert len(set(keys)) == len(keys)
    for question in books.questions:
        assert question.context in books.passages
        assert solve(question, world, "test") == [answer.text for answer in question.answers]
        if question.answers:
            check_question(question)
            assert solve(question, parse(question.context), "test") == [question.answers[0].text]
    assert books == library(3, passages=40, held_out=150)


@pytest.mark.parametrize("seed", range(3))
def test_every_library_can_be_finished(seed: int) -> None:
    assert len(library(seed, held_out=1).passages) == 40


def test_bad_input() -> None:
    with rejects("train", "at least 1", "0"):
        questions(train=0)
    with rejects("passages", "at most 40", "41"):
        library(passages=41)
    with rejects("id", "authored", "x"):
        about(Question("x", "a", "b", ()))
