"""Other names in the same sentence: what is marked stays true, and a model can no longer know it from the name.

A few hundred sentences hold few names, and a model that is trained on them learns the names by heart. Each of these
changes the names of a sentence every time it comes up. They draw from torch's global generator, whose state is part of
a checkpoint. Left out: changing anything else, since nobody has said what would then still be true.
"""

import string
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity, check_annotated

Words = tuple[str, ...]
Change = Callable[[Annotated], Annotated]
LETTERS = {True: string.ascii_uppercase, False: string.ascii_lowercase}


@checked
def swapped(examples: Sequence[Annotated], probability: float) -> Change:
    """Each entity becomes, with this probability, one of its kind from the examples, each as often as there."""
    _check(probability)
    names: dict[str, list[Words]] = defaultdict(list)
    for example in examples:
        check_annotated(example)
        for kind, start, end in example.entities:
            names[kind].append(example.words[start:end])

    def other(kind: str, words: Words) -> Words:
        if _random() < probability and kind in names:
            return names[kind][int(_random() * len(names[kind]))]
        return words

    return lambda example: rename(example, other)


@checked
def disguised(probability: float) -> Change:
    """Each capitalised word of an entity becomes, with this probability, random letters in its upper and lower case."""
    _check(probability)

    def letters(word: str) -> str:
        if not word[:1].isupper() or _random() >= probability:
            return word
        drawn = torch.randint(26, (len(word),)).tolist()
        return "".join(LETTERS[old.isupper()][new] for old, new in zip(word, drawn, strict=True))

    return lambda example: rename(example, lambda _, words: tuple(map(letters, words)))


@checked
def rename(example: Annotated, new: Callable[[str, Words], Words]) -> Annotated:
    """The sentence with `new(kind, words)` in the place of each entity; entities may get longer or shorter.

    `new` gives a tuple of at least one word.
    """
    check_annotated(example)
    words: list[str] = []
    moved: dict[int, Entity] = {}
    place = 0
    for index, (kind, start, end) in sorted(enumerate(example.entities), key=lambda item: item[1].start):
        words += example.words[place:start]
        first = len(words)
        name = new(kind, example.words[start:end])
        require_kind(name, tuple, "new", "a function that gives a tuple of words")
        words += name
        moved[index] = Entity(kind, first, len(words))
        place = end
    words += example.words[place:]
    renamed = Annotated(tuple(words), tuple(moved[index] for index in sorted(moved)), example.relations)
    check_annotated(renamed)
    return renamed


def _random() -> float:
    return torch.rand(()).item()


def _check(probability: float) -> None:
    require(0 <= probability <= 1, "probability", "must be from 0 to 1", probability)
