"""A question and a passage as tokens for a reader, and spans of tokens as pieces of the passage.

The reader's input is `<|none|> question <|sep|> passage`. A span that is the first token alone means "no answer here",
as in BERT for SQuAD 2.0 (Devlin et al. 2018). A passage longer than the model is read in windows that overlap. A text
is cut with a space in front, so that its first word has the tokens that it has elsewhere.

Tokens are runs of bytes, so that a token may begin or end within a character, and an answer within a token. Both are
settled outwards: the tokens of an answer are the fewest that hold all of it, and the text of some tokens is every
character of which they hold a byte, less the white space around. A piece of text that is cut into whole tokens
therefore comes back as it was, and any other with a little more.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.batching import pad
from transformer_lib.data.examples import Question, check_question
from transformer_lib.text.tokenizer import Tokenizer

NONE, SEPARATOR = "<|none|>", "<|sep|>"
SPECIAL_TOKENS = (NONE, SEPARATOR)


@checked
class Pieces:
    """A text with its tokens, and the way from places in the one to places in the other."""

    def __init__(self, text: str, tokenizer: Tokenizer, spellings: Sequence[bytes]) -> None:
        self.text, self.ids = text, tokenizer.encode(" " + text)
        # Where each token and each character begins, in bytes of the text; last comes its length.
        known = max(self.ids, default=0) < len(spellings)
        require(known, "spellings", "must be those of the tokenizer's ids", f"{len(spellings)} of them")
        self._tokens = list(accumulate((len(spellings[i]) for i in self.ids), initial=-1))
        self._characters = list(accumulate((len(character.encode()) for character in text), initial=0))
        length = self._characters[-1]
        require(self._tokens[-1] == length, "spellings", f"must spell all {length} bytes of the text", self._tokens[-1])

    def tokens(self, start: int, end: int) -> tuple[int, int]:
        """The first and the last of the fewest tokens that hold the characters from `start` to `end - 1`."""
        inside = 0 <= start < end <= len(self.text)
        require(inside, "start and end", f"must mark a part of {len(self.text)} characters", (start, end))
        first, last = self._characters[start], self._characters[end] - 1
        return bisect_right(self._tokens, first) - 1, bisect_right(self._tokens, last) - 1

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Start and end of the characters that the tokens hold some of, without the white space around them."""
        inside = 0 <= first <= last < len(self.ids)
        require(inside, "first and last", f"must be among {len(self.ids)} tokens", (first, last))
        start = bisect_right(self._characters, max(0, self._tokens[first])) - 1
        end = bisect_left(self._characters, self._tokens[last + 1])
        piece = self.text[start:end]
        start += len(piece) - len(piece.lstrip())
        return start, max(start, end - len(piece) + len(piece.rstrip()))


@checked
class Window(NamedTuple):
    """What the reader sees at once: all of `tokens`, from `body` on the passage's tokens from number `first` on."""

    tokens: list[int]
    body: int
    first: int


@checked
class Example(NamedTuple):
    """A window with the span to be found, as indices into its tokens; (0, 0) if the answer is not in this window."""

    window: Window
    start: int
    end: int


@checked
class ReadingBatch(NamedTuple):
    """Windows in one tensor: `valid` marks the real tokens, `targets` are start and end.

    `segments` are 0 in the question, 1 in the passage, and 2 at a token of the passage that the question has as well,
    which is a feature of the reader of Chen et al. (2017).
    """

    tokens: Int[Tensor, "batch time"]
    valid: Bool[Tensor, "batch time"]
    segments: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch 2"]


@checked
class Layout:
    """Lays questions and passages out for a reader of at most `max_length` tokens.

    Windows share `overlap` tokens of the passage with their neighbours (None: a quarter of what a window holds of it),
    so that an answer of at most that length stands whole in one of them.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, overlap: int | None = None) -> None:
        require_positive(max_length=max_length)
        for name in SPECIAL_TOKENS:
            require(name in tokenizer.special_tokens, "tokenizer", f"must have {name}", list(tokenizer.special_tokens))
        require(overlap is None or overlap >= 0, "overlap", "must not be negative", overlap)
        self.tokenizer, self.max_length, self.overlap = tokenizer, max_length, overlap
        self._none, self._separator = (tokenizer.special_tokens[name] for name in SPECIAL_TOKENS)
        self._spellings = tokenizer.to_bpe().vocabulary

    def pieces(self, text: str) -> Pieces:
        """The text's tokens."""
        return Pieces(text, self.tokenizer, self._spellings)

    def windows(self, question: str, passage: Pieces) -> list[Window]:
        """The windows on a passage, the first at its beginning; one is enough for a passage that fits.

        `ValueError` for a question or passage of nothing but white space, or a question that leaves the passage less
        than half of the room.
        """
        require(bool(question.strip()), "question", "must not be empty", question)
        require(bool(passage.text.strip()), "passage", "must not be empty", passage.text)
        head = [self._none, *self.tokenizer.encode(" " + question), self._separator]
        room = self.max_length - len(head)
        rule = f"must leave half of max_length={self.max_length} to the passage"
        require(2 * room >= self.max_length, "question", rule, question)
        overlap = room // 4 if self.overlap is None else self.overlap
        require(
            overlap < room, "overlap", f"must be below the {room} tokens that a window has for the passage", overlap
        )
        last = max(0, len(passage.ids) - room)
        firsts = [*range(0, last, room - overlap), last]
        return [Window(head + passage.ids[first : first + room], len(head), first) for first in firsts]

    def examples(self, questions: Sequence[Question]) -> list[Example]:
        """Every window of every question, with its first answer; `ValueError` for an answer outside its passage."""
        found = []
        for question in questions:
            check_question(question)
            passage = self.pieces(question.context)
            span = None
            if question.answers:
                text, start = question.answers[0]
                span = passage.tokens(start, start + len(text))
            found += [_aim(window, span) for window in self.windows(question.question, passage)]
        return found

    def collate(self, examples: Sequence[Example]) -> ReadingBatch:
        """The windows as rows, filled up to the longest."""
        tokens, valid = pad([example.window.tokens for example in examples], self._separator)
        segments = pad([_segments(example.window) for example in examples], 0).tokens
        targets = torch.tensor([[example.start, example.end] for example in examples])
        return ReadingBatch(tokens, valid, segments, targets)


def _segments(window: Window) -> list[int]:
    asked = set(window.tokens[: window.body])
    return [0] * window.body + [1 + (token in asked) for token in window.tokens[window.body :]]


def _aim(window: Window, span: tuple[int, int] | None) -> Example:
    """The window with its target; an answer that it holds only in part is not in it."""
    if span is None:
        return Example(window, 0, 0)
    start, end = (place - window.first + window.body for place in span)
    inside = window.body <= start and end < len(window.tokens)
    return Example(window, start, end) if inside else Example(window, 0, 0)
