"""Published tokenizers give the ids of transformers on 10,000 lines in fourteen scripts.

Its older, slow tokenizers differ from its fast ones in places. WordPiece is as the fast one: the slow one composes
characters first (NFC), which a mark of Bengali shows. SentencePiece is as the slow one, by the library that the models
were made with: the fast one of Llama cuts runs of spaces in another way, that of XLM-R normalises some marks otherwise.
"""

import json
import pickle
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
import transformers as hf
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

from tests.oracles import rejects
from tests.text.published import LINES, lines, piece_model, put, trained, vocab_txt
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.published import read_pair, read_published
from transformer_lib.text.tokenizer import Tokenizer

MODELS = ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"]
SMALL = b"\n\x09\n\x05<unk>\x18\x02\n\x03\n\x01a"  # two pieces
ODD = [
    "",
    " ",
    "  two  spaces ",
    "\ttab\n",
    "é e\u0301 \u00bd \uff21",
    "\u200bzero\u00ad",
    "😀👩‍👩‍👧",
    "a" * 200,
    "ক্রোয়েশিয়ান",
]


def same(mine: Tokenizer | SentencePiece, theirs: Any, texts: list[str], *, special: bool = True) -> None:
    wanted = theirs(texts, add_special_tokens=special)["input_ids"]
    found = mine.encode_batch(texts, special=special)
    assert [text for text, a, b in zip(texts, found, wanted, strict=True) if a != b] == []


@pytest.fixture(scope="module")
def unigram() -> bytes:
    return trained("unigram", 0)


@pytest.fixture(scope="module")
def words() -> bytes:
    rust = tokenizers.BertWordPieceTokenizer()
    rust.train_from_iterator(lines(LINES)[:3000], vocab_size=4000, show_progress=False)
    vocabulary = rust.get_vocab()
    return "\n".join(sorted(vocabulary, key=vocabulary.__getitem__)).encode() + b"\r\n"


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("bytes")
    rust = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    rust.train_from_iterator(lines(LINES)[:3000], vocab_size=2000, show_progress=False, special_tokens=special)
    rust.save_model(str(folder))
    return {"vocab__json": (folder / "vocab.json").read_bytes(), "merges__txt": (folder / "merges.txt").read_bytes()}


# WordPiece ------------------------------------------------------------------------------------------------------------


def test_word_pieces_of_chemistry(tmp_path: Path) -> None:
    folder = put(tmp_path / "rxnfp", vocab__txt=vocab_txt())
    mine, theirs = read_published(folder), hf.BertTokenizer.from_pretrained(folder)
    same(mine, theirs, [*lines(LINES), *ODD, "CC(=O)Cl.Nc1ccccc1>>O"])
    assert set(mine.special_tokens) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    ids = mine.encode("N c 1", special=True)
    assert [ids[0], ids[-1]] == [mine.special_tokens["[CLS]"], mine.special_tokens["[SEP]"]]
    assert mine.encode("[CLS]") != [ids[0]]  # written by whoever wrote the text


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
        {"strip_accents": False},
    ],
)
def test_word_pieces_of_many_scripts(settings: dict[str, Any], words: bytes, tmp_path: Path) -> None:
    fields = settings | {"tokenizer_class": "BertTokenizer"}
    folder = put(tmp_path / "bert", vocab__txt=words, tokenizer_config__json=fields)
    mine = read_published(folder)
    same(mine, hf.BertTokenizer.from_pretrained(folder), [*lines(LINES)[:: 3 if settings else 1], *ODD])
    slow = BertTokenizerLegacy(str(folder / "vocab.txt"), **settings)
    few = [line for line in lines(LINES)[::10] if unicodedata.normalize("NFC", line) == line]
    assert mine.encode_batch(few) == [slow.encode(line, add_special_tokens=False) for line in few]


# BPE on bytes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("GPT2", {}),
        ("GPT2", {"add_prefix_space": True, "add_bos_token": True}),
        ("Roberta", {}),
        ("Qwen2", {"eos_token": "<|im_end|>", "added_tokens_decoder": {
            str(2000 + i): {"content": text, "special": True, "normalized": False, "single_word": False,
                            "lstrip": False, "rstrip": False}
            for i, text in enumerate(["<|im_start|>", "<|im_end|>"])}}),
    ],
)  # fmt: skip
def test_merges_of_bytes(kind: str, settings: dict[str, Any], merges: dict[str, bytes], tmp_path: Path) -> None:
    fields = settings | {"tokenizer_class": f"{kind}Tokenizer"}
    folder = put(tmp_path / "bytes", **merges, tokenizer_config__json=fields)
    mine, theirs = read_published(folder), getattr(hf, f"{kind}Tokenizer").from_pretrained(folder)
    same(mine, theirs, [*lines(LINES)[:: 1 if kind != "GPT2" else 2], *ODD])
    same(mine, theirs, lines(LINES)[::9], special=False)
    text = "<|im_start|>system\ne\u0301 你好<|im_end|>\n" if kind == "Qwen2" else f"{theirs.eos_token} a"
    assert mine.parse(text) == theirs(text, add_special_tokens=False)["input_ids"] != mine.encode(text)


