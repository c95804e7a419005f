"""What `book.check` knows of the exercises of `chapters/applications/question_answering.ipynb`."""

from collections.abc import Sequence
from typing import Any

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

# The answer of several windows ---------------------------------------------------------------------------------------

_Window = Sequence[Sequence[float]]  # the start scores and the end scores


def _best(
    windows: Sequence[_Window], *, margin: bool = True, ordered: bool = True, first: int = 1
) -> tuple[int, int, int]:
    """The window and the span with the largest margin; what is given by name makes the known mistakes."""
    ways = []
    for number, (s, e) in enumerate(windows):
        nothing = s[0] + e[0] if margin else 0.0
        for i in range(first, len(s)):
            for j in range(i if ordered else first, len(s)):
                ways.append((s[i] + e[j] - nothing, number, i, j))
    return max(ways)[1:]


def _as_asked(windows: Sequence[_Window]) -> tuple[int, int, int]:
    return _best(windows, margin=False, ordered=False, first=0)


def _cases() -> list[list[Any]]:
    plain = [[[1.0, 2.0, 5.0], [1.0, 4.0, 3.0]]]
    turned = [[[0.0, 1.0, 4.0], [0.0, 3.0, 1.0]]]
    high = [[[9.0, 6.0, 5.0], [9.0, 6.0, 7.0]], *plain]
    silent = [[[5.0, 1.0, 2.0], [1.0, 2.0, 1.0]]]
    return [[plain], [turned], [silent], [high], [[*turned, *high]]]


EXERCISES: dict[str, Exercise] = {
    "ex-qa-f1": Numbers(
        right={"exact match": 0, "F1": 4 / 7, "F1 of the lamp": 1},
        wrong={
            "You counted the article as a word, or took the precision, which is one half, too. Without *the* the true "
            "answer has three words.": {"F1": 0.5},
            "That is the recall, two of three words. F1 also asks how much was said besides.": {"F1": 2 / 3},
            "You measured *the lamp* with the first answer. Of several true answers the best one counts.": {
                "F1 of the lamp": 0.5
            },
            "An exact match is the whole answer, letter by letter. Two words more or less are none.": {
                "exact match": 1
            },
        },
        tolerance=0.005,
        why="$2\\cdot 2/(3 + 4)$; and of several true answers the best counts.",
    ),
    "ex-qa-none": Numbers(
        right={"as given": -1, "with scores of 10": -16},
        wrong={
            "You let a span begin at token 0 and end at another, or turned the sign round. *No answer* is a span "
            "alone, and it is the better one here.": {"as given": 1},
            "The best start is token 2 and the best end token 1: that span is the wrong way round.": {"as given": 0},
            "That is the span of token 1 alone. Token 2 alone has $3 + 1$.": {"as given": -2},
            "*No answer* has two scores as well, a start and an end: together 20.": {"with scores of 10": -6},
        },
        why="It abstains at every threshold from the margin on.",
    ),
    "ex-qa-window": Numbers(
        right={"windows": 5, "tokens of an answer": 76},
        wrong={
            "You laid the windows side by side. Each further one brings $300 - 75$ new tokens.": {"windows": 4},
            "You moved on by the overlap. It is what two windows share; the step is $300 - 75$.": {"windows": 11},
            "An answer of 300 tokens stands whole in a window only if it begins with one.": {
                "tokens of an answer": 300
            },
            "One more: an answer that begins with the next window is whole there, so it need only fit if it begins one "
            "token earlier.": {"tokens of an answer": 75},
            "The step is 225, but what ends a window stands in the next one only if the overlap holds it.": {
                "tokens of an answer": 225
            },
        },
        why="$1 + \\lceil 700/225\\rceil$ windows, and an answer one longer than the overlap.",
    ),
    "ex-qa-bm25": Numbers(
        right={"k1 = 0": 1, "k1 without bound, b = 0": 3},
        wrong={
            "You have the two exchanged: a small $k_1$ soon stops counting, a large one goes on.": {
                "k1 = 0": 3,
                "k1 without bound, b = 0": 1,
            },
            "With $k_1 = 0$ it is $f/f$: how often the word stands there no longer matters.": {"k1 = 0": 3},
            "With $k_1 = 0$ only the *denominator's* second part is gone; above stands $f\\cdot 1$.": {"k1 = 0": 0},
            "$k_1$ stands above and below. Divide both by it: $f(1 + 1/k_1)/(f/k_1 + 1) \\to f$.": {
                "k1 without bound, b = 0": 1
            },
            "With $b = 0$ the length does not matter.": {"k1 without bound, b = 0": 1.5},
        },
        tolerance=1e-4,
        why="$k_1$ leads from counting each word once to counting every occurrence.",
    ),
    "ex-qa-fault": Function(
        right=_best,
        wrong={
            "That is the function as it was. Look at the best start and the best end of a window taken alone, and at "
            "what the scores of two windows are measured against.": _as_asked,
            "The order is mended, but raw scores of two windows are compared. Each must be measured against its own "
            "*no answer*.": lambda windows: _best(windows, margin=False),
            "The windows are compared rightly, but an answer may still end before it begins.": (
                lambda windows: _best(windows, ordered=False)
            ),
            "A span may begin at token 0 here. *No answer* is a span alone.": lambda windows: _best(windows, first=0),
        },
        cases=_cases,
        properties={
            "An answer may not end before it begins.": lambda f, windows: f(windows)[1] <= f(windows)[2],
            "Token 0 is no part of a passage.": lambda f, windows: f(windows)[1] > 0,
        },
        why="The best span within a window, the largest margin among windows.",
    ),
    "ex-qa-beat": Made(
        laws={
            "Give one number, the exact match over all questions.": lambda score: float(score) >= 0,
            "That is a share. In per cent it is a number up to 100.": lambda score: (
                float(score) == 0 or float(score) > 1
            ),
            "That is no more than sentence overlap has. Let it say nothing more often.": lambda score: (
                float(score) > 48
            ),
            "It is ahead of sentence overlap, but not at 55. Which questions without an answer can be told by names?": (
                lambda score: float(score) >= 55
            ),
        },
        example=lambda: 61.7,
        wrong=lambda: [-1.0, 0.617, 47.7, 51.0],
        why="What a name is, is all that the rule had to be told.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-qa-direction": "it asks for a test of a reader that everybody trains anew, and for its reason"
}
