"""An exercise whose answer is one number or a few, with known wrong numbers and where these come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformer_lib.checks import require, wrong_kind
from transformer_lib.contract import checked
from transformer_lib.exercises.agree import numbers_of
from transformer_lib.exercises.verdict import Verdict


@checked
@dataclass(frozen=True)
class Numbers:
    """Numbers to find, by name; `wrong` has, for each hint, the wrong values that call for it, by the same names.

    A hint is given where all its values are met. `tolerance` is how far an answer may be off, in absolute terms: 0 for
    counts. `why` is said to the right answer.
    """

    right: Mapping[str, int | float]
    wrong: Mapping[str, Mapping[str, int | float]]
    tolerance: int | float = 0
    why: str = ""

    def __post_init__(self) -> None:
        require(len(self.right) > 0, "right", "must have at least one number", dict(self.right))
        require(self.tolerance >= 0, "tolerance", "must not be negative", self.tolerance)
        for hint, values in self.wrong.items():
            known = bool(values) and values.keys() <= self.right.keys()
            require(known, "wrong", f"must have values by the names {list(self.right)}", {hint: dict(values)})

    def judge(self, answer: Any) -> Verdict:
        """What is said to a number, to numbers in order, or to numbers by name.

        Raises `TypeError` for what holds no numbers, `ValueError` for another count of them.
        """
        found = self._by_name(answer)
        missed = [name for name, value in self.right.items() if not self._meets(found[name], value)]
        if not missed:
            return Verdict(True, self.why)
        for hint, values in self.wrong.items():
            if all(self._meets(found[name], value) for name, value in values.items()):
                return Verdict(False, hint)
        if len(missed) == len(self.right):
            return Verdict(False, "That is none of the mistakes known here; the hint of the exercise may help.")
        return Verdict(False, f"Right but for {', '.join(missed)}.")

    def _meets(self, found: float, wanted: int | float) -> bool:
        return abs(found - wanted) <= self.tolerance + 1e-9 * abs(wanted)

    def _by_name(self, answer: Any) -> dict[str, float]:
        names = list(self.right)
        if isinstance(answer, Mapping):
            require(set(answer) == set(names), "answer", f"must have the names {names}", list(answer))
            answer = [answer[name] for name in names]
        numbers = numbers_of(answer)
        if numbers is None:
            raise wrong_kind("answer", "a number" if len(names) == 1 else "numbers", answer)
        values = numbers.flatten().tolist()
        rule = "must be one number" if len(names) == 1 else f"must be {len(names)} numbers: {', '.join(names)}"
        require(len(values) == len(names), "answer", rule, values)
        return dict(zip(names, values, strict=True))
