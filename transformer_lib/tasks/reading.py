"""A question and a passage as tokens for a reader, and the windows in which a long passage is read.

The reader's input is `<|none|> question <|sep|> passage`, or what a published encoder reads instead (`inputs.py`, which
also tells tokens and characters apart). A span that is the first token alone means "no answer here", as in BERT for
SQuAD 2.0 (Devlin et al. 2018). A passage longer than the model is read in windows that overlap.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.batching import pad
from transformer_lib.data.examples import Question, check_question
from transformer_lib.tasks.inputs import NONE as NONE
from transformer_lib.tasks.inputs import SEPARATOR as SEPARATOR
from transformer_lib.tasks.inputs import SPECIAL_TOKENS as SPECIAL_TOKENS
from transformer_lib.tasks.inputs import PairForm
from transformer_lib.tasks.inputs import Pieces as Pieces
from transformer_lib.text.stored import AnyTokenizer

BEHIND = 3  # the segment of what stands behind the passage


@checked
class Window(NamedTuple):
    """What the reader sees at once: all of `tokens`, from `body` on the passage's tokens from number `first` on.

    The last `behind` of them are special tokens.
    """

    tokens: list[int]
    body: int
    first: int
    behind: int = 0


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
    which is a feature of the reader of Chen et al. (2017); they are 3 behind the passage, where no answer can be.
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

    def __init__(self, tokenizer: AnyTokenizer, *, max_length: int, overlap: int | None = None) -> None:
        require_positive(max_length=max_length)
        require(overlap is None or overlap >= 0, "overlap", "must not be negative", overlap)
        self.tokenizer, self.max_length, self.overlap = tokenizer, max_length, overlap
        self.form = PairForm(tokenizer)

    def pieces(self, text: str) -> Pieces:
        """The text's tokens."""
        return self.form.passage(text)

    def windows(self, question: str, passage: Pieces) -> list[Window]:
        """The windows on a passage, the first at its beginning; one is enough for a passage that fits.

        `ValueError` for a question or passage of nothing but white space, or a question that leaves the passage less
        than half of the room.
        """
        require(bool(question.strip()), "question", "must not be empty", question)
        require(bool(passage.text.strip()), "passage", "must not be empty", passage.text)
        head, tail = self.form.question(question), list(self.form.frame.after)
        room = self.max_length - len(head) - len(tail)
        rule = f"must leave half of max_length={self.max_length} to the passage"
        require(2 * room >= self.max_length, "question", rule, question)
        overlap = room // 4 if self.overlap is None else self.overlap
        require(
            overlap < room, "overlap", f"must be below the {room} tokens that a window has for the passage", overlap
        )
        last = max(0, len(passage.ids) - room)
        firsts = [*range(0, last, room - overlap), last]
        parts = ((first, passage.ids[first : first + room]) for first in firsts)
        return [Window(head + part + tail, len(head), first, len(tail)) for first, part in parts]

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
        tokens, valid = pad([example.window.tokens for example in examples], self.form.frame.between[0])
        marked = self.form.marks_shared
        segments = pad([_segments(example.window, marked) for example in examples], 0).tokens
        targets = torch.tensor([[example.start, example.end] for example in examples])
        return ReadingBatch(tokens, valid, segments, targets)


def _segments(window: Window, marked: bool) -> list[int]:
    asked = set(window.tokens[: window.body]) if marked else set()
    passage = window.tokens[window.body : len(window.tokens) - window.behind]
    return [0] * window.body + [1 + (token in asked) for token in passage] + [BEHIND] * window.behind


def _aim(window: Window, span: tuple[int, int] | None) -> Example:
    """The window with its target; an answer that it holds only in part is not in it."""
    if span is None:
        return Example(window, 0, 0)
    start, end = (place - window.first + window.body for place in span)
    inside = window.body <= start and end < len(window.tokens) - window.behind
    return Example(window, start, end) if inside else Example(window, 0, 0)
