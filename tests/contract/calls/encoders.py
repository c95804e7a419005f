"""How the public callables of `tasks` for pre-trained encoders, and what these are given, are called validly."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.contract.calls.config import SMALL
from transformer_lib.config import Learned, Mlp
from transformer_lib.interop.huggingface import to_hf
from transformer_lib.models.classifiers import SpanFinder, TokenClassifier
from transformer_lib.models.heads import MaskedLM
from transformer_lib.tasks.encoder import MASK, PretrainedEncoder
from transformer_lib.tasks.entity_tagger import EntityTagger
from transformer_lib.tasks.inputs import SPECIAL_TOKENS, PairForm
from transformer_lib.tasks.own.adapting import base_of
from transformer_lib.tasks.own.starting import read_start
from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import Tokenizer

HERE = "transformer_lib.tasks."
BYTES = Tokenizer.from_bpe(BPE([], (MASK, *SPECIAL_TOKENS)))
CONFIG = replace(SMALL, vocab_size=BYTES.vocab_size, max_length=48)
PAIR = PairForm(BYTES)


def _encoder() -> PretrainedEncoder:
    return PretrainedEncoder(MaskedLM(CONFIG).eval(), BYTES)


def _new() -> Path:
    return Path(tempfile.mkdtemp(dir=".")) / "new"


def _saved() -> Path:
    folder = _new()
    _encoder().save(folder)
    return folder


def _theirs(kind: str = "MaskedLM") -> Path:
    folder = _new()
    to_hf(_headed(kind), folder, tokenizer=BYTES)
    return folder


def _headed(kind: str) -> Any:
    config = replace(
        CONFIG,
        attention=replace(SMALL.attention, bias=True),
        feedforward=Mlp(d_ff=16),
        positions=Learned(),
        norm_order="post",
        embedding_norm=True,
        segments=2,
    )
    match kind:
        case "TokenClassifier":
            return TokenClassifier(config, ("O", "B-x", "I-x"))
        case "SpanFinder":
            return SpanFinder(config)
        case _:
            return MaskedLM(config)


def _tagger() -> EntityTagger:
    return EntityTagger(_headed("TokenClassifier").eval(), BYTES)


def _start() -> Any:
    return read_start(base_of({"from": str(_saved())}))


OF_ENCODERS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}inputs.cut_words": lambda: {"words": ["Ada", "wrote"], "tokenizer": BYTES},
    f"{HERE}inputs.in_parts": lambda: {"pieces": [[1, 2], [3]], "room": 2},
    f"{HERE}inputs.Pieces": lambda: {"text": "Anna", "tokenizer": BYTES, "spellings": BYTES.to_bpe().vocabulary},
    f"{HERE}inputs.Pieces.of": lambda: {"text": "Anna", "tokenizer": BYTES},
    f"{HERE}inputs.Pieces.tokens": lambda: {"self": PAIR.passage("Anna"), "start": 1, "end": 3},
    f"{HERE}inputs.Pieces.characters": lambda: {"self": PAIR.passage("Anna"), "first": 1, "last": 3},
    f"{HERE}inputs.PairForm": lambda: {"tokenizer": BYTES},
    f"{HERE}inputs.PairForm.passage": lambda: {"self": PAIR, "text": "Anna"},
    f"{HERE}inputs.PairForm.question": lambda: {"self": PAIR, "text": "Who?"},
    f"{HERE}encoder.Guess": lambda: {"text": "a", "probability": 0.5},
    f"{HERE}encoder.PretrainedEncoder": lambda: {"model": _encoder().model, "tokenizer": BYTES},
    f"{HERE}encoder.PretrainedEncoder.__call__": lambda: {"self": _encoder(), "texts": [f"a {MASK}"], "best": 2},
    f"{HERE}encoder.PretrainedEncoder.unreadable": lambda: {"self": _encoder(), "texts": [f"a {MASK}", ""]},
    f"{HERE}encoder.PretrainedEncoder.save": lambda: {
        **{"self": _encoder(), "folder": _new(), "evaluation": {}, "record": {"guessed": 0.5}, "dtype": torch.float16}
    },
    f"{HERE}encoder.PretrainedEncoder.load": lambda: {"folder": _saved(), "device": "cpu"},
    f"{HERE}encoder.PretrainedEncoder.from_hf": lambda: {"folder": _theirs(), "device": "cpu"},
    f"{HERE}encoder.encoder_of": lambda: {"model": _encoder().model},
    f"{HERE}encoder.Headed": lambda: {"model": _tagger().model, "tokenizer": BYTES},
    f"{HERE}encoder.read_headed": lambda: {"folder": _theirs(), "device": "cpu"},
    f"{HERE}entity_tagger.EntityTagger": lambda: {"model": _tagger().model, "tokenizer": BYTES},
    f"{HERE}entity_tagger.EntityTagger.__call__": lambda: {
        "self": _tagger(),
        "sentences": ["Ada", ["a", "b"]],
        "rows": 2,
    },
    f"{HERE}entity_tagger.EntityTagger.find": lambda: {"self": _tagger(), "sentences": ["Ada", ["a", "b"]], "rows": 2},
    f"{HERE}entity_tagger.EntityTagger.unreadable": lambda: {"self": _tagger(), "sentences": ["Ada", [""]]},
    f"{HERE}entity_tagger.EntityTagger.from_hf": lambda: {"folder": _theirs("TokenClassifier"), "device": "cpu"},
    f"{HERE}entity_tagger.tag_of": lambda: {"label": "E-x", "labels": ["O", "B-x", "E-x"]},
    f"{HERE}question_answering.QuestionAnswerer.from_hf": lambda: {"folder": _theirs("SpanFinder"), "device": "cpu"},
    f"{HERE}readable.faults_of_sentences": lambda: {"sentences": ["Ada", ["Ada", ""]]},
    f"{HERE}own.starting.Start": lambda: _start()._asdict(),
    f"{HERE}own.starting.Started": lambda: {"model": _encoder().model, "new": ("head",)},
    f"{HERE}own.starting.read_encoder": lambda: {"base": base_of({"from": str(_saved())}), "device": "cpu"},
    f"{HERE}own.starting.read_start": lambda: {"base": base_of({"from": str(_saved())})},
    f"{HERE}own.starting.extraction_from": lambda: {"start": _start(), "kinds": ["person"], "relations": ["knows"]},
    f"{HERE}own.starting.reader_from": lambda: {"start": _start()},
    f"{HERE}own.encoder.masked_windows": lambda: {"encoder": _encoder(), "tokens": torch.ones(2, 9).long()},
    f"{HERE}own.encoder.hidden_batches": lambda: {
        "encoder": _encoder(),
        "texts": ["a text of thirty letters " * 3],
    },
    f"{HERE}own.encoder.guessed": lambda: {"encoder": _encoder(), "texts": ["a text of thirty letters " * 3]},
}
