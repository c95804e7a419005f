"""How each public callable of `transformer_lib.text` is called validly."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer_lib.text.bpe import BPE
from transformer_lib.text.chat import ChatTemplate
from transformer_lib.text.piece_file import read_piece_file
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.published import read_pair
from transformer_lib.text.sandbox import Program
from transformer_lib.text.token_config import TokenConfig
from transformer_lib.text.tokenizer import Tokenizer

LESSON = BPE([(97, 98), (256, 99)], ["<|end|>"])
FAST = Tokenizer.from_bpe(LESSON)


def _file(name: str) -> Path:
    path = Path(tempfile.mkdtemp(dir=".")) / name
    (LESSON if name == "bpe.json" else FAST).save(path)
    return path


def _model(name: str = "tokenizer.model") -> Path:
    """The smallest model of SentencePiece: an unknown piece, `a`, `b`, and a space."""
    pieces = [(b"<unk>", 2), (b"a", 1), (b"b", 1), ("\u2581".encode(), 1)]
    bodies = [b"\n" + bytes([len(text)]) + text + b"\x15" + bytes(4) + b"\x18" + bytes([kind]) for text, kind in pieces]
    path = Path(tempfile.mkdtemp(dir=".")) / name
    path.write_bytes(b"".join(b"\n" + bytes([len(body)]) + body for body in bodies))
    return path


def _pieces() -> SentencePiece:
    return SentencePiece.load(_model())


def new_pair() -> Path:
    """A folder of Marian's kind."""
    source = _model("source.spm")
    (source.parent / "target.spm").write_bytes(source.read_bytes())
    ids = {text: i for i, text in enumerate(["</s>", "<unk>", "a", "b", "\u2581", "<pad>"])}
    (source.parent / "vocab.json").write_text(json.dumps(ids))
    return source.parent


def _config() -> TokenConfig:
    return TokenConfig("Bert", {"cls_token": "[CLS]"}, ("[CLS]",), {"[CLS]": 3}, {"do_lower_case": True})


def _template() -> ChatTemplate:
    return ChatTemplate(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", {"bos_token": "<s>"}, "mine"
    )


def _talk() -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "a"}],
        "tools": [{"name": "add"}],
        "documents": [{"title": "a", "text": "b"}],
        "prompt": True,
    }


def _talking() -> Path:
    path = Path(tempfile.mkdtemp(dir="."))
    (path / "chat_template.jinja").write_text("{{ messages[0].content }}")
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
    f"{HERE}tokenizer.Tokenizer.encode": lambda: {"self": FAST, "text": "abc", "special": True},
    f"{HERE}tokenizer.Tokenizer.encode_batch": lambda: {"self": FAST, "texts": ["abc", "d"], "special": True},
    f"{HERE}tokenizer.Tokenizer.decode": lambda: {"self": FAST, "ids": [257, 0xE4], "whole_characters": True},
    f"{HERE}tokenizer.Tokenizer.has": lambda: {"self": FAST, "token": 257},
    f"{HERE}tokenizer.Tokenizer.save": lambda: {"self": FAST, "path": Path(tempfile.mkdtemp(dir=".")) / "t.json"},
    f"{HERE}tokenizer.Tokenizer.load": lambda: {"path": _file("tokenizer.json"), "any_rules": True},
    f"{HERE}tokenizer.Tokenizer.parse": lambda: {"self": FAST, "text": "ab<|end|>"},
    f"{HERE}tokenizer.Tokenizer.inside": lambda: {"self": FAST, "text": "ab", "parse": True},
    f"{HERE}tokenizer.refusing": lambda: {"rule": "it must be so"},
    f"{HERE}piece_file.Piece": lambda: {"text": "a", "score": -1.0, "type": 1},
    f"{HERE}piece_file.PieceFile": lambda: read_piece_file(_model())._asdict(),
    f"{HERE}piece_file.read_piece_file": lambda: {"path": _model()},
    f"{HERE}pieces.SentencePiece": lambda: {
        "model": read_piece_file(_model()),
        "ids": {"<unk>": 0, "a": 5, "b": 2, "\u2581": 3, "</s>": 4, ">>fra<<": 6},
        "unknown": 0,
        "names": ["</s>"],
        "before": [5],
        "after": [4],
        "openings": [">>fra<<"],
        "name": "mine",
    },
    f"{HERE}pieces.SentencePiece.load": lambda: {"path": _model()},
    f"{HERE}pieces.SentencePiece.has": lambda: {"self": _pieces(), "token": 2},
    f"{HERE}pieces.SentencePiece.encode": lambda: {"self": _pieces(), "text": "ab a", "special": True},
    f"{HERE}pieces.SentencePiece.encode_batch": lambda: {"self": _pieces(), "texts": ["ab", "b"], "special": True},
    f"{HERE}pieces.SentencePiece.parse": lambda: {"self": _pieces(), "text": "ab"},
    f"{HERE}pieces.SentencePiece.inside": lambda: {"self": _pieces(), "text": "ab", "parse": True},
    f"{HERE}pieces.SentencePiece.decode": lambda: {"self": _pieces(), "ids": [3, 1, 2], "whole_characters": True},
    f"{HERE}token_config.TokenConfig": lambda: {
        "kind": "Bert",
        "named": {"cls_token": "[CLS]"},
        "special": ("[CLS]",),
        "added": {"[CLS]": 3},
        "fields": {"do_lower_case": True},
    },
    f"{HERE}token_config.TokenConfig.flag": lambda: {"self": _config(), "name": "do_lower_case", "default": False},
    f"{HERE}token_config.TokenConfig.stated": lambda: {"self": _config(), "name": "do_lower_case"},
    f"{HERE}token_config.read_token_config": lambda: {"folder": new_pair()},
    f"{HERE}published.PairOfTokenizers": lambda: read_pair(new_pair())._asdict(),
    f"{HERE}published.read_published": lambda: {"folder": new_pair()},
    f"{HERE}published.read_pair": lambda: {"folder": new_pair()},
    f"{HERE}chat.ChatTemplate": lambda: {"source": "{{ bos_token }}", "tokens": {"bos_token": "<s>"}, "name": "mine"},
    f"{HERE}chat.ChatTemplate.__call__": lambda: {"self": _template(), **_talk()},
    f"{HERE}chat.ChatTemplate.encode": lambda: {"self": _template(), "tokenizer": FAST, **_talk()},
    f"{HERE}spoken.Spoken": lambda: {"ids": [1, 2], "learned": [False, True]},
    f"{HERE}spoken.spoken": lambda: {
        "template": ChatTemplate("{% for m in messages %}{{ m.content }}\n{% endfor %}"),
        "tokenizer": FAST,
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "ends": [10],
    },
    f"{HERE}chat.read_chat_template": lambda: {"folder": _talking(), "variant": "default"},
    f"{HERE}sandbox.Program": lambda: {"source": "{{ a }}", "name": "mine"},
    f"{HERE}sandbox.Program.render": lambda: {"self": Program("{{ a }}", "mine"), "values": {"a": "b"}},
    f"{HERE}words.split_words": lambda: {"text": "Ada's book"},
    f"{HERE}words.word_spans": lambda: {"text": "Ada's book"},
}

EXCUSED: dict[str, str] = {}
