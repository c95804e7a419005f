"""A damaged model of SentencePiece is refused by a `ValueError` that names the file, and never ends the process."""

import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece

from tests.oracles import rejects
from tests.text.published import piece_model, trained
from transformer_lib.text.piece_file import read_piece_file
from transformer_lib.text.pieces import SentencePiece

FUZZED = 160


def varint(value: int) -> bytes:
    low = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([byte | 0x80 for byte in low[:-1]] + low[-1:])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text: str | bytes, kind: int = 1, score: float = 0.0) -> bytes:
    spelled = text.encode() if isinstance(text, str) else text
    return field(1, field(1, spelled) + varint(2 << 3 | 5) + struct.pack("<f", score) + field(3, kind))


UNKNOWN, A = piece("<unk>", 2), piece("a")
TABLE = bytes(1024)


def table(size: int = 1024, units: bytes = TABLE, texts: bytes = b"a\0") -> bytes:
    return field(3, field(2, size.to_bytes(4, "little") + units + texts))


def one_unit(unit: int) -> bytes:
    return unit.to_bytes(4, "little") + TABLE[4:]


GOOD = UNKNOWN + A + piece("\u2581")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "pieces must be there"),
        (b"\xff", "must end, within ten bytes"),
        (b"\x80" * 11, "must end, within ten bytes"),
        (b"\x0b", "must have the kind 0, 1, 2 or 5, got 3"),
        (field(1, b"abc")[:-1], "must end within"),
        (varint(1 << 3 | 2) + varint(2**40), "must end within"),
        (field(1, 7), "field 1 must hold bytes"),
        (A, "pieces must hold one for what is unknown, got []"),
        (UNKNOWN + piece("x", 2), "pieces must hold one for what is unknown"),
        (UNKNOWN + A + A, "piece 2 must be new, got 'a'"),
        (UNKNOWN + piece(b"\xff"), "piece 1 must be UTF-8"),
        (UNKNOWN + piece(""), "piece 1 must have a text"),
        (UNKNOWN + piece("a\0b"), "piece 1 must have a text without null"),
        (UNKNOWN + piece("a", 7), "a type from 1 to 6"),
        (UNKNOWN + piece("a", score=float("nan")), "a finite score"),
        (UNKNOWN + piece("a", score=float("inf")), "a finite score"),
        (UNKNOWN + field(1, field(1, 3)), "piece 1 must be a text, a score and a type"),
        (GOOD + field(2, field(3, 3)), "model_type must be 1 (Unigram) or 2 (BPE), got 3"),
        (GOOD + field(2, field(35, 1)), "pieces must spell 256 bytes"),
        (UNKNOWN + piece("<0x41>", 6), "pieces must spell 0 bytes"),
        (GOOD + field(2, b"") + field(2, b""), "field 2 must stand there once, got 2"),
        (GOOD + table(size=2**31), "precompiled_charsmap must hold blocks of 256 units"),
        (GOOD + table(size=1000), "precompiled_charsmap must hold blocks of 256 units"),
        (GOOD + table(texts=b"a"), "precompiled_charsmap must end with a null byte"),
        (GOOD + table(texts=b"\xff\0"), "precompiled_charsmap must hold UTF-8"),
        (GOOD + table(units=one_unit(0x7FFFFFFF)), "precompiled_charsmap must lead to no place outside, got 0"),
        (GOOD + table(units=one_unit(0x80000002)), "precompiled_charsmap must lead to no place outside, got 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(data)
    with rejects("x.model must be a model of SentencePiece", words):
        SentencePiece.load(tmp_path / "x.model")


def test_the_smallest_model(tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(GOOD)
    mine = SentencePiece.load(tmp_path / "x.model")
    assert mine.encode("aab a") == sentencepiece.SentencePieceProcessor(model_proto=GOOD).encode("aab a")
    assert mine.vocab_size == 3 and [row.text for row in read_piece_file(tmp_path / "x.model").pieces] == [
        "<unk>",
        "a",
        "\u2581",
    ]


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.model")
    with rejects("path must be a regular file"):
        SentencePiece.load(tmp_path / "pipe.model")
    with (tmp_path / "large.model").open("wb") as stream:
        stream.truncate(1 << 40)
    with rejects("must have at most 67108864 bytes"):
        SentencePiece.load(tmp_path / "large.model")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ids": {"a": -1}}, "must have ids from 0"),
        ({"ids": {"a": 2**40}}, "must have ids from 0"),
        ({"ids": {"a": 0, "b": 0}}, "must have one piece for each id"),
        ({"ids": {"a": 0}}, "must have an id for what is unknown"),
        ({"before": [9]}, "must have the tokens that stand around a text, got [9]"),
        ({"names": ["<s>"]}, "must have the special tokens, got ['<s>']"),
        ({"openings": [">>fra<<"]}, "must have the special tokens"),
    ],
)
def test_ids_that_do_not_fit(options: dict[str, object], words: str, tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(GOOD)
    with rejects("mine", words):
        SentencePiece(read_piece_file(tmp_path / "x.model"), name="mine", **options)  # type: ignore[arg-type]


def test_bad_texts_and_ids(tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(GOOD)
    mine = SentencePiece.load(tmp_path / "x.model")
    with rejects("text must not hold a lone surrogate"):
        mine.encode("\ud800")
    for wrong in (-1, 3):
        with rejects("ids must be from 0 to 2"):
            mine.decode([wrong])


def damaged(data: bytes, draw: random.Random) -> bytes:
    """A model with a few other bytes, or with less of them; most of it is vocabulary, the rest a table."""
    changed = bytearray(data)
    places: list[Callable[[], int]] = [lambda: draw.randrange(len(data)), lambda: draw.randrange(3000),
                                       lambda: len(data) - draw.randrange(1, 245_000)]  # fmt: skip
    place = draw.choice(places)
    for _ in range(draw.randint(1, 6)):
        changed[place()] = draw.randrange(256)
    if draw.random() < 0.2:
        start = place()
        del changed[start : start + draw.choice([1, 4, 64, len(data)])]
    return bytes(changed)


def test_damaged_files_never_end_the_process(tmp_path: Path) -> None:
    """In a process that may take 400 MB beyond what its modules take."""
    draw = random.Random(0)
    sources = [
        trained("unigram", 0, vocab_size=500),
        trained("bpe", 1, vocab_size=500),
        piece_model("tokenizer.model.v1"),
    ]
    for number in range(FUZZED):
        (tmp_path / f"{number}.model").write_bytes(damaged(sources[number % 8 // 4 if number % 8 else 2], draw))
    code = """
import resource, sys
from transformer_lib.text.pieces import SentencePiece
import sentencepiece
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20, resource.RLIM_INFINITY))
for number in range(int(sys.argv[1])):
    try:
        tokenizer = SentencePiece.load(f"{number}.model")
        texts = ["Hello  \u4f60\u597d", "", "\\n", "\uff21\ufb01\u00bd e\u0301"]
        for ids in tokenizer.encode_batch(texts, special=True):
            tokenizer.decode(ids)
        tokenizer.parse("<s> a </s>")
        print("read")
    except ValueError as error:
        print("refused" if f"{number}.model" in str(error) else error)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-c", code, str(FUZZED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = done.stdout.splitlines()
    assert len(found) == FUZZED and {*found} == {"read", "refused"} and found.count("refused") > FUZZED // 2


def test_without_the_library_a_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.model").write_bytes(GOOD)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"transformer_lib\[hf\]\""):
        SentencePiece.load(tmp_path / "x.model")
