"""What an encoder reads beside the words: the special tokens around a text, or around two.

BERT reads `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`, RoBERTa `<s> a </s>` and `<s> a </s></s> b </s>`. Which they are
is the tokenizer's to say; this library's own tokenizers add none.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from transformer_lib.checks import require
from transformer_lib.contract import checked


@checked
class Frame(NamedTuple):
    """The ids before a text, behind it, and between two of them; behind the second stand those of `after`."""

    before: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many tokens a text alone has more."""
        return len(self.before) + len(self.after)


@checked
class Cut(NamedTuple):
    """A text as ids, and for each the characters `start` to `end - 1` that it stands for: none, or also spaces."""

    ids: list[int]
    spans: list[tuple[int, int]]


@checked
def frame_of(ids: Sequence[int], sides: Sequence[int | None], name: str = "tokenizer") -> Frame:
    """The frame of a pair of texts, by which of its ids are of text 0, of text 1, and of neither (None)."""
    places = [[i for i, found in enumerate(sides) if found == side] for side in (0, 1)]
    first, second = places
    whole = len(ids) == len(sides) and all(place == list(range(place[0], place[-1] + 1)) for place in places if place)
    ordered = whole and bool(first and second) and first[-1] < second[0]
    require(ordered, name, "must put one text, then the other, between its special tokens", list(sides))
    parts = ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]
    return Frame(*(tuple(part) for part in parts))


@checked
def character_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of bytes as spans of characters: of every one that they hold a byte of; before the text there is none."""
    begins = list(accumulate((len(character.encode()) for character in text), initial=0))
    return [(bisect_right(begins, max(0, start)) - 1, bisect_left(begins, end)) for start, end in spans]
