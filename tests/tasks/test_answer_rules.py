"""What the rules answer, on passages in which one can see why."""

import pytest

from transformer_lib.data.examples import Question
from transformer_lib.tasks.answer_rules import answer_by_rules

PASSAGE = (
    "The bridge of Arles was built in 1847 by Anna Lorenz. It cost 3,200 francs and has 14 arches. "
    "In May 1902 a flood damaged the mill, and Peter van Dam repaired it."
)


def ask(text: str, passage: str = PASSAGE) -> str:
    return answer_by_rules(Question("1", passage, text, ()))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When was the bridge built?", "1847"),
        ("In what year did the flood damage the mill?", "May 1902"),
        ("How many arches does it have?", "14"),
        ("Who repaired the mill?", "Peter van Dam"),
        ("Who built the bridge of Arles?", "Anna Lorenz"),
    ],
)
def test_the_question_word_says_what_is_wanted(question: str, answer: str) -> None:
    assert ask(question) == answer


def test_without_rules_it_is_what_stands_beside_the_rare_words() -> None:
    question = Question("1", PASSAGE, "When was the bridge built?", ())
    assert answer_by_rules(question, ask=False) not in ("", "1847")


def test_what_the_question_says_is_no_answer_and_there_may_be_none() -> None:
    assert ask("Who is Anna Lorenz?", "Anna Lorenz was it.") == ""
    assert ask("How many are there?", "A few.") == "few"
