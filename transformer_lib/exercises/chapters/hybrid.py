"""What `book.check` knows of the exercises of `chapters/frontier/hybrid.ipynb`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

# A key that its neighbours hide --------------------------------------------------------------------------------------


def _line(answer: Any) -> Tensor:
    return torch.as_tensor(answer).double().flatten()


def _products(peak: int | float, beside: int | float, elsewhere: int | float = 0) -> Tensor:
    line = torch.zeros(32)
    line[8:16], line[11], line[:8] = beside, peak, elsewhere
    return line


def _is_above(answer: Any) -> Tensor:
    """How far the mean of each other block lies above that of the block with the greatest product."""
    line = _line(answer)
    means, own = line.view(4, 8).mean(1), int(line.argmax()) // 8
    return torch.cat([means[:own], means[own + 1 :]]) - means[own]


# A loss whose descent is a sum ---------------------------------------------------------------------------------------


def _slope(loss: Any, shift: float = 0.0) -> Tensor:
    memory = _drawn()[0] + shift
    memory.requires_grad_()
    return torch.autograd.grad(loss(memory, *_drawn()[1:]), memory)[0]


def _drawn() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator(device="cpu").manual_seed(0)
    numbers = torch.randn(19, generator=generator, dtype=torch.float64, device="cpu")
    return numbers[:12].view(4, 3), numbers[12:16], numbers[16:]


def _sum_step() -> Tensor:
    return -torch.outer(*_drawn()[1:])


# A sign that is turned at every 1 ------------------------------------------------------------------------------------


def _after(answer: Sequence[Sequence[Any]], bits: Sequence[int], memory: float = 1.0) -> float:
    for bit in bits:
        decay, beta, value = answer[bit]
        memory = decay * memory
        memory = memory + beta * (value - memory)
    return float(memory)


EXERCISES: dict[str, Exercise] = {
    "ex-hyb-hand": Numbers(
        right={"a?, half": 5, "b?, half": 3, "a?, whole": 8, "b?, whole": 6, "a?, sum": 12, "b?, sum": 6},
        wrong={
            "You halved the values and added them. $\\beta$ scales the *correction*, and the second one is $8 - 2$.": {
                "a?, half": 6
            },
            "You went half of the way from 0 to 8. The memory held 2 before.": {"a?, half": 4},
            "With $\\beta = \\tfrac12$, `b` gets half of the way from 0 to 6.": {"b?, half": 6},
            "With $\\beta = 1$ the whole correction is made: the key reads the newest value.": {"a?, whole": 12},
            "A sum does not replace: it holds $4 + 8$ under `a`.": {"a?, sum": 8},
        },
        why="Half of a correction is half of the way from what is held to the new value.",
    ),
    "ex-hyb-crossing": Numbers(
        right={"tokens": 512, "GiB, hybrid": 4 + 48 / 1024, "GiB, attention": 16},
        wrong={
            "Keys *and* values are kept: a token takes 4,096 bytes in a layer.": {"tokens": 1024},
            "The states are in float32, so each number has four bytes.": {"tokens": 256},
            "You left out the 24 states of 2 MiB. They are small beside the cache, but not nothing.": {
                "GiB, hybrid": 4
            },
            "You exchanged the layers: every fourth is attention, so 8 of 32 grow.": {"GiB, hybrid": 12 + 16 / 1024},
        },
        tolerance=0.004,
        why="A state is 2 MiB; eight layers keep 4 GiB of the text, and 24 states 48 MiB.",
    ),
    "ex-hyb-peak": Made(
        laws={
            "There must be 32 products, for four blocks of eight keys.": lambda answer: len(_line(answer)) == 32,
            "No key has more than 99 % of the weight. Take a larger product for the one.": lambda answer: bool(
                _line(answer).softmax(0).max() > 0.99
            ),
            "The mean key still picks the right block. Let its neighbours point the other way.": lambda answer: bool(
                (_is_above(answer) > 0).any()
            ),
            "The block is not chosen, but it is not the *worst* of the four: another has a lower mean.": (
                lambda answer: bool((_is_above(answer) > 0).all())
            ),
        },
        example=lambda: _products(10, -4),
        wrong=lambda: [torch.zeros(31), _products(1, -4), _products(10, 0), _products(10, -4, elsewhere=-3)],
        why="The one bad block hides the key. In blocks of two it would be found.",
    ),
    "ex-hyb-descent": Made(
        laws={
            "A loss is one number.": lambda loss: torch.as_tensor(loss(*_drawn())).numel() == 1,
            "The gradient of your loss depends on $S$, as that of the delta rule does. A sum adds the same, whatever "
            "is there.": lambda loss: torch.allclose(_slope(loss), _slope(loss, shift=1.0)),
            "One step on your loss *takes away* what the sum adds: turn the sign.": lambda loss: (
                not torch.allclose(_slope(loss), -_sum_step())
            ),
            "One step from $S$, with the rate 1, must lead to $S + k^\\top v$.": lambda loss: torch.allclose(
                _slope(loss), _sum_step()
            ),
        },
        example=lambda: lambda S, k, v: -(k @ S) @ v,
        wrong=lambda: [
            lambda S, k, v: v - k @ S,
            lambda S, k, v: (k @ S - v).square().sum() / 2,
            lambda S, k, v: (k @ S) @ v,
            lambda S, k, v: -(k @ S) @ v / 2,
        ],
        why="This loss has no lower bound: it never says that the memory agrees enough. So a sum does not overwrite.",
    ),
    "ex-hyb-parity": Made(
        laws={
            "Give three numbers for a 0 and three for a 1.": lambda answer: [len(part) for part in answer] == [3, 3],
            "A 0 must leave the sign as it is, whichever it is.": lambda answer: (
                _after(answer, [0]) > 0 > _after(answer, [0], -1.0)
            ),
            "After a single 1 the memory must be negative. With $\\beta = 1$ and the value 0 it is erased.": (
                lambda answer: _after(answer, [1]) < 0
            ),
            "After two 1s the memory must be positive again. You *set* the sign at a 1, and do not flip it.": (
                lambda answer: _after(answer, [1, 1]) > 0
            ),
            "Short texts come out right, and long ones lose the sign: the memory must not shrink to nothing.": (
                lambda answer: _after(answer, [0, 1] * 999) < -1e-9
            ),
        },
        example=lambda: [(1, 0, 0), (1, 2, 0)],
        wrong=lambda: [
            [(1, 0), (1, 2)],
            [(1, 1, 1), (1, 2, 0)],
            [(1, 0, 0), (1, 1, 0)],
            [(1, 0, 0), (1, 1, -1)],
            [(0.9, 0, 0), (0.9, 2, 0)],
        ],
        why="With $\\beta = 2$ a step is the reflection that turns the key round.",
    ),
    "ex-hyb-rewind": Numbers(
        right={"million bytes": 36 * 2_146_304 / 1e6},
        wrong={
            "You counted all 48 layers. Those of attention need no copy: they forget by a shorter length.": {
                "million bytes": 48 * 2_146_304 / 1e6
            },
            "That is one layer. 36 of the 48 have a state.": {"million bytes": 2_146_304 / 1e6},
            "You left out the three newest inputs of the short convolution. They must be taken back as well.": {
                "million bytes": 36 * 2**21 / 1e6
            },
            "You counted the states in 2 bytes. They are kept in float32.": {"million bytes": 36 * 2**20 / 1e6},
        },
        tolerance=0.3,
        why="And from the copy the accepted tokens are read anew.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
