"""Which calls are tried: each callable in turn, with what hypothesis draws in the place of one or two arguments."""

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.contract.callables import parameters_of
from tests.contract.judge import Case
from tests.contract.strange import MISSING, STRANGE, UNKNOWN

PLACES = 1 << 32  # so many that, modulo the number of arguments, each is as likely as the others
Draw = list[tuple[int, str]]  # which argument, modulo their number, and what


def draw_cases(names: list[str], count: int, number: int) -> list[Case]:
    """So many calls of these callables, the same ones for the same seed; fewer only where they repeat themselves."""
    draws: list[Draw] = []
    places = st.integers(0, PLACES - 1)
    changes = st.lists(st.tuples(places, st.sampled_from([*STRANGE, MISSING])), min_size=1, max_size=2)

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(changes)
    def note(changed: Draw) -> None:
        draws.append(changed)

    note()
    arguments = {name: [*parameters_of(name)] * 3 + [UNKNOWN] for name in names}
    cases = (_case(names[i % len(names)], arguments, draws[i]) for i in range(min(count, len(draws))) if names)
    return list(dict.fromkeys(cases))


def _case(name: str, arguments: dict[str, list[str]], draw: Draw) -> Case:
    """The first draw is the last for its argument, if both mean the same one."""
    found = {arguments[name][place % len(arguments[name])]: strange for place, strange in reversed(draw)}
    return Case(name, tuple(found.items()))
