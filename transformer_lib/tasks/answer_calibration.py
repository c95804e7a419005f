"""An answerer whose scores become probabilities, and how far these can be believed.

What is right is the best span of a question's passage if it is an exact match, whether it is given or withheld; of a
question without an answer none is. So the probability of an answerer that abstains says how likely an error that was.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Question
from transformer_lib.tasks.calibration import calibration_curve, expected_calibration_error, fit_platt
from transformer_lib.tasks.metrics import exact_match
from transformer_lib.tasks.question_answering import QuestionAnswerer


@checked
def calibrate(answerer: QuestionAnswerer, questions: Sequence[Question]) -> QuestionAnswerer:
    """The answerer with probabilities fitted to these questions, which must be none of those it was trained on."""
    return replace(answerer, calibration=fit_platt(*_judged(answerer, questions)))


@checked
def calibration_on(answerer: QuestionAnswerer, questions: Sequence[Question]) -> dict[str, Any]:
    """The expected calibration error on these questions, from 0 to 1, and the points of the curve.

    `ValueError` for an answerer without probabilities. Questions by which it was calibrated flatter it.
    """
    platt = answerer.calibration
    require(platt is not None, "answerer", "must have a calibration (see `calibrate`)", platt)
    assert platt is not None
    scores, right = _judged(answerer, questions)
    curve = calibration_curve([platt.probability(score) for score in scores], right)
    return {
        "questions": len(questions),
        "expected_calibration_error": expected_calibration_error(curve),
        "curve": [point._asdict() for point in curve],
    }


def _judged(answerer: QuestionAnswerer, questions: Sequence[Question]) -> tuple[list[float], list[bool]]:
    """Of each question the best span's score, and whether it is right."""
    require(len(questions) > 0, "questions", "must not be empty", questions)
    found = answerer.best([(question.question, question.context) for question in questions])
    right = [
        bool(best.text and q.answers)
        and bool(exact_match(best.text, [answer.text for answer in q.answers], language=answerer.language))
        for best, q in zip(found, questions, strict=True)
    ]
    return [best.score for best in found], right
