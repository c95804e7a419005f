"""The engine of single numbers, beside PyTorch's autograd."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import rejects
from transformer_lib.scratch.autograd import Value
from transformer_lib.scratch.functions import cross_entropy_backward

# Operations on a list of numbers, each of which appends one; what is left never leaves the range of floats.
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (b * b + 1),
]
UNARY: list[Callable[[Any], Any]] = [
    lambda a: -a,
    lambda a: 2 - a,
    lambda a: 3 / (a * a + 2),
    lambda a: a * 0.5 + 1,
    lambda a: (a * a + 1) ** -0.5,
    lambda a: (-a * a).exp(),
    lambda a: (a * a + 0.5).log(),
    lambda a: a.erf(),
]
STEPS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12)


def computed(leaves: list[Any], steps: list[tuple[int, int, int]]) -> Any:
    """The last of a chain of numbers, each made from any two before it, so that many are used more than once."""
    made = list(leaves)
    for which, a, b in steps:
        left, right = made[a % len(made)], made[b % len(made)]
        f = which % (len(BINARY) + len(UNARY))
        new = BINARY[f](left, right) if f < len(BINARY) else UNARY[f - len(BINARY)](left)
        made.append((new * new + 1) ** -0.5 * new)  # between -1 and 1
    return made[-1]


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=3), STEPS)
def test_every_gradient_is_autograds(numbers: list[float], steps: list[tuple[int, int, int]]) -> None:
    ours = [Value(number) for number in numbers]
    theirs = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
    loss, right = computed(ours, steps), computed(theirs, steps)
    loss.backward()
    right.backward()
    assert math.isclose(loss.data, right.item(), rel_tol=1e-10, abs_tol=1e-10)
    for value, leaf in zip(ours, theirs, strict=True):
        wanted = 0.0 if leaf.grad is None else leaf.grad.item()
        assert math.isclose(value.grad, wanted, rel_tol=1e-9, abs_tol=1e-10)


def test_a_value_that_was_used_twice_adds_both_ways() -> None:
    w, x = Value(2), Value(3)
    u = w * x
    v = u + w
    (v**2).backward()
    assert (w.grad, x.grad, u.grad, v.grad) == (64, 32, 16, 16)


def test_leaves_add_up_from_call_to_call_and_what_was_made_starts_anew() -> None:
    w = Value(2)
    v = w * w
    for times in (1, 2, 3):
        v.backward()
        assert (w.grad, v.grad) == (4 * times, 1)
    w.grad = 0.0
    (w * 5).backward()
    assert w.grad == 5
    w.backward()
    assert w.grad == 6, "a value grows as fast as itself"


def test_a_long_chain_needs_no_recursion() -> None:
    x = Value(1)
    total = x
    for _ in range(3000):
        total = total + x
    total.backward()
    assert x.grad == 3001


def test_arrays_hold_values() -> None:
    """The softmax with cross-entropy, in NumPy's own words."""
    random = np.random.default_rng(0)
    numbers, targets = random.normal(size=(2, 5)), np.array([3, 0])
    z = np.array([[Value(float(x)) for x in row] for row in numbers], dtype=object)
    powers = np.exp(z)
    p = powers / powers.sum(axis=-1, keepdims=True)
    (-np.log(p[np.arange(2), targets]).sum()).backward()
    found = np.array([[value.grad for value in row] for row in z])
    np.testing.assert_allclose(found, cross_entropy_backward(numbers, targets), rtol=0, atol=1e-12)
    x = np.array([[Value(1.0), Value(2.0)]], dtype=object)
    assert [value.data for value in (x @ x.T).flat] == [5] and x.mean().data == 1.5


REFUSED: dict[str, Callable[[], object]] = {
    "a negative logarithm": lambda: Value(-1).log(),
    "a division by zero": lambda: 1 / Value(0),
    "a root's slope at zero": lambda: Value(0) ** 0.5,
    "a complex root": lambda: Value(-1) ** 0.5,
    "an exponential": lambda: Value(1000).exp(),
    "a product": lambda: Value(1e200) * 1e200,
    "a sum": lambda: Value(1e308) + 1e308,
    "no number": lambda: Value(math.nan),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_finite_is_refused(case: str) -> None:
    with rejects("data must"):
        REFUSED[case]()


@pytest.mark.parametrize("make", [lambda: Value("a"), lambda: Value(1) + "a", lambda: "a" * Value(1)])
def test_what_is_no_number_is_a_wrong_kind(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"data must be .* got 'a'"):
        make()
