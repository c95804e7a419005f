"""How good answers are: scores over questions with and without an answer, and the threshold that serves them best."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Question
from transformer_lib.tasks.metrics import Language, exact_match, token_f1


@checked
def score_answers(
    predicted: Sequence[str], questions: Sequence[Question], *, language: Language = "en"
) -> dict[str, Any]:
    """Exact match and F1 from 0 to 100, as in SQuAD 2.0: over all questions, the answerable, and the unanswerable.

    A group without questions is left out; `answered` is the share of questions with an answer, right or wrong.
    """
    require(len(questions) > 0, "questions", "must not be empty", questions)
    require(len(predicted) == len(questions), "predicted", f"must be {len(questions)} in number", len(predicted))
    pairs = list(zip(predicted, questions, strict=True))
    groups = {
        "all": pairs,
        "answerable": [(text, q) for text, q in pairs if q.answers],
        "unanswerable": [(text, q) for text, q in pairs if not q.answers],
    }
    result: dict[str, Any] = {"answered": 100 * sum(bool(text) for text in predicted) / len(predicted)}
    for name, group in groups.items():
        if group:
            exact = sum(exact_match(text, _golds(q), language=language) for text, q in group)
            f1 = sum(f1_of(text, q, language) for text, q in group)
            result[name] = {
                "questions": len(group),
                "exact_match": 100 * exact / len(group),
                "f1": 100 * f1 / len(group),
            }
    return result


@checked
def best_threshold(scores: Sequence[float], gains: Sequence[float]) -> float:
    """The threshold with the highest sum of the gains whose scores are above it; of equally good ones the highest.

    A gain is what answering scores more than abstaining does. The threshold lies midway between two scores, or 1
    beyond the first or last of them.
    """
    require(len(scores) > 0, "scores", "must not be empty", scores)
    require(len(gains) == len(scores), "gains", f"must be {len(scores)} in number", len(gains))
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    down = [scores[i] for i in order]
    sums = [0.0, *accumulate(gains[i] for i in order)]
    between = [down[0] + 1, *((a + b) / 2 for a, b in pairwise(down)), down[-1] - 1]
    # Between equal scores there is no threshold.
    places = [n for n in range(len(between)) if n in (0, len(down)) or down[n - 1] > down[n]]
    return between[max(places, key=lambda n: (sums[n], -n))]


def _golds(question: Question) -> list[str]:
    return [answer.text for answer in question.answers]


@checked
def f1_of(text: str, question: Question, language: Language) -> float:
    """The best token F1 with any of the question's answers, from 0 to 1; without an answer, "" is right."""
    return token_f1(text, _golds(question), language=language)
