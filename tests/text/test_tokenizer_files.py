"""Files that ask for too much, make the Rust library panic, or change what a text becomes; and what is no file."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
import transformers
from tokenizers import models, pre_tokenizers

from transformer_lib.text.bpe import BPE, PATTERN
from transformer_lib.text.tokenizer import Tokenizer

DOUBLING = [(97, 97), *((256 + i, 256 + i) for i in range(26))]  # the last id spells 2**27 bytes
CUT = {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
FILLED = {"pad_id": 2, "pad_type_id": 0, "pad_token": "?", "pad_to_multiple_of": None, "direction": "Right"}


def file_of(path: Path, **sections: object) -> Path:
    """A tokenizer.json of words, with some sections as given."""
    rust = tokenizers.Tokenizer(models.WordLevel({"the": 0, "cat": 1, "?": 2}, unk_token="?"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    path.write_text(json.dumps(json.loads(rust.to_str()) | sections))
    return path


def split_by(pattern: str) -> dict[str, object]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def table(text: str) -> dict[str, object]:
    return {"type": "Precompiled", "precompiled_charsmap": text}


@pytest.mark.parametrize(
    "sections",
    [
        {"truncation": CUT},
        {"padding": FILLED | {"strategy": {"Fixed": 12}}},
        {"truncation": CUT, "padding": FILLED | {"strategy": "BatchLongest"}},
        {"padding": FILLED | {"strategy": {"Fixed": 10**12}}},
    ],
)
def test_a_file_does_not_decide_how_long_a_row_is(tmp_path: Path, sections: dict[str, object]) -> None:
    """transformers' tokenizers, called with a text alone, neither cut nor fill up, whatever the file says."""
    plain = Tokenizer.load(file_of(tmp_path / "plain.json"), any_rules=True)
    path = file_of(tmp_path / "tokenizer.json", **sections)
    loaded = Tokenizer.load(path, any_rules=True)
    assert loaded.encode("the cat") == plain.encode("the cat") == [0, 1]
    assert loaded.encode_batch(["the", "the cat the"]) == [[0], [0, 1, 0]]
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    assert theirs("the cat")["input_ids"] == [0, 1]


def test_dropout_is_refused(tmp_path: Path) -> None:
    rust = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], dropout=0.5))
    rust.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"tokenizer\.json must encode without dropout, got 0\.5"):
        Tokenizer.load(tmp_path / "tokenizer.json", any_rules=True)


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"pre_tokenizer": split_by("(a|a|aa)+$b|(a*)*c")}, "a" * 40),
        ({"model": {"type": "WordLevel", "vocab": {"the": 0}, "unk_token": "?"}}, "a"),
        ({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "z", "type_id": 0}}],
                             "pair": [], "special_tokens": {}}}, "a"),
    ],
)  # fmt: skip
def test_rules_that_fail_on_a_text(tmp_path: Path, sections: dict[str, object], text: str) -> None:
    """The first and the last panic in Rust, which is no `Exception`. A copy for another process knows the file, too."""
    loaded = Tokenizer.load(file_of(tmp_path / "tokenizer.json", **sections), any_rules=True)
    for tokenizer in (loaded, pickle.loads(pickle.dumps(loaded))):
        with pytest.raises(ValueError, match=r"tokenizer\.json must be able to encode the texts: \w"):
            tokenizer.encode(text, special=True)


@pytest.mark.parametrize(
    "sections",
    [
        {"pre_tokenizer": split_by("(a")},
        {"normalizer": table("AAAA")},
        {"normalizer": table("/////w==")},  # the head says that 4 GiB follow, which the Rust library would reserve
        {"normalizer": {"type": "Sequence", "normalizers": [table("/////w==")]}},
        {"model": {"type": "BPE", "vocab": {"a": 0, "b": 2**32 - 1}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {"a": 0, "b": [1]}, "merges": []}},
        {"model": None},
        {"added_tokens": 7},
    ],
)
@pytest.mark.parametrize("any_rules", [True, False])
def test_rules_that_cannot_be_built(tmp_path: Path, sections: dict[str, object], any_rules: bool) -> None:
    path = file_of(tmp_path / "tokenizer.json", **sections)
    with pytest.raises(ValueError, match=r"tokenizer\.json must be a tokenizer\.json"):
        Tokenizer.load(path, any_rules=any_rules)


def test_a_tokenizer_of_another_kind_has_no_lesson(tmp_path: Path) -> None:
    loaded = Tokenizer.load(file_of(tmp_path / "tokenizer.json"), any_rules=True)
    with pytest.raises(ValueError, match=r"tokenizer\.json must hold a BPE model"):
        loaded.to_bpe()


def test_no_small_file_and_no_number_takes_much_memory(tmp_path: Path) -> None:
    """In a process that may take 300 MB beyond what its modules take, and ends where the Rust library gets no more."""
    (tmp_path / "bpe.json").write_text(json.dumps({"pattern": PATTERN, "merges": DOUBLING, "special_tokens": []}))
    file_of(tmp_path / "table.json", normalizer=table("/////w=="))
    file_of(tmp_path / "ids.json", model={"type": "BPE", "vocab": {"a": 0, "b": 2**32 - 1}, "merges": []})
    file_of(tmp_path / "padded.json", padding=FILLED | {"strategy": {"Fixed": 10**12}})
    code = """
import resource
from functools import partial
from transformer_lib.text import BPE
from transformer_lib.text.tokenizer import Tokenizer

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
calls = [partial(Tokenizer.train, ["abab"], size) for size in (10**8, 10**12, 2**63 - 1)]
calls += [partial(BPE.load, "bpe.json"), partial(Tokenizer.load, "table.json", any_rules=True)]
calls += [partial(Tokenizer.load, "ids.json"), partial(Tokenizer.load, "ids.json", any_rules=True)]
for call in calls:
    try:
        call()
        print("accepted")
    except ValueError as error:
        print(error)
print(Tokenizer.load("padded.json", any_rules=True).encode("the cat"))
Tokenizer.from_bpe(BPE([(97, 97), *((256 + i, 256 + i) for i in range(21))]))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"vocab_size must be at most 257 for this text, got {n}" for n in (10**8, 10**12, 2**63 - 1)]
    assert "bpe.json: merges must spell at most 8388608 bytes" in lines[3]
    assert "precompiled_charsmap must have at most its 4 bytes, got 4294967295" in lines[4]
    assert all("vocab must have ids below" in line for line in lines[5:7])
    assert lines[7:] == ["[0, 1]"]


def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for use in (Tokenizer.from_bpe(BPE([])).save, Tokenizer.load):
        with pytest.raises(ValueError, match="path must be a regular file"):
            use(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    Tokenizer.from_bpe(BPE([(97, 98)])).save(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Tokenizer.load(path).encode("abé") == [256, 0xC3, 0xA9]
