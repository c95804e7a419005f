"""How bad input is refused: a `ValueError` that names the field, the rule and the value."""


def require(holds: bool, field: str, rule: str, value: object) -> None:
    """Raise `ValueError` naming the field, the rule and the value received, unless the rule holds."""
    if not holds:
        raise ValueError(f"{field} {rule}, got {value!r}")


def require_positive(**fields: int) -> None:
    """Each named field must be a whole number of at least 1."""
    for name, value in fields.items():
        require(type(value) is int and value >= 1, name, "must be a whole number of at least 1", value)


def require_numbers(**fields: float) -> None:
    """Each named field must be a number."""
    for name, value in fields.items():
        require(type(value) in (int, float), name, "must be a number", value)


def require_flags(**fields: bool) -> None:
    """Each named field must be True or False."""
    for name, value in fields.items():
        require(type(value) is bool, name, "must be True or False", value)
