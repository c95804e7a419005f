"""Byte-pair encoding: hand-worked merges, the laws, and an independent learner that recounts everything."""

# ruff: noqa: RUF001 -- Chinese punctuation is meant
import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.text import BPE
from transformer_lib.text import bpe as lesson

END = "<|end|>"
CODE = Path(json.__file__).read_text(encoding="utf-8")
CHINESE = "注意力机制让每个词元看到其他词元。词元多，注意力就贵;词元少，注意力就便宜。\n" * 3
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


CUT_OFF = [  # bytes, and what they say without an unfinished character at their end
    ("好词".encode()[:-1], "好"),
    ("好词".encode()[:-2], "好"),
    ("好词".encode(), "好词"),
    ("a😀".encode()[:-1], "a"),
    ("a😀".encode()[:-3], "a"),
    (b"a\xe4!", "a\ufffd!"),  # nothing can finish this one
    (b"\x80\xe4\xbd", "\ufffd"),
    (b"a\x80", "a\ufffd"),  # the end of a character that never began
    ("a\ufffd".encode(), "a\ufffd"),  # somebody wrote it
    (b"\xed\xa0", "\ufffd\ufffd"),  # half of a surrogate pair is not a character
    (b"", ""),
]


@pytest.fixture(scope="module")
def bpe() -> BPE:
    return BPE.train(CODE + CHINESE, 500, [END, "<|pad|>"])


@pytest.fixture
def untyped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a wrong type reach our own check: the type checker that the tests run under would refuse it first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def merges_by_recounting(text: str, limit: int) -> list[tuple[int, int]]:
    """The rule itself, without bookkeeping: count all pairs anew before every merge."""
    chunks = [list(chunk.encode()) for chunk in lesson.split(text)]
    merges: list[tuple[int, int]] = []
    while len(merges) < limit:
        counts = Counter(pair for chunk in chunks for pair in pairwise(chunk))
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        merges.append(best)
        for chunk in chunks:
            i = 0
            while i + 1 < len(chunk):
                if (chunk[i], chunk[i + 1]) == best:
                    chunk[i : i + 2] = [255 + len(merges)]
                i += 1
    return merges


def test_merges_by_hand() -> None:
    # "lo" occurs in all six words, then "low" in all six, then " low" in five: the first word has no space before it.
    bpe = BPE.train("low low low lower lower lowest", 256 + 3)
    assert [bpe.vocabulary[i] for i in (256, 257, 258)] == [b"lo", b"low", b" low"]
    assert bpe.merges == [(ord("l"), ord("o")), (256, ord("w")), (ord(" "), 257)]
    assert bpe.encode("lowly slow") == [257, ord("l"), ord("y"), ord(" "), ord("s"), 257]


def test_ties_go_to_the_lowest_pair() -> None:
    assert BPE.train("za\nza\nba\nba", 257).merges == [(ord("b"), ord("a"))]


def test_special_tokens_come_last(bpe: BPE) -> None:
    assert bpe.special_tokens == {END: 498, "<|pad|>": 499}
    assert bpe.vocab_size == 500
    assert bpe.decode([104, 105, 498]) == f"hi{END}"


@given(st.text("ab \n", max_size=80), st.integers(0, 12))
def test_learning_equals_recounting(text: str, limit: int) -> None:
    merges = lesson.learn_merges(text, limit)
    assert merges == merges_by_recounting(text, limit)
    BPE(merges)  # which refuses two merges that spell the same bytes


def test_learning_source_code_equals_recounting() -> None:
    assert lesson.learn_merges(CODE, 150) == merges_by_recounting(CODE, 150)


