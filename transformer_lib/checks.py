"""How bad input is refused: a wrong value is a `ValueError`, a wrong kind of object a `TypeError`.

Both name the field, the rule (or what is wanted) and what came instead. `checked` and `checked_once` in `contract.py`
apply the rules that can be read off an annotation; what is here is for the others.
"""

import math
from typing import Any

MOST_SIZE = 2**31 - 1  # no model comes near, and the product of two sizes can still be counted in 64 bits
LEAST_EPS = 1e-30  # what is smaller vanishes in float32, and a constant vector would be divided by zero
MOST_BASE = 1e30  # of the angles of positions: float32, in which its powers are taken, ends at 3e38
MOST_SHOWN = 200  # characters of a value in a message: a text of ten megabytes helps nobody


def require(holds: bool, field: str, rule: str, value: object) -> None:
    """Raise `ValueError` naming the field, the rule and the value received, unless the rule holds."""
    if not holds:
        raise ValueError(f"{field} {rule}, got {shown(value)}")


def require_kind(value: object, kind: type | tuple[type, ...], field: str, wanted: str) -> None:
    """Raise `TypeError` naming the field, what is wanted and what came, unless the value is of the kind."""
    if not isinstance(value, kind):
        raise wrong_kind(field, wanted, value)


def require_positive(**fields: int) -> None:
    """Each named field must be a whole number of at least 1."""
    for name, value in fields.items():
        require_whole(**{name: value})
        require(value >= 1, name, "must be a whole number of at least 1", value)


def require_whole(**fields: int) -> None:
    """Each named field must be a whole number that 64 bits can hold."""
    for name, value in fields.items():
        if type(value) is not int:
            raise wrong_kind(name, "a whole number", value)
        require(is_whole(value), name, "must be a whole number of at most 64 bits", value)


def require_sizes(**fields: int) -> None:
    """Each named field must be a size that a machine could hold: from 1 to 2**31 - 1."""
    for name, value in fields.items():
        require_whole(**{name: value})
        require(1 <= value <= MOST_SIZE, name, f"must be a whole number of at least 1 and at most {MOST_SIZE}", value)


def require_numbers(**fields: int | float) -> None:
    """Each named field must be a finite number."""
    for name, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_kind(name, "a number", value)
        if type(value) is int:
            require(is_whole(value), name, "must be a whole number of at most 64 bits", value)
        require(math.isfinite(value), name, "must be a finite number", value)


def require_between(least: int | float, most: int | float, **fields: int | float) -> None:
    """Each named field must be a number from `least` to `most`."""
    for name, value in fields.items():
        require_numbers(**{name: value})
        require(least <= value <= most, name, f"must be at least {least:g} and at most {most:g}", value)


def require_eps(eps: int | float) -> None:
    """What is added to a square before its root is taken: 0 would divide by zero where all numbers are equal."""
    require_numbers(eps=eps)
    require(LEAST_EPS <= eps <= 1, "eps", f"must be at least {LEAST_EPS:g} and at most 1", eps)


def require_base(field: str, base: int | float) -> None:
    """The wavelengths of positions grow by powers of this."""
    require_numbers(**{field: base})
    require(1 < base <= MOST_BASE, field, f"must be greater than 1 and at most {MOST_BASE:g}", base)


def require_flags(**fields: bool) -> None:
    """Each named field must be True or False."""
    for name, value in fields.items():
        require_kind(value, bool, name, "True or False")


def wrong_kind(field: str, wanted: str, value: object) -> TypeError:
    """The error for a value that is not of the kind that a field wants."""
    return TypeError(f"{field} must be {wanted}, got {shown(value)} of type {type(value).__qualname__}")


def shown(value: Any) -> str:
    """The value as a message can hold it: not a text of ten megabytes."""
    try:
        text = repr(value)
    except Exception:  # a wrong value may be so broken that it cannot even be shown
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text)} characters)"


def is_whole(value: object) -> bool:
    """Whether a value is a whole number of at most 64 bits, which is what PyTorch and NumPy count with."""
    return type(value) is int and -(2**63) <= value < 2**63


def is_number(value: object) -> bool:
    """Whether a value is a float, infinite or not, or such a whole number; NaN is none."""
    return not math.isnan(value) if isinstance(value, float) else is_whole(value)


def is_finite(value: object) -> bool:
    """Whether a value, such as one of a JSON file, is a number and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
