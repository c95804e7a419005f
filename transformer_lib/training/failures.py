"""What failures cost a long run, and how often to save.

A failure sends all processes back to the last checkpoint. Failures come independently, at `between` seconds on average
(exponential times); each costs the work since the last save, and a restart, which may fail as well. The expected time
is Daly's (2006, equation 20); the interval that loses least is Young's (1974) for short saves, with Daly's correction.

Left out: failures that show themselves late, such as wrong numbers; stragglers; saving while the run goes on.
"""

import math

from transformer_lib.checks import require, require_between, require_numbers
from transformer_lib.contract import checked

LONGEST = 500.0  # means between failures; beyond, the expected time is no finite number


@checked
def young_interval(*, save: float, between: float) -> float:
    """Seconds of work between two saves that lose least, to first order: the root of 2 save between."""
    _require_seconds(save=save, between=between)
    return math.sqrt(2 * save * between)


@checked
def daly_interval(*, save: float, between: float) -> float:
    """As Young's, with two further terms, for saves that are not short; never above `between` (Daly's equation 37)."""
    _require_seconds(save=save, between=between)
    if save >= 2 * between:
        return between
    ratio = save / (2 * between)
    return math.sqrt(2 * save * between) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save


@checked
def slowdown(*, every: float, save: float, between: float, restart: float = 0.0) -> float:
    """How much longer a run takes than one without saves and failures: 1.1 is a tenth longer.

    It saves after `every` seconds of work, and a failure costs `restart` seconds before the work goes on:
    between exp(restart / between) (exp((every + save) / between) - 1) / every.
    """
    _require_seconds(every=every, save=save, between=between)
    require_numbers(restart=restart)
    require(restart >= 0, "restart", "must not be negative", restart)
    for name, seconds in (("every", every + save), ("restart", restart)):
        require_between(0, LONGEST, **{f"{name} / between": seconds / between})
    return between * math.exp(restart / between) * math.expm1((every + save) / between) / every


def _require_seconds(**fields: float) -> None:
    require_numbers(**fields)
    for name, value in fields.items():
        require(value > 0, name, "must be positive", value)
