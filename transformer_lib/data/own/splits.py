"""Which examples are held out, told from their content, so that no sentence, passage or text is on two sides.

Each example draws a number from 0 to 1 by a hash of the seed and of what must not be shared: the source of a pair, the
words of a sentence, the passage of a question, what an assistant is told before its first answer. The lowest are the
test, the next the validation. So the order of the file does not matter, and a file that grows keeps nearly all of its
sides.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transformer_lib.checks import require, require_between
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Chat, Pair, Question, normal_form

Split = Literal["train", "validation", "test"]
LEAST, MOST, SHARE = 10, 1000, 0.1  # different examples to be split at all; that are held out at most, and usually


@checked
def unshared(example: Pair | Annotated | Question | Chat | str) -> str:
    """What must not stand on two sides, without case, punctuation and spacing."""
    match example:
        case Pair(source):
            return normal_form(source)
        case Annotated(words):
            return normal_form(" ".join(words))
        case Question():
            return normal_form(example.context)
        case Chat(messages):
            first = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), None)
            return normal_form("\n".join(str(message["content"]) for message in messages[:first]))
        case _:
            return normal_form(example)


@checked
def drawn(example: Any, seed: int) -> float:
    """The number of an example, from 0 to 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{unshared(example)}".encode()).digest()[:8]) / 2**64


@checked
@dataclass(frozen=True)
class Sides:
    """Below `test`, an example is of the test; else below `validation`, of the validation; else of the training."""

    test: float = 0.0
    validation: float = 0.0

    def __post_init__(self) -> None:
        require_between(0, 1, test=self.test, validation=self.validation)
        require(self.test <= self.validation, "validation", f"must be at least test={self.test}", self.validation)

    def of(self, number: float) -> Split:
        """The side of an example that drew this number."""
        if number < self.test:
            return "test"
        return "validation" if number < self.validation else "train"


@checked
def sides(numbers: Iterable[float], *, validation: bool, test: bool) -> Sides:
    """Where to cut, if these are wanted: a tenth of the different examples for each, at least one and at most 1,000.

    `ValueError` for fewer than ten different examples, unless nothing is wanted.
    """
    if not (validation or test):
        return Sides()
    different = np.unique(np.fromiter(numbers, dtype=np.float64))
    rule = f"must hold at least {LEAST} different examples, so that some can be held out"
    require(len(different) >= LEAST, "data", rule, len(different))
    each = min(MOST, max(1, round(SHARE * len(different))))
    first = float(different[each]) if test else 0.0
    return Sides(first, float(different[each * test + each]) if validation else first)


@checked
def key_of(text: str) -> int:
    """A number of 64 bits for a text: a set of millions of them fits into memory."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
