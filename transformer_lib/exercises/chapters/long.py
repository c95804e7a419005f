"""What `book.check` knows of the exercises of `chapters/frontier/long.ipynb`."""

from typing import Any

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.runs import haystacks as hay

# Questions that stand behind the fact they ask for -------------------------------------------------------------------


def _with_clues() -> tuple[Tensor, Tensor, Tensor]:
    """Texts, which places hold a question with a clue before it, and the values that are asked for."""
    texts = hay.haystacks(4, 64, seed=9)
    tokens = texts.tokens.clone()
    asked = torch.zeros_like(tokens, dtype=torch.bool)
    asked[:, 1:] = (texts.kinds == hay.RECALL)[:, 1:] & (tokens[:, :-1] < hay.FACT)
    value = texts.targets - hay.ANSWER
    clue = hay.FACT + (tokens - hay.ASK) * hay.VALUES + value
    tokens[:, :-1] = torch.where(asked[:, 1:], clue[:, 1:], tokens[:, :-1])
    return tokens, asked, value


def _answered(reader: Any) -> Tensor:
    tokens, asked, _ = _with_clues()
    return torch.as_tensor(reader(tokens))[asked]


def _values() -> Tensor:
    _, asked, value = _with_clues()
    return value[asked]


def _clues() -> Tensor:
    tokens, asked, _ = _with_clues()
    return tokens.roll(1, 1)[asked]


def _reader(tokens: Tensor) -> Tensor:
    return hay.ANSWER + (tokens.roll(1, 1) - hay.FACT) % hay.VALUES


EXERCISES: dict[str, Exercise] = {
    "ex-long-turns": Numbers(
        right={"base 500,000": 35, "base 10,000": 50},
        wrong={
            "You counted from 1. The first pair is pair 0, so pairs 0 to 34 are 35 pairs.": {
                "base 500,000": 34,
                "base 10,000": 49,
            },
            "These are the pairs that did *not* come round.": {"base 500,000": 29, "base 10,000": 14},
            "You left out the $2\\pi$: a pair has come round after $2\\pi/\\omega_i$ tokens.": {
                "base 500,000": 44,
                "base 10,000": 63,
            },
            "You forgot the 2 in the exponent: pair $i$ has $\\theta^{2i/d_k}$.": {
                "base 500,000": 70,
                "base 10,000": 100,
            },
        },
        why="The larger base leaves more pairs with unseen angles, not fewer.",
    ),
    "ex-long-average": Numbers(
        right={"at 512": 0.125 + 0.875 / 4, "at 128": 0.625},
        wrong={
            "You forgot the guesses. Of the facts it does not see, the model still gets a quarter.": {
                "at 512": 0.125,
                "at 128": 0.5,
            },
            "It guesses only where it does not see the fact: add $\\frac14$ of *those* cases.": {
                "at 512": 0.375,
                "at 128": 0.75,
            },
            "That is a model that sees nothing. This one sees the fact in $64/T$ of all cases.": {
                "at 512": 0.25,
                "at 128": 0.25,
            },
        },
        tolerance=0.0006,
        why="One number hides where it comes from. By distance it would be a step from 1 to 0.25.",
    ),
    "ex-long-respace": Numbers(
        right={"new distances": 14},
        wrong={
            "Pair by pair no angle is new. But the model sees all eight pairs at once, and together they never stood "
            "as they do at distance 1.": {"new distances": 0},
            "These are the old ones: at 8 and 16 the pairs stand as they stood at 1 and 2.": {"new distances": 2},
            "At the multiples of 8 all pairs stand as they did at 1, 2, ... before.": {"new distances": 16},
        },
        why="All but the multiples of 8. That is why interpolated models are trained a little more.",
    ),
    "ex-long-windows": Numbers(
        right={"layers": 35, "width": 129},
        wrong={
            "You divided by 16. Each layer adds 15 new tokens, since the token itself is in the window.": {
                "layers": 32
            },
            "34 layers reach $34\\cdot 15 + 1 = 511$. Round up.": {"layers": 34},
            "$w - 1$ must be at least $511/4$, which is 128 when rounded up; $w$ is one more.": {"width": 128},
            "Four layers with a window of 512 would reach 2,045. Each layer need only do its share.": {"width": 512},
        },
        why="That is how far they *can* reach. Whether they learn to hand things on is another question.",
    ),
    "ex-long-literal": Made(
        laws={
            "The reader must give an answer for each place: the shape is that of the tokens.": lambda reader: (
                torch.as_tensor(reader(_with_clues()[0])).shape == _with_clues()[0].shape
            ),
            "That is the fact token itself. Take its value, and make it an answer.": lambda reader: (
                not torch.equal(_answered(reader), _clues())
            ),
            "That is the bare value. The answers are the tokens from `hay.ANSWER` on.": lambda reader: (
                not torch.equal(_answered(reader), _values())
            ),
            "Your answers are no answers: these are the four tokens from `hay.ANSWER` on.": lambda reader: bool(
                ((_answered(reader) >= hay.ANSWER) & (_answered(reader) < hay.VOCABULARY)).all()
            ),
            "Some questions are answered wrongly. The clue stands *one place before* the question.": lambda reader: (
                torch.equal(_answered(reader), hay.ANSWER + _values())
            ),
        },
        example=lambda: _reader,
        wrong=lambda: [
            lambda tokens: _reader(tokens)[:, 1:],
            lambda tokens: tokens.roll(1, 1),
            lambda tokens: _reader(tokens) - hay.ANSWER,
            lambda tokens: hay.ANSWER + tokens.roll(1, 1) - hay.FACT + hay.VALUES * hay.KEYS,
            lambda tokens: hay.ANSWER + (tokens.roll(-1, 1) - hay.FACT) % hay.VALUES,
        ],
        why="It looks at one token. A needle test with shared words does not test the whole look.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-long-sharpen": "it reads a model that the chapter has trained, and asks what would be wrong with the best",
}