@given(text=UNICODE)
def test_decode_inverts_encode(bpe: BPE, text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text
    assert "".join(lesson.split(text)) == text


@given(st.lists(st.sampled_from([END, "<|", "end", "|>", " "])).map("".join))
def test_text_never_gives_special_tokens(bpe: BPE, text: str) -> None:
    ids = bpe.encode(text)
    assert not set(ids) & set(bpe.special_tokens.values())
    assert bpe.decode(ids) == text


def test_encoding_compresses(bpe: BPE) -> None:
    assert len(bpe.encode(CODE)) < len(CODE) / 2


def test_a_character_cut_in_two_is_replaced(bpe: BPE) -> None:
    assert bpe.decode([*"词".encode()[:2], 33]) == "\ufffd!"
    assert bpe.decode([*"词".encode()[:2]]) == "\ufffd"


@pytest.mark.parametrize(("ids", "text"), CUT_OFF)
def test_a_text_may_be_had_without_the_part_of_a_character(bpe: BPE, ids: bytes, text: str) -> None:
    assert bpe.decode(list(ids), whole_characters=True) == text


@given(text=UNICODE, bytes_lost=st.integers(0, 4))
def test_whole_characters_are_those_of_which_every_byte_is_there(bpe: BPE, text: str, bytes_lost: int) -> None:
    spelled = text.encode()[: len(text.encode()) - bytes_lost]
    prefixes = [text[:end] for end in range(len(text) + 1)]
    wanted = max((prefix for prefix in prefixes if len(prefix.encode()) <= len(spelled)), key=len)
    assert bpe.decode(list(spelled), whole_characters=True) == wanted


def test_empty(bpe: BPE) -> None:
    assert bpe.encode("") == []
    assert bpe.decode([]) == ""
    assert BPE.train("", 256).encode("é") == [0xC3, 0xA9]


def test_chunks() -> None:
    assert lesson.split("def f_1(x):\n    return 12345 ** x") == [
        *("def", " f", "_", "1", "(", "x", "):", "\n   ", " return", " 123", "45", " **", " x")
    ]
    assert lesson.split("注意力，词元。  नमस्ते 😀!") == ["注意力", "，", "词元", "。", " ", " नमस्ते", " 😀!"]


def test_saved_and_loaded(bpe: BPE, tmp_path: Path) -> None:
    bpe.save(tmp_path / "bpe.json")
    loaded = BPE.load(tmp_path / "bpe.json")
    assert (loaded.merges, loaded.special_tokens) == (bpe.merges, bpe.special_tokens)
    assert [file.name for file in tmp_path.iterdir()] == ["bpe.json"]


def saved(**changes: object) -> str:
    return json.dumps({"pattern": lesson.PATTERN, "merges": [[97, 98]], "special_tokens": [END]} | changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be JSON"),
        (saved()[:-9], "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[]", "must be a JSON object"),
        (saved(extra=1), "must be a JSON object"),
        (saved(pattern="."), "pattern must be the one of this library"),
        (saved(merges={"a": 1}), "merges must be a list"),
        (saved(merges=[[97]]), "merges must be pairs"),
        (saved(merges=[["a", "b"]]), "merges must be pairs of whole numbers"),
        (saved(merges=[[97.0, 98]]), "merges must be pairs of whole numbers"),
        (saved(merges=[[True, 98]]), "merges must be pairs of whole numbers"),
        (saved(merges=[[97, 98], [97, 258]]), "merges must join ids from 0 to 256"),
        (saved(merges=[[97, 98], [97, 98]]), "must not spell the same bytes twice"),
        (saved(merges=[[97, 97], *([256 + i, 256 + i] for i in range(30))]), "must spell at most 8388608 bytes"),
        (saved(special_tokens=[7]), "special_tokens must be strings"),
        (saved(special_tokens=["end"]), "special_tokens must mix letters and signs"),
        (saved(special_tokens=[END, END]), "special_tokens must be distinct"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_corrupt_or_foreign_file(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bpe.json").write_text(content)
    with pytest.raises(ValueError, match=rf"bpe\.json.*{message}"):
        BPE.load(tmp_path / "bpe.json")


def test_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "bpe.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="must be UTF-8, got the byte 0xff in line 1"):
        BPE.load(tmp_path / "bpe.json")


def test_file_with_a_byte_order_mark(bpe: BPE, tmp_path: Path) -> None:
    bpe.save(tmp_path / "bpe.json")
    (tmp_path / "bpe.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "bpe.json").read_bytes())
    assert BPE.load(tmp_path / "bpe.json").merges == bpe.merges


def test_what_is_no_file_is_neither_read_nor_replaced(bpe: BPE, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for use in (bpe.save, BPE.load):
        with pytest.raises(ValueError, match="path must be a regular file"):
            use(pipe)
    assert pipe.is_fifo()


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    """1,004 bytes whose merges double: the last id would spell 134 MB, and all of them 268 MB."""
    merges = [[97, 97], *([256 + i, 256 + i] for i in range(26))]
    (tmp_path / "bpe.json").write_text(saved(merges=merges))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="must spell at most"):
            BPE.load(tmp_path / "bpe.json")
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["", "end", "<é>", "<a b>", "<|", " 12"])
def test_bad_special_token(name: str) -> None:
    with pytest.raises(ValueError, match="special_tokens must"):
        BPE([], [name])


@pytest.mark.parametrize("size", [257, 0, -1])
def test_vocabulary_too_small(size: int) -> None:
    with pytest.raises(ValueError, match=f"vocab_size must be at least 258, .* got {size}"):
        BPE.train("aaaa", size, [END, "<|pad|>"])


def test_vocabulary_too_large_for_the_text() -> None:
    with pytest.raises(ValueError, match="vocab_size must be at most 257 for this text, got 300"):
        BPE.train("abab", 300)


@pytest.mark.usefixtures("untyped")
def test_values_of_a_wrong_type(bpe: BPE) -> None:
    with pytest.raises(TypeError, match=r"text must be a string, got b'x'"):
        bpe.encode(b"x")
    with pytest.raises(TypeError, match=r"vocab_size must be a whole number, got 300\.0"):
        BPE.train("x", 300.0)
    for ids in ([1.0], [True], iter([1.0]), torch.tensor([1])):
        with pytest.raises(TypeError, match="ids"):
            bpe.decode(ids)
    with pytest.raises(TypeError, match="merges"):
        BPE([(97.0, 98)])


@pytest.mark.parametrize("bad", [-1, 500])
def test_ids_outside_the_vocabulary(bpe: BPE, bad: int) -> None:
    with pytest.raises(ValueError, match=f"ids must be from 0 to 499, got {bad}"):
        bpe.decode([1, bad])


@pytest.mark.parametrize("use", [lambda text: BPE.train(text, 256), lambda text: BPE([]).encode(text)])
def test_lone_surrogate(use: object) -> None:
    with pytest.raises(ValueError, match=r"text must not hold a lone surrogate \(at index 1\), got '\\ud800'"):
        use("a\ud800")  # type: ignore[operator]


def test_importing_the_lesson_imports_no_fast_path() -> None:
    code = "import sys, transformer_lib.text; sys.exit('tokenizers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_failed_save_leaves_the_older_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, or the process is stopped, while the new content is on its way to the disk."""
    path = tmp_path / "bpe.json"
    BPE([(97, 98)]).save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        assert path.read_bytes() == before, "not written in place"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        BPE([(99, 100)]).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
