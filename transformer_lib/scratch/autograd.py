"""Reverse-mode differentiation of single numbers: what PyTorch's autograd does for tensors, small enough to read.

Each operation notes what it was made from and the local derivative by each of those; `backward` walks the notes from
the loss down (Rumelhart et al. 1986). NumPy's arrays of objects may hold such values: `@`, `np.exp` and `np.log` of
them work. Left out: tensors, second derivatives, freeing the graph, and everything that makes it fast.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from transformer_lib.checks import require
from transformer_lib.contract import checked

Function = Callable[[float], Any]
Sources = tuple[tuple["Value", float], ...]  # what a value was made from, each with the local derivative by it


class _Arithmetic:
    """What can be written with a sum, a product and a power."""

    __add__: Callable[[Any, Any], Any]
    __mul__: Callable[[Any, Any], Any]
    __pow__: Callable[[Any, Any], Any]

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __neg__(self) -> Any:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        return self * _value(other) ** -1

    def __rtruediv__(self, other: Any) -> Any:
        return self**-1 * other


@checked
class Value(_Arithmetic):
    """A number that remembers what it was made from, and so can find how fast it grows with each of those.

    `made_from` are pairs of such a value and the local derivative by it. `grad` adds up from call to call of
    `backward`, as in PyTorch, until it is set to 0. `ValueError` where a number or a slope is not finite.
    """

    def __init__(self, data: int | float, made_from: Sources = ()) -> None:
        self.data, self.grad, self.made_from = _finite(float, data), 0.0, made_from

    def __add__(self, other: Any) -> "Value":
        other = _value(other)
        return Value(self.data + other.data, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other: Any) -> "Value":
        other = _value(other)
        sources = (self, other.data), (other, self.data)
        return Value(self.data * other.data, sources)

    def __pow__(self, n: int | float) -> "Value":
        return self._through(lambda x: x**n, lambda x: n * x ** (n - 1))

    def exp(self) -> "Value":
        """The power of e."""
        return self._through(math.exp, math.exp)

    def log(self) -> "Value":
        """The natural logarithm."""
        return self._through(math.log, lambda x: 1 / x)

    def erf(self) -> "Value":
        """The error function, from which GELU is made."""
        return self._through(math.erf, lambda x: 2 / math.pi**0.5 * math.exp(-x * x))

    def _through(self, f: Function, slope: Function) -> "Value":
        return Value(_finite(f, self.data), ((self, _finite(slope, self.data)),))

    def backward(self) -> None:
        """Add to the `grad` of every value that this was made from how fast this grows with it."""
        uses: Counter[Value] = Counter()
        below = [self]
        for value in below:  # the list grows while it is walked
            if value.made_from:
                value.grad = 0.0  # only what was not made keeps what it had
            for source, _ in value.made_from:
                if source not in uses:
                    below.append(source)
                uses[source] += 1
        self.grad += 1.0
        ready = [self]
        for value in ready:
            for source, slope in value.made_from:
                source.grad += value.grad * slope
                uses[source] -= 1
                if uses[source] == 0:  # all that was made from it is done
                    ready.append(source)

    def __repr__(self) -> str:
        return f"Value({self.data:g}, grad={self.grad:g})"


def _value(number: Any) -> Value:
    if isinstance(number, Value):
        return number
    return Value(number.item() if isinstance(number, np.generic) else number)  # np.mean divides by one of its own


def _finite(f: Function, x: int | float) -> float:
    """f(x), if that is a real and finite number."""
    try:
        y = f(x)
    except (ArithmeticError, ValueError):  # as 1 / 0, or the logarithm of a negative number
        y = math.nan
    require(isinstance(y, float | int) and math.isfinite(y), "data", "must have a finite result and slope here", x)
    return float(y)