# SentencePiece --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_merges_of_sentence_piece(name: str, tmp_path: Path) -> None:
    fields = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": True}
    folder = put(tmp_path / "llama", tokenizer__model=piece_model(name), tokenizer_config__json=fields)
    mine, texts = read_published(folder), [*lines(LINES)[:: 1 if name == MODELS[0] else 4], *ODD]
    slow = SentencePieceBackend(vocab_file=str(folder / "tokenizer.model"), legacy=True)
    same(mine, slow, texts, special=False)
    plain = [text for text in texts if text.strip() and not text.startswith(" ") and "  " not in text]
    assert len(plain) > 0.98 * len(texts)
    if name == MODELS[0]:  # theirs takes seconds to begin
        same(mine, hf.LlamaTokenizer.from_pretrained(folder), plain)
    assert mine.encode("a", special=True)[0::2] == [1, 2]
    for text in ("你好 😀 é", " a  b", "a\tb"):
        assert mine.decode(mine.encode(text)) == text
    assert mine.decode(mine.encode("a 😀", special=True)[:-2], whole_characters=True) == "<s>a "


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("fallback", [True, False])
def test_small_models(kind: str, fallback: bool, tmp_path: Path) -> None:
    folder = put(tmp_path / "small", spiece__model=trained(kind, 1, byte_fallback=fallback))
    mine = read_published(folder)
    slow = SentencePieceBackend(vocab_file=str(folder / "spiece.model"), legacy=True)
    same(mine, slow, [*lines(LINES)[::4], *ODD], special=False)
    again = pickle.loads(pickle.dumps(mine))
    assert again.encode_batch(ODD, special=True) == mine.encode_batch(ODD, special=True)
    assert mine.vocab_size == 1200 and mine.has(1199) and not mine.has(1200)


