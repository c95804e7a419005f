"""Tokens and characters against counting bytes; windows against the whole."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import rejects
from transformer_lib.data.examples import Answer, Question
from transformer_lib.tasks.reading import SPECIAL_TOKENS, Layout, Pieces
from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import Tokenizer

TEXTS = [
    "Anna lives in Oslo. Boris lives in Rome, Clara in Riga.",
    "安娜住在奥斯陆。鲍里斯住在罗马。",
    "naïve café 🙂 ok",
]
TOKENIZER = Tokenizer.train([" " + text for text in TEXTS * 3], 300, SPECIAL_TOKENS)
NONE, SEPARATOR = (TOKENIZER.special_tokens[name] for name in SPECIAL_TOKENS)
BYTES = Tokenizer.from_bpe(BPE([], SPECIAL_TOKENS))  # every token is one byte: most end within a character
JOINED = Tokenizer.train(
    ["x 奥斯陆罗马奥斯陆罗马"], 258 + 4, SPECIAL_TOKENS
)  # tokens that begin and end within characters
TOKENIZERS = [TOKENIZER, BYTES, JOINED]


def pieces(text: str, tokenizer: Tokenizer) -> Pieces:
    return Layout(tokenizer, max_length=100).pieces(text)


def spelled(piece: Pieces, tokenizer: Tokenizer, first: int, last: int) -> set[int]:
    """The characters of which the tokens hold a byte, by going through every byte."""
    vocabulary = tokenizer.to_bpe().vocabulary
    owner = [index for index, i in enumerate(piece.ids) for _ in vocabulary[i]][1:]  # the first byte is the space
    character = [index for index, c in enumerate(piece.text) for _ in c.encode()]
    return {c for token, c in zip(owner, character, strict=True) if first <= token <= last}


@given(text=st.text("ab .奥斯陆é🙂", min_size=1, max_size=12), data=st.data(), tokenizer=st.sampled_from(TOKENIZERS))
def test_spans_are_settled_outwards(text: str, data: st.DataObject, tokenizer: Tokenizer) -> None:
    piece = pieces(text, tokenizer)
    first = data.draw(st.integers(0, len(piece.ids) - 1))
    last = data.draw(st.integers(first, len(piece.ids) - 1))
    start, end = piece.characters(first, last)
    held = spelled(piece, tokenizer, first, last)
    assert text[start:end] == "".join(text[i] for i in sorted(held)).strip()
    assert set(range(start, end)) <= held


@given(text=st.text("ab .奥斯陆é🙂", min_size=1, max_size=12), data=st.data(), tokenizer=st.sampled_from(TOKENIZERS))
def test_the_tokens_of_a_piece_hold_it_and_no_fewer_do(text: str, data: st.DataObject, tokenizer: Tokenizer) -> None:
    piece = pieces(text, tokenizer)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    first, last = piece.tokens(start, end)
    wanted = set(range(start, end))
    assert wanted <= spelled(piece, tokenizer, first, last)
    fewer = [(first + 1, last), (first, last - 1)] if first < last else []
    for a, b in fewer:
        vocabulary = tokenizer.to_bpe().vocabulary
        ends = [-1]
        for i in piece.ids:
            ends.append(ends[-1] + len(vocabulary[i]))
        inside = range(len(text[:start].encode()), len(text[:end].encode()))
        assert not (ends[a] <= inside[0] and inside[-1] < ends[b + 1])


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
def test_text_that_was_found_is_found_again(text: str, tokenizer: Tokenizer) -> None:
    piece = pieces(text, tokenizer)
    for first in range(len(piece.ids)):
        for last in range(first, min(first + 3, len(piece.ids))):
            start, end = piece.characters(first, last)
            if start < end:
                again = piece.characters(*piece.tokens(start, end))
                assert again[0] <= start and end <= again[1]
                if tokenizer is BYTES or text.isascii():  # no token holds parts of two characters
                    assert again == (start, end)


def test_a_token_that_ends_within_a_character_brings_the_whole_character() -> None:
    piece = pieces("奥斯", BYTES)
    assert piece.ids == list(b" \xe5\xa5\xa5\xe6\x96\xaf")
    assert piece.characters(2, 2) == (0, 1) and piece.characters(3, 4) == (0, 2)
    assert piece.tokens(1, 2) == (4, 6)
    assert piece.characters(0, 0) == (0, 0)  # the space in front alone is no text


def test_one_window_holds_question_and_passage() -> None:
    layout = Layout(TOKENIZER, max_length=100)
    (window,) = layout.windows("Where?", layout.pieces("Anna lives."))
    expected = [NONE, *TOKENIZER.encode(" Where?"), SEPARATOR, *TOKENIZER.encode(" Anna lives.")]
    assert window.tokens == expected
    assert (window.tokens[window.body :], window.first) == (TOKENIZER.encode(" Anna lives."), 0)


@pytest.mark.parametrize("overlap", [None, 0, 1, 7])
@pytest.mark.parametrize("length", [1, 17, 18, 19, 40, 200])
def test_windows_cover_a_long_passage_and_overlap(overlap: int | None, length: int) -> None:
    layout = Layout(BYTES, max_length=20, overlap=overlap)
    passage = layout.pieces("abcdefghij" * 20)
    passage.ids = passage.ids[:length]
    windows = layout.windows("?", passage)
    room = 20 - 4
    ends = [window.first + len(window.tokens) - window.body for window in windows]
    assert windows[0].first == 0 and ends[-1] == length
    assert all(len(window.tokens) <= 20 for window in windows)
    assert all(window.tokens[window.body :] == passage.ids[window.first :][:room] for window in windows)
    shared = [end - later.first for end, later in zip(ends, windows[1:], strict=False)]
    wanted = room // 4 if overlap is None else overlap
    assert all(count == wanted for count in shared[:-1]) and all(count >= wanted for count in shared[-1:])
    assert all(a.first < b.first for a, b in pairwise(windows))


def test_a_window_that_holds_the_answer_only_in_part_says_none() -> None:
    layout = Layout(BYTES, max_length=20, overlap=8)
    question = Question("1", "abcdefghijklmnopqrstuvwxyz", "?", (Answer("ijklmnop", 8),))
    spans = []
    for window, start, end in layout.examples([question]):
        inside = bytes(window.tokens[start : end + 1]).decode() if start else ""
        spans.append(inside)
        assert inside in ("", "ijklmnop")
        assert bool(inside) == ("ijklmnop" in bytes(window.tokens[window.body :]).decode())
    assert "ijklmnop" in spans and "" in spans
    assert all(example[1:] == (0, 0) for example in layout.examples([question._replace(answers=())]))


def test_a_batch_marks_question_passage_and_shared_tokens() -> None:
    layout = Layout(BYTES, max_length=30)
    questions = [Question("1", "bcb", "b", (Answer("c", 1),)), Question("2", "z", "xyz", ())]
    batch = layout.collate(layout.examples(questions))
    assert batch.tokens.shape == (2, 8)
    assert batch.valid.tolist() == [[True] * 8, [True] * 8]
    assert batch.segments.tolist() == [[0, 0, 0, 0, 2, 2, 1, 2], [0, 0, 0, 0, 0, 0, 2, 2]]
    assert batch.targets.tolist() == [[6, 6], [0, 0]]
    longer = layout.collate(layout.examples([questions[0], questions[1]._replace(question="x")]))
    assert longer.valid[1].tolist() == [True] * 6 + [False] * 2 and torch.all(longer.segments[1, 6:] == 0)


def test_bad_input() -> None:
    layout = Layout(BYTES, max_length=20)
    text = layout.pieces("abc")
    for question in ("", " \n"):
        with rejects("question must not be empty"):
            layout.windows(question, text)
    for passage in ("", "  "):
        with rejects("passage must not be empty"):
            layout.windows("?", layout.pieces(passage))
    with rejects("question must leave half of max_length=20", "aaaaaaaa"):
        layout.windows("a" * 8, text)
    with rejects("answers", "passage"):
        layout.examples([Question("1", "abc", "?", (Answer("d", 3),))])
    with rejects("overlap", "below", "16"):
        Layout(BYTES, max_length=20, overlap=16).windows("?", text)
    with rejects("overlap", "negative", "-1"):
        Layout(BYTES, max_length=20, overlap=-1)
    with rejects("tokenizer", "<|none|>"):
        Layout(Tokenizer.from_bpe(BPE([])), max_length=20)
    with rejects("text", "surrogate"):
        layout.pieces("\ud800")
    with rejects("spellings must be those of the tokenizer's ids"):
        Pieces("abc", BYTES, [b"a"])
    with rejects("spellings must spell all 3 bytes of the text"):
        Pieces("abc", BYTES, [b"ab"] * 256)
    for start, end in ((-1, 2), (0, 0), (2, 1), (0, 4)):
        with rejects("start and end must mark a part of 3 characters", str((start, end))):
            text.tokens(start, end)
    for first, last in ((-1, 2), (2, 1), (0, 4)):
        with rejects("first and last must be among 4 tokens", str((first, last))):
            text.characters(first, last)
