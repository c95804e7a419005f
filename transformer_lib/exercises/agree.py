"""Whether two results are the same, whatever they are made of: a number, a list, an array, a tensor, or all of them.

Two calls that raise the same kind of error agree too, so that a known mistake that fails is recognised by how it fails.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from transformer_lib.checks import require_between, shown
from transformer_lib.contract import checked

TOLERANCE = 1e-5  # of numbers in float32, relative and absolute


@checked
@dataclass(frozen=True)
class Raised:
    """An error in the place of a result; two are equal if their kinds are."""

    kind: str
    message: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raised) and self.kind == other.kind

    def __hash__(self) -> int:
        return hash(self.kind)


@checked
def result_or_error(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """What the function gives for copies of these arguments, or the error that it raises, as `Raised`."""
    try:
        return function(*map(_copied, arguments))
    except Exception as error:  # the reader's function may raise anything
        return Raised(type(error).__name__, str(error))


@checked
def agree(one: object, other: object, tolerance: int | float = TOLERANCE) -> bool:
    """Whether two results have the same form, and numbers that differ by no more than the tolerance.

    A list, an array and a tensor of the same numbers agree; tensors of two shapes do not. The tolerance is both
    relative and absolute, at least 0 and at most 1.
    """
    require_between(0, 1, tolerance=tolerance)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(agree(one[key], other[key], tolerance) for key in one)
    a, b = numbers_of(one), numbers_of(other)
    if a is not None and b is not None:
        same_form = a.shape == b.shape
        return same_form and bool(torch.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True).all())
    if _is_sequence(one) and _is_sequence(other):
        return len(one) == len(other) and all(agree(x, y, tolerance) for x, y in zip(one, other, strict=True))
    return a is None and b is None and bool(one == other)


def numbers_of(value: object) -> Tensor | None:
    """The numbers of a value as a tensor in float64; None for what is no block of numbers, such as a text."""
    if isinstance(value, Tensor):
        return None if value.is_complex() or value.is_meta else value.detach().double().cpu()
    if isinstance(value, np.ndarray | np.generic):
        return torch.as_tensor(np.asarray(value, dtype=np.float64)) if np.asarray(value).dtype.kind in "biuf" else None
    if isinstance(value, bool | int | float):
        return torch.tensor(float(value), dtype=torch.float64)
    if not _is_sequence(value):
        return None
    parts = [numbers_of(part) for part in value]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts) or len({part.shape for part in whole}) > 1:
        return None
    return torch.stack(whole) if whole else torch.zeros(0, dtype=torch.float64)


@checked
def short_text(value: object) -> str:
    """A value as feedback shows it: numbers with four digits, and nothing longer than a few lines."""
    if isinstance(value, Raised):
        return f"{value.kind}: {value.message}"
    numbers = numbers_of(value)
    if numbers is None:
        return shown(value)
    rounded = [float(f"{x:.4g}") + 0.0 for x in numbers.flatten().tolist()]
    plain = torch.tensor(rounded, dtype=torch.float64).reshape(numbers.shape).tolist()
    text = repr(plain).replace(".0,", ",").replace(".0]", "]")
    text = text.removesuffix(".0")
    return text if len(text) <= 200 else f"numbers of shape {tuple(numbers.shape)}, {text[:120]} ..."


def _copied(value: Any) -> Any:
    """A function that writes into what it is given must not change the next call."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value.copy() if isinstance(value, np.ndarray | list | dict | set) else value


def _is_sequence(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    return isinstance(value, list | tuple)