def test_t5(tmp_path: Path) -> None:
    data = trained("unigram", 0, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    folder = put(tmp_path / "t5", spiece__model=data, tokenizer_config__json={"tokenizer_class": "T5Tokenizer"})
    mine, theirs = read_published(folder), hf.T5Tokenizer.from_pretrained(folder)
    few = [text for text in lines(LINES)[::5] if "\u09bc" not in text and 2 not in mine.encode(text)]
    same(mine, theirs, few)
    assert mine.vocab_size == len(theirs) == 1300
    assert mine.special_tokens["<extra_id_0>"] == theirs.convert_tokens_to_ids("<extra_id_0>") == 1299


def test_xlm_roberta(unigram: bytes, tmp_path: Path) -> None:
    fields = {"tokenizer_class": "XLMRobertaTokenizer"}
    folder = put(tmp_path / "xlmr", sentencepiece__bpe__model=unigram, tokenizer_config__json=fields)
    mine, theirs = read_published(folder), hf.XLMRobertaTokenizer.from_pretrained(folder)
    same(mine, theirs, [text for text in lines(LINES)[::5] if "\u09bc" not in text])
    assert mine.special_tokens["<mask>"] == theirs.mask_token_id and mine.vocab_size == len(theirs)


def test_marian(unigram: bytes, tmp_path: Path) -> None:
    """Its ids are those of vocab.json, which has no id for one of the pieces, and one for a language."""
    target = trained("unigram", 1)
    pieces = [piece for data in (unigram, target) for piece in _pieces(data)]
    names = ["</s>", "<unk>", ">>fra<<", *sorted({*pieces} - {pieces[77], "<s>", "</s>", "<unk>"}), "<pad>"]
    ids = {name: i for i, name in enumerate(names)}
    folder = put(
        tmp_path / "opus",
        source__spm=unigram,
        target__spm=target,
        vocab__json=ids,
        tokenizer_config__json={"source_lang": "en", "target_lang": "fr"},
        config__json={"model_type": "marian"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they recommend a package that they do not use
        theirs = hf.MarianTokenizer.from_pretrained(folder)
    mine = read_pair(folder)
    asked = [f">>fra<<{space}{line}" for space in ("", " ") for line in lines(LINES)[::99]]
    same(mine.source, theirs, [*lines(LINES), *ODD, *asked])
    found = mine.target.encode_batch(lines(LINES)[::4], special=True)
    assert found == theirs(text_target=lines(LINES)[::4])["input_ids"]
    for row in found[::5]:
        text = mine.target.decode([i for i in row if i not in mine.target.special_tokens.values()])
        assert text.strip() == theirs.decode(row, skip_special_tokens=True)
    assert read_published(folder).encode("a", special=True) == mine.source.encode("a", special=True)
    # A language that the model does not know is text like any other; theirs loses it.
    assert mine.source.decode(mine.source.encode(">>xyz<< a")) == ">>xyz<< a"


def _pieces(data: bytes) -> list[str]:
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    return [model.id_to_piece(i) for i in range(model.get_piece_size())]


# Folders --------------------------------------------------------------------------------------------------------------


def test_a_tokenizer_json_comes_first(words: bytes, tmp_path: Path) -> None:
    own = Tokenizer.train(["abab"], 257)
    folder = put(tmp_path / "both", vocab__txt=words, tokenizer__json=json.loads(own._rust.to_str()))
    assert read_published(folder).encode("abab") == own.encode("abab")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["folder must hold the files of a tokenizer"]),
        ({"vocab__json": {"a": 0}, "merges__txt": b""}, ["vocab.json must have an id for each byte"]),
        ({"vocab__json": [1], "merges__txt": b""}, ["vocab.json must be a JSON object of tokens"]),
        ({"vocab__json": {"a": 2**40}, "merges__txt": b""}, ["vocab.json must have ids from 0"]),
        ({"vocab__json": {"a": 0, "b": 0}, "merges__txt": b""}, ["vocab.json must have one token for each id"]),
        ({"vocab__txt": b"a\nb\n"}, ["vocab.txt must have the unk_token, got '[UNK]'"]),
        ({"vocab__txt": b"[UNK]\n[CLS]\n[SEP]\n\xff\n"}, ["vocab.txt must be UTF-8", "line 4"]),
        ({"vocab__txt": b"[UNK]\n", "tokenizer_config__json": {"tokenizer_class": "BertJapaneseTokenizer"}},
         ["tokenizer_class must be", "'BertJapanese'"]),
        ({"vocab__txt": b"[UNK]\n[CLS]\n[SEP]\n", "tokenizer_config__json": {"do_lower_case": 1}},
         ["do_lower_case must be true or false, got 1"]),
        ({"vocab__txt": b"[UNK]\n", "tokenizer_config__json": {"unk_token": 7}}, ["unk_token must be a text"]),
        ({"vocab__txt": b"[UNK]\n", "tokenizer_config__json": [1]}, ["tokenizer_config.json must be a JSON object"]),
        ({"vocab__txt": b"[UNK]\n[CLS]\n[SEP]\n", "added_tokens__json": {"<new>": 9}},
         ["must have room for the added token '<new>' with the id 9, got 3"]),
        ({"a__model": SMALL, "tokenizer_config__json": {"tokenizer_class": "AlbertTokenizer"}},
         ["a.model: tokenizer_class must be", "'Albert'"]),
        ({"a__model": SMALL, "config__json": {"model_type": "llama"}}, ["must have the special tokens, got ['<s>']"]),
        ({"a__model": SMALL, "config__json": {"model_type": "xlm-roberta"}}, ["must begin as fairseq's do"]),
        ({"a__model": SMALL, "tokenizer_config__json": {"tokenizer_class": "T5Tokenizer", "extra_ids": -1}},
         ["extra_ids must be a whole number from 0 to 10000, got -1"]),
        ({"a__model": b"", "b__model": b""}, ["must hold one model of SentencePiece"]),
        ({"source__spm": b"", "target__spm": b"", "vocab__json": {"a": 0}}, ["must have an id for, got '<unk>'"]),
    ],
)  # fmt: skip
def test_what_a_folder_lacks_is_named(files: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with rejects(*words):
        read_published(put(tmp_path / "folder", **files))


def test_a_bad_line_of_merges_is_named(merges: dict[str, bytes], tmp_path: Path) -> None:
    for line, words in ((b"a b c\n", "line 1"), (b"\xe8\xaf\x8d \xe5\x85\x83\n", "must be a vocabulary of BPE")):
        with rejects("merges.txt", words):
            read_published(put(tmp_path / words, **merges | {"merges__txt": line}))
