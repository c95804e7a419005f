"""How each public callable of `transformer_lib.text` is called validly."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import Tokenizer

LESSON = BPE([(97, 98), (256, 99)], ["<|end|>"])
FAST = Tokenizer.from_bpe(LESSON)


def _file(name: str) -> Path:
    path = Path(tempfile.mkdtemp(dir=".")) / name
    (LESSON if name == "bpe.json" else FAST).save(path)
    return path


HERE = "transformer_lib.text."
CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}bpe.split": lambda: {"text": "to be"},
    f"{HERE}bpe.check_text": lambda: {"text": "to be"},
    f"{HERE}bpe.merge": lambda: {"ids": [1, 2, 1, 2], "pair": (1, 2), "new_id": 256},
    f"{HERE}bpe.learn_merges": lambda: {"text": "abab", "limit": 1},
    f"{HERE}bpe.BPE": lambda: {"merges": [(97, 98), (256, 99)], "special_tokens": ["<|end|>"]},
    f"{HERE}bpe.BPE.train": lambda: {"text": "abab", "vocab_size": 258, "special_tokens": ["<|end|>"]},
    f"{HERE}bpe.BPE.encode": lambda: {"self": LESSON, "text": "abc"},
    f"{HERE}bpe.BPE.decode": lambda: {"self": LESSON, "ids": [257, 97], "whole_characters": True},
    f"{HERE}bpe.BPE.save": lambda: {"self": LESSON, "path": Path(tempfile.mkdtemp(dir=".")) / "bpe.json"},
    f"{HERE}bpe.BPE.load": lambda: {"path": _file("bpe.json")},
    f"{HERE}bpe.count_merges": lambda: {"vocab_size": 258, "special_tokens": ["<|end|>"]},
    f"{HERE}bpe.check_enough": lambda: {"merges": [(97, 98)], "limit": 1, "vocab_size": 257},
    f"{HERE}bpe.check_special_token": lambda: {"name": "<|end|>"},
    f"{HERE}bpe.check_ids": lambda: {"ids": [1, 2], "vocab_size": 256},
    f"{HERE}bpe.unfinished": lambda: {"spelled": b"a\xe4"},
    f"{HERE}tokenizer.Tokenizer": lambda: {"rust": FAST._rust, "name": "mine"},
    f"{HERE}tokenizer.Tokenizer.from_bpe": lambda: {"bpe": LESSON},
    f"{HERE}tokenizer.Tokenizer.train": lambda: {"texts": ["abab"], "vocab_size": 258, "special_tokens": ["<|end|>"]},
    f"{HERE}tokenizer.Tokenizer.to_bpe": lambda: {"self": FAST},
    f"{HERE}tokenizer.Tokenizer.encode": lambda: {"self": FAST, "text": "abc"},
    f"{HERE}tokenizer.Tokenizer.encode_batch": lambda: {"self": FAST, "texts": ["abc", "d"]},
    f"{HERE}tokenizer.Tokenizer.decode": lambda: {"self": FAST, "ids": [257, 0xE4], "whole_characters": True},
    f"{HERE}tokenizer.Tokenizer.has": lambda: {"self": FAST, "token": 257},
    f"{HERE}tokenizer.Tokenizer.save": lambda: {"self": FAST, "path": Path(tempfile.mkdtemp(dir=".")) / "t.json"},
    f"{HERE}tokenizer.Tokenizer.load": lambda: {"path": _file("tokenizer.json"), "any_rules": True},
    f"{HERE}words.split_words": lambda: {"text": "Ada's book"},
    f"{HERE}words.word_spans": lambda: {"text": "Ada's book"},
}

EXCUSED: dict[str, str] = {}
