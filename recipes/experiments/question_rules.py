"""How far do rules that learned nothing get on real questions?

XQuAD's 274 English test questions: a window around the rare words of the question, with and without rules for question
words. Exact match and F1 are in per cent; `exact each` and `f1 each` are those of every question. `error each` is the
sort of its error, counted from 1 as in `ANSWER_ERRORS`, or 0 if it is right, and `kind each` what it asks for, counted
from 0 as in `QUESTION_KINDS`. Nothing is drawn, so all seeds agree.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.recipe import load_recipe
from transformer_lib.tasks.answer_errors import ANSWER_ERRORS, QUESTION_KINDS, answer_error, question_kind
from transformer_lib.tasks.answer_rules import answer_by_rules
from transformer_lib.tasks.answer_scores import score_answers
from transformer_lib.tasks.evaluation import load_examples

XQUAD = load_recipe(Path(__file__).parents[1] / "xquad.py")


@cache
def asked() -> Any:
    """The questions by article: train, validation and test."""
    return XQUAD.split(load_examples("xquad en"))


def run(seed: int, ask: bool) -> dict[str, Any]:
    return answered([answer_by_rules(question, ask=ask) for question in asked().test])


def answered(texts: Sequence[str]) -> dict[str, Any]:
    """What the answers to the questions of the test are worth, one by one and on average."""
    pairs = list(zip(texts, asked().test, strict=True))
    each = [score_answers([text], [question])["all"] for text, question in pairs]
    exact, f1 = ([row[name] for row in each] for name in ("exact_match", "f1"))
    return {
        "exact match": sum(exact) / len(exact),
        "f1": sum(f1) / len(f1),
        "exact each": exact,
        "f1 each": f1,
        "error each": [("", *ANSWER_ERRORS).index(answer_error(*pair)) for pair in pairs],
        "kind each": [QUESTION_KINDS.index(question_kind(question.question)) for question in asked().test],
    }


EXPERIMENT = Experiment(
    arms={"window": {"ask": False}, "window and question words": {"ask": True}}, run=run, data=asked
)
