"""The small languages against their habits, and the entropy against counting."""

import math
from collections import Counter

import pytest
import torch

from transformer_lib.data.toy_languages import (
    DEEDS,
    HABITS,
    OBJECTS,
    ORDERS,
    SENTENCE,
    THINGS,
    TRAITS,
    WORDS,
    floor,
    said,
    speech,
)

PLACES = {"s": THINGS, "o": THINGS, "t": TRAITS, "u": TRAITS, "v": DEEDS, ".": (".",)}


def spoken(rows: int, seed: int = 0) -> list[tuple[int, list[str]]]:
    """Sentences with the number of their language."""
    text = speech(rows, 4, generator=torch.Generator().manual_seed(seed))
    words = [said(row).split() for row in text.tokens]
    rows_of = zip(text.language.tolist(), words, strict=True)
    return [(number, row[i : i + SENTENCE]) for number, row in rows_of for i in range(0, len(row), SENTENCE)]


def test_each_language_has_its_order_of_words() -> None:
    assert len(set(WORDS)) == len(WORDS) == len(THINGS) + len(DEEDS) + len(TRAITS) + 1
    for language, sentence in spoken(100):
        assert all(word in PLACES[place] for word, place in zip(sentence, ORDERS[language], strict=True))


def test_things_have_their_habits() -> None:
    traits: dict[tuple[int, str], Counter[str]] = {}
    objects: dict[tuple[int, str, str], Counter[str]] = {}
    for language, sentence in spoken(1500):
        part = dict(zip(ORDERS[language], sentence, strict=True))
        traits.setdefault((language, part["s"]), Counter())[part["t"]] += 1
        traits.setdefault((language, part["o"]), Counter())[part["u"]] += 1
        objects.setdefault((language, part["s"], part["v"]), Counter())[part["o"]] += 1
    assert {len(found) for found in traits.values()} == {HABITS}
    assert {len(found) for found in objects.values()} == {OBJECTS}
    assert len(objects) == len(ORDERS) * len(THINGS) * HABITS
    assert len({tuple(sorted(traits[language, "fox"])) for language in range(len(ORDERS))}) > 1


def test_the_floor_is_the_entropy_that_is_counted() -> None:
    """Of the sentences of one language: what is drawn is even, so their number says it."""
    seen = {tuple(sentence) for language, sentence in spoken(6_000) if language == 2}
    assert len(seen) == len(THINGS) * HABITS**3 * OBJECTS
    assert floor() == pytest.approx(math.log(len(seen)) / SENTENCE)


def test_the_same_generator_gives_the_same_texts_and_wrong_ids_are_refused() -> None:
    first, again = (speech(3, 2, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first.tokens, again.tokens) and torch.equal(first.language, again.language)
    with pytest.raises(ValueError, match="tokens must be from 0 to"):
        said(torch.tensor([len(WORDS)]))
    with pytest.raises(ValueError, match="sentences must be "):
        speech(1, 0, generator=torch.Generator())
    with pytest.raises(ValueError, match="batch \\* sentences must be at most"):
        speech(1 << 20, 1 << 10, generator=torch.Generator())
