"""Learning rates as pure functions of the step.

`step` counts updates from 1, so step 0 (rate 0 in every schedule) is never taken and the update number `total` is the
last one. Being pure, a schedule has no state to save: a resumed run asks the same function. Give a run its schedule as
`functools.partial(warmup_cosine, warmup=100, total=2000, peak=1e-3, floor=1e-4)`.
"""

import math

from transformer_lib.config import require
from transformer_lib.contract import checked_once


@checked_once
def warmup_cosine(step: int, *, warmup: int, total: int, peak: float, floor: float = 0.0) -> float:
    """Rise linearly to `peak` at step `warmup`, then fall along half a cosine to `floor` at `total`, and stay there.

    Loshchilov and Hutter (2017), without their restarts.
    """
    _check(step, warmup=warmup, total=total, peak=peak, floor=floor)
    require(warmup < total, "warmup", f"must leave steps to fall, total={total}", warmup)
    if step < warmup:
        return peak * step / warmup
    done = min(1.0, (step - warmup) / (total - warmup))
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2


@checked_once
def warmup_stable_decay(step: int, *, warmup: int, decay: int, total: int, peak: float, floor: float = 0.0) -> float:
    """Rise linearly to `peak` at step `warmup`, stay, and fall linearly to `floor` over the last `decay` steps.

    Hu et al. (2024): the rise and the stable part do not depend on `total`, so a run can be prolonged from a checkpoint
    taken before the decay. `decay=0` never falls.
    """
    _check(step, warmup=warmup, total=total, peak=peak, floor=floor)
    require(0 <= decay <= total - warmup, "decay", f"must be from 0 to total - warmup = {total - warmup}", decay)
    if step < warmup:
        return peak * step / warmup
    left = min(1.0, max(0, total - step) / decay) if decay else 1.0
    return floor + (peak - floor) * left


@checked_once
def noam(step: int, *, d_model: int, warmup: int, scale: float = 1.0) -> float:
    """`scale * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5)`, equation 3 of Vaswani et al. (2017)."""
    require(step >= 0, "step", "must not be negative", step)
    require(d_model >= 1, "d_model", "must be at least 1", d_model)
    require(warmup >= 1, "warmup", "must be at least 1", warmup)
    rising = step / (warmup * math.sqrt(warmup))
    return scale / math.sqrt(d_model) * (rising if step < warmup else 1 / math.sqrt(step))


def _check(step: int, *, warmup: int, total: int, peak: float, floor: float) -> None:
    require(step >= 0, "step", "must not be negative", step)
    require(total >= 1, "total", "must be at least 1", total)
    require(0 <= warmup <= total, "warmup", f"must be from 0 to total={total}", warmup)
    require(0 <= floor <= peak, "floor", f"must be from 0 to peak={peak}", floor)
