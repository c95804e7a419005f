"""Special tokens around texts, bytes as characters, and tokenizers that come back from their one file."""

import json
from pathlib import Path

import pytest

from tests.contract.calls.text import _pieces
from tests.oracles import rejects
from transformer_lib.text.bpe import BPE
from transformer_lib.text.frame import Frame, character_spans, frame_of
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.stored import read_stored
from transformer_lib.text.tokenizer import Tokenizer


def test_a_frame_by_hand() -> None:
    found = frame_of([7, 1, 1, 8, 8, 2, 9], [None, 0, 0, None, None, 1, None])
    assert found == Frame((7,), (8, 8), (9,)) and found.size == 2
    assert Tokenizer.from_bpe(BPE([])).frame == Frame() and Frame().size == 0


@pytest.mark.parametrize("sides", [[1, 0], [0, 1, 0], [0, None], [0, 1, 1]])
def test_what_is_no_frame(sides: list[int | None]) -> None:
    with rejects("mine", "must put one text, then the other"):
        frame_of([1] * (3 if sides != [0, 1, 1] else 2), sides, "mine")


def test_bytes_are_settled_outwards() -> None:
    # a 1, é 2, 東 3 bytes
    spans = character_spans("aé東", [(-1, 1), (1, 2), (2, 4), (3, 6), (6, 6)])
    assert spans == [(0, 1), (1, 2), (1, 3), (2, 3), (3, 3)]


def test_a_model_of_sentence_piece_comes_back(tmp_path: Path) -> None:
    first = _pieces()
    framed = SentencePiece(
        first._model, ids={"<unk>": 9, "a": 4, "b": 5, "\u2581": 6}, before=[4], after=[5], names=["a"]
    )
    for number, mine in enumerate((first, framed)):
        file = tmp_path / f"{number}.json"
        mine.save(file)
        again = read_stored(file)
        assert isinstance(again, SentencePiece)
        for text in ("ab a", "xa", ""):
            assert again.encode(text, special=True) == mine.encode(text, special=True)
            assert again.cut(text) == mine.cut(text) and again.cut(text).ids == mine.encode(text)
        assert again.frame == mine.frame and again.unknown == mine.unknown
    assert framed.frame == Frame((4,), (5, 5), (5,))


def test_what_is_no_stored_tokenizer(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    _pieces().save(file)
    record = json.loads(file.read_text())
    for changes, words in (
        ({"more": 1}, "must have the fields"),
        ({"model": "?"}, "must be a tokenizer that was saved"),
        ({"model": None}, "must be a tokenizer that was saved"),
        ({"model": record["model"][:40]}, "must be a model of SentencePiece"),
        ({"unknown": "a"}, "must be a tokenizer that was saved"),
    ):
        file.write_text(json.dumps(record | changes))
        with rejects("tokenizer.json", words):
            read_stored(file)
    file.write_text("[1]")
    with rejects("tokenizer.json must be a JSON object"):
        read_stored(file)
