"""A question of a chapter: choices, a number, or an order; each wrong answer has its explanation.

A question is data (`chapters/questions/*.toml`, read by `question_files.py`). Here is what is said to an answer, and
whether what a cell of the chapter computes is what the file calls right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformer_lib.checks import require, wrong_kind
from transformer_lib.contract import checked
from transformer_lib.exercises.agree import numbers_of
from transformer_lib.exercises.verdict import Verdict

LETTERS = "abcdefgh"


@checked
@dataclass(frozen=True)
class Choices:
    """Lettered choices of which one or several are right; `why` says of each what makes it right or wrong."""

    name: str
    kind: Literal["one", "several"]
    text: str
    choices: Mapping[str, str]
    why: Mapping[str, str]
    right: str

    def judge(self, answer: str) -> Verdict:
        """What is said to letters, such as "b" or "ac". Raises `ValueError` for letters that no choice has."""
        chosen = _letters(answer, self.choices)
        if self.kind == "one":
            require(len(chosen) == 1, "answer", "must be one letter", answer)
            return Verdict(chosen == self.right, self.why[chosen])
        missed = [letter for letter in self.choices if (letter in chosen) != (letter in self.right)]
        if not missed:
            return Verdict(True, " ".join(self.why[letter] for letter in self.right))
        said = (f"{letter}, {'chosen' if letter in chosen else 'left out'}: {self.why[letter]}" for letter in missed)
        return Verdict(False, " ".join(said))

    def agrees(self, computed: Any) -> bool:
        """Whether truth values, one for each choice, are those of the file; for one choice its number will do."""
        numbers = _numbers(computed)
        if len(numbers) == 1 and self.kind == "one":
            return numbers == [LETTERS.index(self.right)]
        return numbers == [float(letter in self.right) for letter in self.choices]

    def answer(self) -> str:
        """The right letters."""
        return ", ".join(self.right)


@checked
@dataclass(frozen=True)
class Amount:
    """A number to find; `wrong` are numbers that readers find instead, each with where it comes from."""

    name: str
    text: str
    right: int | float
    why: str
    wrong: Sequence[tuple[int | float, str]]
    tolerance: int | float = 0
    unit: str = ""

    @property
    def kind(self) -> str:
        return "number"

    def judge(self, answer: int | float) -> Verdict:
        """What is said to a number."""
        if self._meets(float(answer), self.right):
            return Verdict(True, self.why)
        for value, why in self.wrong:
            if self._meets(float(answer), value):
                return Verdict(False, why)
        return Verdict(False, "That is none of the mistakes known here. Try it with smaller numbers first.")

    def agrees(self, computed: Any) -> bool:
        """Whether the number that a cell computes is that of the file."""
        numbers = _numbers(computed)
        return len(numbers) == 1 and self._meets(numbers[0], self.right)

    def answer(self) -> str:
        """The right number and its unit."""
        return f"{exact_text(self.right)} {self.unit}".strip()

    def _meets(self, found: float, wanted: int | float) -> bool:
        return abs(found - wanted) <= self.tolerance + 1e-9 * abs(wanted)


@checked
@dataclass(frozen=True)
class Order:
    """Lettered things to put in order; `why` says of each two neighbours, such as "ca", why they stand so.

    Whatever order is wrong, two neighbours of the right one stand the other way round in it, and their reason is said.
    """

    name: str
    text: str
    choices: Mapping[str, str]
    why: Mapping[str, str]
    right: str

    @property
    def kind(self) -> str:
        return "order"

    def judge(self, answer: str) -> Verdict:
        """What is said to all letters in some order, such as "cabd". Raises `ValueError` unless each is there once."""
        order = answer.replace(" ", "").replace(",", "").lower()
        require(
            sorted(order) == sorted(self.right), "answer", f"must have each of {''.join(self.choices)} once", answer
        )
        for pair, why in self.why.items():
            if order.index(pair[0]) > order.index(pair[1]):
                return Verdict(False, f"{pair[0]} before {pair[1]}: {why}")
        return Verdict(True, " ".join(self.why.values()))

    def agrees(self, computed: Any) -> bool:
        """Whether numbers, one for each letter, put the letters in the order of the file, the smallest first."""
        numbers = _numbers(computed)
        if len(numbers) != len(self.choices) or len(set(numbers)) < len(numbers):
            return False
        return "".join(sorted(self.choices, key=lambda letter: numbers[LETTERS.index(letter)])) == self.right

    def answer(self) -> str:
        """The letters in the right order."""
        return ", ".join(self.right)


Question = Choices | Amount | Order


@checked
def exact_text(number: int | float) -> str:
    """A number as a reader types it: 36, and not 36.0."""
    return str(int(number)) if float(number).is_integer() else str(number)


def _letters(answer: str, choices: Mapping[str, str]) -> str:
    chosen = "".join(sorted(set(answer.lower()) - set(" ,")))
    require(bool(chosen) and set(chosen) <= set(choices), "answer", f"must be letters of {''.join(choices)}", answer)
    return chosen


def _numbers(computed: Any) -> list[float]:
    numbers = numbers_of(computed)
    if numbers is None:
        raise wrong_kind("computed", "a number or one for each letter", computed)
    return numbers.flatten().tolist()
