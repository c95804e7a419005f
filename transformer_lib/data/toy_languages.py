"""Authored data: four small languages that share every word and differ in grammar and in what goes with what.

A sentence says what a thing of some trait does to another: `red fox sees old king .` Each language has its own order
of the six words, and its own habits: which two traits a thing can have, which two deeds it does, and which two things
it does each of them to. All words stand in all languages, so a word alone does not tell which one is spoken.
Left out: words that belong to one language, and sentences that go on from the one before.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked

THINGS = (
    *("ant", "bear", "bird", "boy", "cat", "dog", "fish", "fox"),
    *("girl", "goat", "hen", "king", "lion", "mouse", "owl", "queen"),
)
DEEDS = ("asks", "bites", "calls", "draws", "feeds", "finds", "helps", "hides")
TRAITS = ("big", "cold", "fat", "good", "old", "sad", "shy", "young")
WORDS = (*THINGS, *DEEDS, *TRAITS, ".")
ORDERS = ("tsvuo.", "stouv.", "vtsuo.", "ouvst.")  # subject, its trait, verb, object, its trait u, full stop
SENTENCE = 6  # words
HABITS, OBJECTS = 2, 2  # of a thing: traits and deeds; of a thing's deed: to whom
MOST_TOKENS = 1 << 24


@checked
class Speech(NamedTuple):
    """Texts of whole sentences, each in the one language that `language` numbers from 0 to 3."""

    tokens: Int[Tensor, "batch time"]
    language: Int[Tensor, " batch"]


@checked
def speech(batch: int, sentences: int, *, generator: torch.Generator) -> Speech:
    """Random texts of so many sentences; every choice in them is even. Token ids are places in `WORDS`."""
    require_positive(batch=batch, sentences=sentences)
    size = batch * sentences * SENTENCE
    require(size <= MOST_TOKENS, "batch * sentences", f"must be at most {MOST_TOKENS // SENTENCE}", batch * sentences)
    traits, deeds, objects = _habits()
    shape = (batch, sentences)

    def draw(choices: int) -> Tensor:
        return torch.randint(choices, shape, generator=generator)

    language = torch.randint(len(ORDERS), (batch,), generator=generator)
    spoken = language[:, None].expand(shape)
    subject, deed = draw(len(THINGS)), draw(HABITS)
    target = objects[spoken, subject, deed, draw(OBJECTS)]
    words = {
        "s": subject,
        "t": traits[spoken, subject, draw(HABITS)] + len(THINGS) + len(DEEDS),
        "v": deeds[spoken, subject, deed] + len(THINGS),
        "o": target,
        "u": traits[spoken, target, draw(HABITS)] + len(THINGS) + len(DEEDS),
        ".": torch.full(shape, len(WORDS) - 1),
    }
    said = torch.stack([torch.stack([words[place] for place in order], dim=-1) for order in ORDERS])
    return Speech(said[language, torch.arange(batch)].flatten(1), language)


@checked
def floor() -> float:
    """Nats per word of one who knows the language that is spoken and all its habits; nobody can do better.

    The words of a sentence are as uncertain together in any order: one thing of 16, then four even choices of 2.
    """
    return math.log(len(THINGS) * HABITS**3 * OBJECTS) / SENTENCE


@checked
def said(tokens: Int[Tensor, " time"]) -> str:
    """The words of one text."""
    require(not tokens.is_meta, "tokens", "must hold numbers", "a tensor on the meta device")
    ids = tokens.tolist()
    inside = all(0 <= index < len(WORDS) for index in ids)
    require(inside, "tokens", f"must be from 0 to {len(WORDS) - 1}", ids)
    return " ".join(WORDS[index] for index in ids)


@cache
def _habits() -> tuple[Tensor, Tensor, Tensor]:
    """The traits and the deeds of each thing, and to whom it does each, by language; the same on every machine."""
    generator = torch.Generator().manual_seed(0)

    def distinct(rows: tuple[int, ...], most: int, wanted: int) -> Tensor:
        return torch.rand(*rows, most, generator=generator).argsort(dim=-1)[..., :wanted]

    things = (len(ORDERS), len(THINGS))
    return (
        distinct(things, len(TRAITS), HABITS),
        distinct(things, len(DEEDS), HABITS),
        distinct((*things, HABITS), len(THINGS), OBJECTS),
    )
