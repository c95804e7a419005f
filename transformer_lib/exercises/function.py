"""An exercise whose answer is a function, tried on cases and compared with the right one and with known wrong ones.

Who behaves on all cases as a known mistake is told that mistake. Otherwise the first property that does not hold is
named, and failing that the first case that comes out wrong is shown; so the cases stand in order, the smallest first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformer_lib.checks import require, require_between
from transformer_lib.contract import checked
from transformer_lib.exercises.agree import TOLERANCE, Raised, agree, result_or_error, short_text
from transformer_lib.exercises.verdict import Verdict


@checked
@dataclass(frozen=True)
class Function:
    """A function to write: its right form, known wrong ones by the hint that each calls for, and cases to try.

    `cases` makes the lists of arguments, the same at each call, since a seed is fixed in it. `properties` are what must
    hold of the reader's function for every case, by the sentence that is said where one does not: each takes the
    function and the arguments. Results may differ by `tolerance`, relative and absolute.
    """

    right: Callable[..., Any]
    wrong: Mapping[str, Callable[..., Any]]
    cases: Callable[[], Sequence[Sequence[Any]]]
    properties: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    tolerance: int | float = TOLERANCE
    why: str = ""

    def __post_init__(self) -> None:
        require_between(0, 1, tolerance=self.tolerance)

    def judge(self, answer: Callable[..., Any]) -> Verdict:
        """What is said to a function. Raises `ValueError` if there are no cases."""
        cases = self.cases()
        require(len(cases) > 0, "cases", "must make at least one list of arguments", cases)
        found = [result_or_error(answer, case) for case in cases]
        wanted = [result_or_error(self.right, case) for case in cases]
        failing = [i for i in range(len(cases)) if not agree(found[i], wanted[i], self.tolerance)]
        if not failing:
            return Verdict(True, self.why)
        for hint, wrong in self.wrong.items():
            if all(agree(found[i], result_or_error(wrong, cases[i]), self.tolerance) for i in range(len(cases))):
                return Verdict(False, hint)
        first = failing[0]
        if not isinstance(found[first], Raised):
            for sentence, holds in self.properties.items():
                if not all(_is_true(result_or_error(holds, (answer, *case))) for case in cases):
                    return Verdict(False, sentence)
        return Verdict(False, _shown(cases[first], found[first], wanted[first]))


def _is_true(found: Any) -> bool:
    return not isinstance(found, Raised) and bool(found)


def _shown(case: Sequence[Any], found: Any, wanted: Any) -> str:
    """The smallest case that comes out wrong: what was given, what came, and what should have come."""
    given = "\n".join(f"    {short_text(argument)}" for argument in case)
    verb = "it raises" if isinstance(found, Raised) else "it gives"
    came, due = f"    {short_text(found)}", f"    {short_text(wanted)}"
    return f"For these arguments\n\n{given}\n\n{verb}\n\n{came}\n\nand should give\n\n{due}\n"
