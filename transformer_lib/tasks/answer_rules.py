"""An answerer that has learned nothing: what stands near the question's rare words, and suits its question word.

The sliding window is that of Richardson et al. (2013): a word counts the more, the rarer it is in the passage. A rule
for each question word says what may be an answer at all. A reader has learned to read only as far as it beats this.
Left out: syntax, synonyms, anything but English.
"""

import re
from collections import Counter
from math import log

from transformer_lib.contract import checked
from transformer_lib.data.examples import Question

WORD = re.compile(r"\d[\d,.]*\d|\w+(?:['\u2019-]\w+)*")
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_COMMON = (
    "a about after all also an and are as at be been before but by can could did do does during for from had has have "
    "he her his how if in into is it its many may more most much name not of on one or other over she so some such "
    "than that the their them there these they this those through to under up used was we were what when where which "
    "while who whom whose why will with would year"
)
COMMON = frozenset(_COMMON.split())
NUMBER = rf"(?:(?:{MONTHS})\s)?\d[\d,.]*(?:%|\s(?:million|billion|percent))?"
YEAR = rf"(?:\d{{1,2}}\s)?(?:(?:{MONTHS})\s)?(?:\d{{1,2}},\s)?\b[12]\d{{3}}s?\b|(?:{MONTHS})\s\d{{1,2}}"
NAME = r"[A-Z][\w'\u2019-]*(?:\s(?:(?:of|the|de|von|van)\s)*[A-Z][\w'\u2019-]*)*"
ASKED = (  # the first that fits the question says what its answer looks like
    (r"\bwhen\b|\b(?:what|which) (?:year|date|decade)\b", YEAR),
    (r"\bhow (?:many|much|old|long|far|big|large|tall|often)\b|\bwhat (?:percentage|number)\b", NUMBER),
    (r"\bwho\b|\bwhom\b|\bwhose\b|\bwhere\b|\bwhich\b|\bwhat (?:city|country|state|person|team|company)\b", NAME),
)


@checked
def answer_by_rules(question: Question, *, ask: bool = True) -> str:
    """The candidate nearest to the rare words of the question; "" if nothing in the passage suits it.

    A candidate is what the question word asks for (years for "when", numbers for "how many", capitalised words for
    "who"), or else, or with `ask` False, a run of up to four words that are neither common nor in the question.
    """
    text, asked = question.context, _rare(question.question)
    words = [(match.start(), match[0].lower()) for match in WORD.finditer(text)]
    often = Counter(word for _, word in words)
    hits = [(place, word, log(1 + 1 / often[word])) for place, (_, word) in enumerate(words) if word in asked]

    def near(candidate: re.Match[str]) -> float:
        """The weights of the question's words, each divided by the root of its distance from the candidate in words."""
        place, best = sum(start < candidate.start() for start, _ in words), dict[str, float]()
        for at, word, weight in hits:
            best[word] = max(best.get(word, 0.0), weight / (1 + abs(at - place)) ** 0.5)
        return sum(best.values(), 0.0)

    kinds = [kind for pattern, kind in ASKED if ask and re.search(pattern, question.question.lower())]
    barred = "|".join(map(re.escape, sorted(asked | COMMON)))
    run = rf"\b(?:(?!(?:{barred})\b)[\w'\u2019-]+(?: (?=[\w'\u2019-])|\b(?! ))){{1,4}}"
    for kind in (*kinds[:1], f"(?i:{run})"):
        found = [match for match in re.finditer(kind, text) if _rare(match[0]) - asked]
        if found:
            return max(found, key=near)[0].strip(" ,.")
    return ""


def _rare(text: str) -> set[str]:
    return {word.lower() for word in WORD.findall(text)} - COMMON
