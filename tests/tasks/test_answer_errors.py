"""What a question asks for, and each sort of wrong answer, on a passage in which both can be seen."""

import pytest

from transformer_lib.data.examples import Answer, Question
from transformer_lib.tasks.answer_errors import ANSWER_ERRORS, QUESTION_KINDS, answer_error, question_kind

PASSAGE = "The bridge of Arles was built in 1847 by Anna Lorenz. In May 1902 a flood damaged the mill."
BUILDER = Question("1", PASSAGE, "Who built the bridge?", (Answer("Anna Lorenz", PASSAGE.index("Anna")),))


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When was it built?", "when"),
        ("In what year did it fall?", "when"),
        ("How many arches has it?", "how many"),
        ("By whom was it built?", "who"),
        ("In which city is it?", "where"),
        ("Which mill was damaged?", "what or which"),
        ("Why did it fall?", "why or how"),
        ("How did it fall?", "why or how"),
    ],
)
def test_the_question_word_says_what_is_asked_for(question: str, kind: str) -> None:
    assert question_kind(question) == kind
    assert kind in QUESTION_KINDS


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ("Anna Lorenz", ""),
        ("the Anna Lorenz", ""),  # articles do not count
        ("Anna", "boundary"),
        ("by Anna Lorenz", "boundary"),
        ("Arles", "right sentence"),
        ("a flood", "elsewhere"),
        ("", "elsewhere"),
    ],
)
def test_each_wrong_answer_has_one_sort(found: str, error: str) -> None:
    assert answer_error(found, BUILDER) == error
    assert error in ("", *ANSWER_ERRORS)


def test_a_question_without_an_answer_is_right_only_about_nothing() -> None:
    asked = BUILDER._replace(answers=())
    assert (answer_error("", asked), answer_error("Arles", asked)) == ("", "elsewhere")


def test_any_sentence_with_the_words_will_do() -> None:
    twice = Question("2", "Anna sang. Then Anna met Ben.", "Whom did she meet?", (Answer("Ben", 25),))
    assert answer_error("Anna", twice) == "right sentence"
