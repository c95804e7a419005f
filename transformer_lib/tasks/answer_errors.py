"""What a question asks for, and what is wrong with an answer to it, so that real mistakes can be counted by sort.

Both are told from the words alone: what is asked for by the question word, and where an answer stands by the sentences
of the passage that have it. Left out: whether another answer than the reference would do.
"""

import re

from transformer_lib.contract import checked
from transformer_lib.data.examples import Question
from transformer_lib.tasks.answer_rules import ASKED
from transformer_lib.tasks.answer_scores import score_answers

ANSWER_ERRORS = ("boundary", "right sentence", "elsewhere")
QUESTION_KINDS = ("when", "how many", "who", "where", "what or which", "why or how")
_PLACES = r"\bwhere\b|\b(?:what|which) (?:city|country|state|place|region|town)\b"
_ASKED = (ASKED[0][0], ASKED[1][0], r"\bwho\b|\bwhom\b|\bwhose\b", _PLACES, r"\bwhat\b|\bwhich\b")
_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|$)", re.DOTALL)


@checked
def question_kind(question: str) -> str:
    """What an English question asks for, one of `QUESTION_KINDS`: the first whose question word it has."""
    fits = (kind for kind, pattern in zip(QUESTION_KINDS, _ASKED, strict=False) if re.search(pattern, question.lower()))
    return next(fits, QUESTION_KINDS[-1])


@checked
def answer_error(found: str, question: Question) -> str:
    """The sort of error of an answer, one of `ANSWER_ERRORS`; "" if it is right.

    It has a wrong "boundary" if it shares words with a true answer, or else stands in the "right sentence", or
    "elsewhere", as an answer does that is empty or to a question that has none.
    """
    scores = score_answers([found], [question])["all"]
    if scores["exact_match"]:
        return ""
    if scores["f1"]:
        return "boundary"
    starts = [answer.start for answer in question.answers]
    sentences = [match for match in _SENTENCE.finditer(question.context) if found and found in match[0]]
    near = any(sentence.start() <= start < sentence.end() for sentence in sentences for start in starts)
    return "right sentence" if near else "elsewhere"
