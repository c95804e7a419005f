"""The parallel path gives the ids of the lesson, and the Rust trainer the merges that the lesson learns."""

# ruff: noqa: RUF001 -- Chinese punctuation is meant
import codecs
import json
import pickle
import re
from pathlib import Path

import jaxtyping
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from tests.text.test_bpe import CUT_OFF
from transformer_lib.text import BPE
from transformer_lib.text.bpe import PATTERN, learn_merges
from transformer_lib.text.tokenizer import Tokenizer

END = "<|end|>"
SOURCES = [Path(json.__file__).with_name(name).read_text(encoding="utf-8") for name in ("decoder.py", "encoder.py")]
OTHER = [Path(module.__file__).read_text(encoding="utf-8") for module in (re, json)]
CHINESE = "自注意力机制让每个词元都能看到其他词元。位置编码告诉模型：词元的次序！“多头”是什么？\n" * 5
EDGES = (0x10000, 0x1CFFF, 0x1D000, 0x1FFFF, 0x20000, 0x3FFFF, 0x40000, 0x10FFFF)  # where the classes change
CODES = [*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 97), *EDGES]
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
NEAR = st.text("ab1 \n\t'_<|>注，é\u0301\u3000😀")  # few characters, so that chunks of all kinds meet


@pytest.fixture(scope="module")
def bpe() -> BPE:
    return BPE.train("".join(SOURCES) + CHINESE, 700, [END, "<|pad|>"])


@pytest.fixture(scope="module")
def fast(bpe: BPE) -> Tokenizer:
    return Tokenizer.from_bpe(bpe)


def test_both_engines_cut_alike_at_every_character() -> None:
    """Each character of the basic plane, and a sample beyond, beside a letter, a digit, space, and itself."""
    rust = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    for start in range(0, len(CODES), 1000):
        text = "".join(f" {c}a{c}1{c} \n{c}{c}" for c in map(chr, CODES[start : start + 1000]))
        assert [chunk for chunk, _ in rust.pre_tokenize_str(text)] == re.findall(PATTERN, text)


@given(text=UNICODE | NEAR)
def test_same_ids(bpe: BPE, fast: Tokenizer, text: str) -> None:
    ids = bpe.encode(text)
    assert fast.encode(text) == ids
    assert fast.decode(ids) == text


@pytest.mark.parametrize("text", [*SOURCES, *OTHER, CHINESE, "a" * 999, END * 3, "\0\r\n\x1f\x85\xa0"])
def test_same_ids_on_whole_texts(bpe: BPE, fast: Tokenizer, text: str) -> None:
    assert fast.encode(text) == bpe.encode(text)
    assert fast.decode(fast.encode(text)) == text


@given(ids=st.lists(st.integers(0, 699)))
def test_same_text(bpe: BPE, fast: Tokenizer, ids: list[int]) -> None:
    """Also for ids that no text gives, which may spell broken UTF-8."""
    assert fast.decode(ids) == bpe.decode(ids)


def test_learns_what_the_lesson_learns() -> None:
    """Merge by merge, ties included, on real text: with 700 merges the last pairs occur twice or thrice."""
    text = SOURCES[0] + CHINESE
    trained = Tokenizer.train([text], 256 + 700 + 1, [END])
    assert trained.to_bpe().merges == learn_merges(text, 700)
    assert trained.special_tokens == {END: 956}
    assert trained.vocab_size == 957


@given(st.text("ab é注\n", min_size=20, max_size=120))
def test_learns_what_the_lesson_learns_on_any_text(text: str) -> None:
    merges = learn_merges(text, 8)
    assert Tokenizer.train([text], 256 + len(merges)).to_bpe().merges == merges


def test_twins(bpe: BPE, fast: Tokenizer) -> None:
    twin = fast.to_bpe()
    assert (twin.merges, twin.special_tokens) == (bpe.merges, bpe.special_tokens)
    assert (fast.vocab_size, fast.special_tokens) == (bpe.vocab_size, bpe.special_tokens)


def test_batch(fast: Tokenizer) -> None:
    assert fast.encode_batch(SOURCES) == [fast.encode(text) for text in SOURCES]
    assert fast.encode_batch([]) == []


def test_saved_and_loaded(fast: Tokenizer, tmp_path: Path) -> None:
    fast.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.encode(CHINESE + END) == fast.encode(CHINESE + END)
    assert loaded.special_tokens == fast.special_tokens
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_copy_has_the_same_rules(fast: Tokenizer) -> None:
    assert pickle.loads(pickle.dumps(fast)).encode(END) == fast.encode(END)


