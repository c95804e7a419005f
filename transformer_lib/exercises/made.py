"""An exercise that asks to make something with given properties, where many answers are right: matrices, a string."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformer_lib.contract import checked
from transformer_lib.exercises.agree import Raised, result_or_error
from transformer_lib.exercises.verdict import Verdict


@checked
@dataclass(frozen=True)
class Made:
    """Something to make: what must hold of it, by the hint for the case that it does not; and examples of both kinds.

    The laws are tried in order, and the first that does not hold is said. `example` makes a right answer, and `wrong`
    makes answers that break a law each.
    """

    laws: Mapping[str, Callable[[Any], Any]]
    example: Callable[[], Any]
    wrong: Callable[[], Sequence[Any]]
    why: str = ""

    def judge(self, answer: Any) -> Verdict:
        """What is said to an answer; one that a law cannot even look at is told why."""
        for hint, holds in self.laws.items():
            found = result_or_error(holds, (answer,))
            if isinstance(found, Raised):
                return Verdict(False, f"Looking at your answer raises {found.kind}: {found.message}")
            if not found:
                return Verdict(False, hint)
        return Verdict(True, self.why)
