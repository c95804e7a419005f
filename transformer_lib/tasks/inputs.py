"""How words and passages become the tokens that an encoder reads, whoever made its tokenizer.

A word is cut with a space in front, and so has the tokens that it has within a text, by every kind of tokenizer. Around
a sentence, and between a question and a passage, stand the special tokens of the tokenizer's `frame`: none and
`<|none|> question <|sep|> passage` in this library, `[CLS] question [SEP] passage [SEP]` for BERT.

Tokens of this library are runs of bytes, so that a token may begin or end within a character, and an answer within a
token; those of others may stand for a character that is spelled otherwise, or for none. All is settled outwards: the
tokens of an answer are the fewest that hold all of it, and the text of some tokens is every character of which they
hold a part, less the white space around. A piece of text that is cut into whole tokens therefore comes back as it was,
and any other with a little more.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from transformer_lib.checks import require, require_kind, require_positive
from transformer_lib.contract import checked
from transformer_lib.tasks.readable import CHARACTERS_PER_TOKEN
from transformer_lib.text.frame import Cut, Frame, character_spans
from transformer_lib.text.stored import AnyTokenizer
from transformer_lib.text.tokenizer import Tokenizer

NONE, SEPARATOR = "<|none|>", "<|sep|>"
SPECIAL_TOKENS = (NONE, SEPARATOR)
MOST_PIECES = 16  # of a word; an address of a thousand characters is as good as its beginning


@checked
def cut_words(words: Sequence[str], tokenizer: AnyTokenizer) -> list[list[int]]:
    """The pieces of each word, at least one and at most `MOST_PIECES`; `ValueError` for an empty word.

    A word in which the tokenizer sees nothing, as a control character, is one that it does not know.
    """
    for place, word in enumerate(words):
        require(word != "", f"words[{place}]", "must not be empty", word)
    beginnings = (" " + word[: MOST_PIECES * CHARACTERS_PER_TOKEN] for word in words)
    found = tokenizer.encode_batch(beginnings)
    return [ids[:MOST_PIECES] if ids else _nothing(tokenizer, words[i]) for i, ids in enumerate(found)]


@checked
def in_parts(pieces: Sequence[Sequence[int]], room: int) -> list[tuple[int, list[list[int]]]]:
    """The pieces of words in parts of at most `room` pieces, each as long as possible, with its first word's number.

    Of a word that is longer than a part the end is left out.
    """
    require_positive(room=room)
    parts: list[tuple[int, list[list[int]]]] = []
    length = room
    for place, word in enumerate(pieces):
        kept = list(word[:room])
        if length + len(kept) > room:
            parts.append((place, [kept]))
            length = len(kept)
        else:
            parts[-1][1].append(kept)
            length += len(kept)
    return parts


def _nothing(tokenizer: AnyTokenizer, text: str) -> list[int]:
    """What stands for a text without tokens."""
    require(tokenizer.unknown is not None, "tokenizer", "must have a token for what it does not know, as in", text)
    assert tokenizer.unknown is not None
    return [tokenizer.unknown]


@checked
class Pieces:
    """A text with its tokens, and the way from places in the one to places in the other."""

    def __init__(self, text: str, tokenizer: Tokenizer, spellings: Sequence[bytes]) -> None:
        """By a tokenizer of this library, whose ids spell these bytes; a space stands in front of the text."""
        ids = tokenizer.encode(" " + text)
        known = max(ids, default=0) < len(spellings)
        require(known, "spellings", "must be those of the tokenizer's ids", f"{len(spellings)} of them")
        ends = list(accumulate((len(spellings[i]) for i in ids), initial=-1))
        length = len(text.encode())
        require(ends[-1] == length, "spellings", f"must spell all {length} bytes of the text", ends[-1])
        self._set(text, Cut(ids, character_spans(text, list(pairwise(ends)))))

    @classmethod
    def of(cls, text: str, tokenizer: AnyTokenizer) -> "Pieces":
        """By a tokenizer of any kind, which says itself what its tokens stand for."""
        cut = tokenizer.cut(text)
        made = cls.__new__(cls)
        made._set(text, cut if cut.ids else Cut(_nothing(tokenizer, text), [(0, len(text))]))
        return made

    def _set(self, text: str, cut: Cut) -> None:
        self.text, self.ids = text, cut.ids
        self._starts = list(accumulate((start for start, _ in cut.spans), max))
        self._ends = list(accumulate((end for _, end in cut.spans), max))

    def tokens(self, start: int, end: int) -> tuple[int, int]:
        """The first and the last of the fewest tokens that hold the characters from `start` to `end - 1`.

        Characters that no token holds, as spaces for BERT, count to the token behind them.
        """
        inside = 0 <= start < end <= len(self.text)
        require(inside, "start and end", f"must mark a part of {len(self.text)} characters", (start, end))
        first = min(bisect_right(self._ends, start), len(self.ids) - 1)
        return first, max(first, bisect_left(self._starts, end) - 1)

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Start and end of the characters that the tokens hold some of, without the white space around them."""
        inside = 0 <= first <= last < len(self.ids)
        require(inside, "first and last", f"must be among {len(self.ids)} tokens", (first, last))
        start, end = self._starts[first], self._ends[last]
        piece = self.text[start:end]
        start += len(piece) - len(piece.lstrip())
        return start, max(start, end - len(piece) + len(piece.rstrip()))


@checked
class PairForm:
    """How a question and a passage are put to a reader: with this library's own tokens between them, or the frame's.

    `marks_shared` says whether a token of the passage that the question has, too, is marked: that is a segment of its
    own, which no published encoder knows. `ValueError` for a tokenizer that puts nothing between two texts.
    """

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self.tokenizer = tokenizer
        self._spellings: Sequence[bytes] | None = None
        self.frame = tokenizer.frame
        self.marks_shared = False
        if not (self.frame.before and self.frame.between):
            lacking = [name for name in SPECIAL_TOKENS if name not in tokenizer.special_tokens]
            require(not lacking, "tokenizer", f"must have {' and '.join(lacking)}", list(tokenizer.special_tokens))
            require_kind(tokenizer, Tokenizer, "tokenizer", "a Tokenizer, where its own tokens are between two texts")
            assert isinstance(tokenizer, Tokenizer)
            none, separator = (tokenizer.special_tokens[name] for name in SPECIAL_TOKENS)
            self.frame, self.marks_shared = Frame((none,), (separator,)), True
            self._spellings = tokenizer.to_bpe().vocabulary

    def passage(self, text: str) -> Pieces:
        """The passage's tokens."""
        if self._spellings is None:
            return Pieces.of(text, self.tokenizer)
        assert isinstance(self.tokenizer, Tokenizer)
        return Pieces(text, self.tokenizer, self._spellings)

    def question(self, text: str) -> list[int]:
        """All that stands before the passage."""
        ids = self.tokenizer.encode(text if self._spellings is None else " " + text)
        return [*self.frame.before, *ids, *self.frame.between]