def test_file_is_read_by_the_rust_library(bpe: BPE, fast: Tokenizer, tmp_path: Path) -> None:
    """Read without us, the ids are the same, and special tokens are found in a text."""
    fast.save(tmp_path / "tokenizer.json")
    rust = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert rust.encode(CHINESE).ids == bpe.encode(CHINESE)
    assert rust.encode(f"x{END}").ids == [ord("x"), bpe.special_tokens[END]]


def test_foreign_tokenizers(fast: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    words = tokenizers.Tokenizer(models.WordLevel({"a": 0}))
    other_numbers = tokenizers.Tokenizer(models.BPE({"b": 0, "a": 1, "ab": 2}, [("a", "b")]))
    fast.save(path)
    lowercase = tokenizers.Tokenizer.from_file(str(path))
    lowercase.normalizer = normalizers.Lowercase()
    for rust, message in [(words, "must hold a BPE"), (other_numbers, "rules of this"), (lowercase, "rules of this")]:
        rust.save(str(path))
        with pytest.raises(ValueError, match=message):
            Tokenizer.load(path)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"model": 1}', b"\xff\xfe"])
def test_corrupt_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_bad_values(fast: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    # A wrong type is to reach our own check: the type checker that the tests run under would refuse it first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"vocab_size must be at least 257, .* got 256"):
        Tokenizer.train(SOURCES, 256, [END])
    with pytest.raises(ValueError, match="vocab_size must be at most 257 for this text, got 300"):
        Tokenizer.train(["abab"], 300)
    with pytest.raises(TypeError, match="texts must be a collection of strings, got 'abab'"):
        Tokenizer.train("abab", 257)
    for texts in (["a", None], iter(["a", None])):
        with pytest.raises(TypeError, match="must be a string, got None"):
            fast.encode_batch(texts)
    with pytest.raises(ValueError, match="text must not hold a lone surrogate"):
        fast.encode("\udfff")
    for bad in (-1, 700):
        with pytest.raises(ValueError, match=f"ids must be from 0 to 699, got {bad}"):
            fast.decode([bad])
    for wrong in ([1.0], iter([True]), torch.tensor([1])):
        with pytest.raises(TypeError, match="ids"):
            fast.decode(wrong)


# ---- the end of a text that was cut off ----


@pytest.mark.parametrize(("ids", "text"), CUT_OFF)
def test_the_part_of_a_character(fast: Tokenizer, ids: bytes, text: str) -> None:
    assert fast.decode(list(ids), whole_characters=True) == text
    assert fast.decode([*ids, 698], whole_characters=True) == ids.decode(errors="replace") + END


@given(ids=st.lists(st.integers(0, 699)))
def test_whole_characters_are_the_lessons(bpe: BPE, fast: Tokenizer, ids: list[int]) -> None:
    assert fast.decode(ids, whole_characters=True) == bpe.decode(ids, whole_characters=True)


@given(data=st.lists(st.sampled_from([*"好é😀a".encode(), 0x80]), max_size=9).map(bytes))
def test_the_part_of_a_character_where_each_byte_is_a_token(data: bytes) -> None:
    """As in Llama 2. Where a byte is wrong, such a decoder gives up all that it is joined to."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"▁x": 256}
    rust = tokenizers.Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    rust.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    kept = codecs.utf_8_decode(data, "replace", False)[1]
    try:
        wanted = data[:kept].decode()
    except UnicodeDecodeError:
        wanted = "\ufffd" * kept
    assert Tokenizer(rust).decode([256, *data], whole_characters=True) == " x" + wanted


def test_tokens_that_spell_no_bytes_are_left_alone() -> None:
    for decoder in (None, decoders.Fuse()):
        rust = tokenizers.Tokenizer(models.WordLevel({"a": 0, "\ufffd": 1}))
        if decoder:
            rust.decoder = decoder
        assert Tokenizer(rust).decode([0, 1], whole_characters=True).endswith("\ufffd")


def test_special_tokens_stand_in_the_text_that_ids_spell(bpe: BPE, fast: Tokenizer) -> None:
    ids = [ord("x"), fast.special_tokens[END], ord("y")]
    assert fast.decode(ids) == bpe.decode(ids) == f"x{END}y"
