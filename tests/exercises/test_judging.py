"""How answers are judged: numbers, functions, things made, and what counts as the same result."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transformer_lib.exercises.agree import Raised, agree, result_or_error, short_text
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([1, 2.0], torch.tensor([1, 2]), True),
        (np.array([[1.0]]), [[1]], True),
        ((torch.ones(2), torch.ones(3)), [[1, 1], [1, 1, 1]], True),
        (torch.ones(2), torch.ones(1, 2), False),
        (torch.tensor([1.0, math.nan]), [1.0, math.nan], True),
        (1.0, 1.0 + 1e-4, False),
        (1e6, 1e6 + 1, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"b": 1}, False),
        ("ab", "ab", True),
        ("1", 1, False),
        (None, 0, False),
        (["a", 1], ["a", 2], False),
        (Raised("ValueError", "x"), Raised("ValueError", "y"), True),
        (Raised("ValueError", "x"), 1, False),
    ],
)
def test_results_agree(one: Any, other: Any, same: bool) -> None:
    assert agree(one, other) == agree(other, one) == same


def test_a_function_cannot_change_what_the_next_call_gets() -> None:
    given = torch.ones(2)
    assert result_or_error(lambda x: x.add_(1), [given]).tolist() == [2, 2]
    assert given.tolist() == [1, 1]
    assert result_or_error(lambda x: x / 0, [1]) == Raised("ZeroDivisionError", "division by zero")


def test_numbers_are_shown_shortly() -> None:
    assert short_text(torch.tensor([1 / 3, 2.0])) == "[0.3333, 2]"
    assert short_text(Raised("ValueError", "no")) == "ValueError: no"
    assert short_text(torch.zeros(100, 3)).startswith("numbers of shape (100, 3), [[0, 0, 0],")


# Numbers.

PAIRS = Numbers(
    right={"causal": 36, "window": 21},
    wrong={"the diagonal": {"causal": 28}, "both": {"causal": 64, "window": 64}},
    tolerance=0.5,
    why="so",
)


@pytest.mark.parametrize(
    ("answer", "right", "said"),
    [
        ([36, 21], True, "so"),
        ({"window": 21, "causal": 36.4}, True, "so"),
        (torch.tensor([36, 21]), True, "so"),
        ([28, 21], False, "the diagonal"),
        ([64, 64], False, "both"),
        ([64, 21], False, "Right but for causal."),
        ([1, 2], False, "That is none of the mistakes known here; the hint of the exercise may help."),
        ([math.nan, math.inf], False, "That is none of the mistakes known here; the hint of the exercise may help."),
    ],
)
def test_numbers(answer: Any, right: bool, said: str) -> None:
    verdict = PAIRS.judge(answer)
    assert (verdict.right, verdict.said) == (right, said)


def test_other_counts_and_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="answer must be 2 numbers: causal, window, got"):
        PAIRS.judge(36)
    with pytest.raises(ValueError, match="answer must have the names"):
        PAIRS.judge({"causal": 36})
    with pytest.raises(TypeError, match="answer must be numbers, got 'many' of type str"):
        PAIRS.judge("many")
    with pytest.raises(ValueError, match="wrong must have values by the names"):
        Numbers(right={"a": 1}, wrong={"x": {"b": 1}})
    with pytest.raises(ValueError, match="tolerance must not be negative"):
        Numbers(right={"a": 1}, wrong={}, tolerance=-1)


# Functions.


def softmax(scores: Tensor) -> Tensor:
    return scores.softmax(dim=-1)


SOFTMAX = Function(
    right=softmax,
    wrong={"wrong axis": lambda s: s.softmax(dim=0), "no exponential": lambda s: s / s.sum(-1, keepdim=True)},
    cases=lambda: [[torch.tensor([[1.0, 2], [3, 5]])], [torch.tensor([[0.0, 1, 2], [1, 1, 1]])]],
    properties={"rows must sum to 1": lambda f, s: f(s).sum(-1).allclose(torch.ones(len(s)))},
    why="so",
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda s: s.exp() / s.exp().sum(-1, keepdim=True), "so"),
        (lambda s: [[float(x) for x in row] for row in s.softmax(-1)], "so"),
        (lambda s: s.exp() / s.exp().sum(0), "wrong axis"),
        (lambda s: s / s.sum(-1)[:, None], "no exponential"),
        (lambda s: s.exp(), "rows must sum to 1"),
    ],
)
def test_functions(answer: Any, said: str) -> None:
    verdict = SOFTMAX.judge(answer)
    assert (verdict.said, verdict.right) == (said, said == "so")


def test_an_unknown_mistake_is_shown_with_its_smallest_case() -> None:
    said = SOFTMAX.judge(lambda s: (2 * s).softmax(-1) if s.shape[1] == 3 else s.softmax(-1)).said
    assert "    [[0, 1, 2], [1, 1, 1]]" in said and "[[0.01588, 0.1173, 0.8668]" in said and "[0.09003" in said
    said = SOFTMAX.judge(lambda s: s.nothing()).said
    assert "it raises" in said and "AttributeError: 'Tensor' object has no attribute 'nothing'" in said
    assert "[[1, 2], [3, 5]]" in said


def test_a_known_mistake_may_fail() -> None:
    failing = Function(lambda n: n, {"forgot 0": lambda n: 1 // n * n * n}, cases=lambda: [[0], [1]])
    assert failing.judge(lambda n: 1 / n * n).said == "forgot 0"
    assert failing.judge(lambda n: n + 1).said.startswith("For these arguments\n\n    0\n")
    with pytest.raises(TypeError, match="answer must be"):
        failing.judge(3)  # type: ignore[arg-type]


# Things made.

MADE = Made(
    laws={"too short": lambda text: len(text) > 2, "no a": lambda text: "a" in text},
    example=lambda: "abc",
    wrong=lambda: ["a", "xyz"],
    why="so",
)


@pytest.mark.parametrize(("answer", "said"), [("abc", "so"), ("a", "too short"), ("xyz", "no a")])
def test_things_made(answer: str, said: str) -> None:
    assert (MADE.judge(answer).said, MADE.judge(answer).right) == (said, said == "so")


def test_a_thing_that_cannot_be_looked_at_says_why() -> None:
    assert MADE.judge(3).said == "Looking at your answer raises TypeError: object of type 'int' has no len()"
