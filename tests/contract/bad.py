"""Functions that break the contract, each in a way of its own, and one that keeps it: the harness is tried on them."""

import math
import os

import torch
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked


@checked
def keeps(width: int) -> int:
    """Nothing is wrong here."""
    require(width > 0, "width", "must be positive", width)
    return width


def raises(name: str) -> str:
    """An AttributeError for what is no text."""
    return name.upper()


def adds(width: int) -> int:
    """A TypeError, but Python's own."""
    return width + 1


def reads(number: str) -> int:
    """A ValueError, but Python's own."""
    return int(number)


def ignores(width: int) -> None:
    """Whatever is given."""


def computes(x: Tensor) -> Tensor:
    """A root that is NaN below zero."""
    return torch.sqrt(x)


def waits(width: int) -> None:
    """Without end, if the width is not 3."""
    while width != 3:
        math.sqrt(2.0)


def dies(width: int) -> None:
    """And takes the process along, if the width is not 3."""
    if width != 3:
        os.abort()


def grows(width: int) -> int:
    """By more memory than there is."""
    return len(bytes(2**40 if width != 3 else 1))
