"""How each public callable of `transformer_lib.models` is called validly."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.contract.calls.config import SMALL
from transformer_lib import models
from transformer_lib.config import Learned, Seq2SeqConfig

HERE = "transformer_lib.models."
LEARNED = dataclasses.replace(SMALL, positions=Learned(), segments=2, max_length=6)
PAIR = Seq2SeqConfig(encoder=SMALL, decoder=LEARNED)


def _ids(below: int = 11) -> Tensor:
    return torch.tensor([[1, 2, 0], [0, 1, 1]]).clamp(max=below - 1)


def _valid() -> Tensor:
    return torch.tensor([[False, True, True], [True, True, True]])


def _x() -> Tensor:
    return torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))


def _hidden(model: Any, tokens: str = "tokens") -> dict[str, Any]:
    places = torch.tensor([[0, 0, 1], [0, 1, 2]])
    past = torch.ones(2, 3, 3, dtype=torch.bool)
    cache = model.new_cache(2, 6)
    return {"self": model, tokens: _ids(), "positions": places, "valid": _valid(), "cache": cache, "past": past}


def _decode() -> dict[str, Any]:
    model = models.Seq2Seq(PAIR)
    return {**_hidden(model, "target"), "memory": model.encode(_ids(), _valid()), "newest": 1}


def _several() -> models.MultiTokenLM:
    return models.MultiTokenLM(models.DecoderLM(SMALL), further=2)


def _step() -> dict[str, Any]:
    model = _several()
    cache = model.head_caches(2, 4)[0]
    return {"self": model, "index": 0, "states": _x(), "tokens": _ids(), "start": 0, "cache": cache}


OF_HEADS: dict[str, Any] = {
    "MultiTokenLM": lambda: {"model": models.DecoderLM(SMALL), "further": 2},
    "MultiTokenLM.forward": lambda: {**_hidden(_several()), "newest": 1},
    "MultiTokenLM.ahead": lambda: {"self": _several(), "tokens": _ids(), "valid": _valid(), "loads": [None] * 3},
    "MultiTokenLM.step": _step,
    "MultiTokenLM.logits_of": lambda: {"self": _several(), "index": 1, "states": _x()},
    "MultiTokenLM.new_loads": lambda: {"self": _several()},
    "MultiTokenLM.new_cache": lambda: {"self": _several(), "batch": 2, "max_length": 8},
    "MultiTokenLM.head_caches": lambda: {"self": _several(), "batch": 2, "max_length": 8},
}


def _masked() -> models.MaskedLM:
    return models.MaskedLM(LEARNED)


def _headed(name: str) -> nn.Module:
    labels = {} if name == "SpanFinder" else {"labels": ("a", "b")}
    return getattr(models, name)(LEARNED, **labels)


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}decoder.DecoderLM": lambda: {"config": SMALL},
    f"{HERE}decoder.DecoderLM.forward": lambda: {**_hidden(models.DecoderLM(LEARNED)), "newest": 1},
    f"{HERE}decoder.DecoderLM.hidden": lambda: _hidden(models.DecoderLM(SMALL)),
    f"{HERE}decoder.DecoderLM.logits": lambda: {"self": models.DecoderLM(SMALL), "x": _x()},
    f"{HERE}decoder.DecoderLM.new_cache": lambda: {"self": models.DecoderLM(SMALL), "batch": 2, "max_length": 8},
    f"{HERE}decoder.DecoderLM.new_loads": lambda: {"self": models.DecoderLM(SMALL)},
    **{f"{HERE}multi_token.{name}": call for name, call in OF_HEADS.items()},
    f"{HERE}encoder.Encoder": lambda: {"config": LEARNED},
    f"{HERE}encoder.Encoder.forward": lambda: {
        **{"self": models.Encoder(LEARNED), "tokens": _ids(), "valid": _valid(), "segments": _ids(2)}
    },
    f"{HERE}seq2seq.Memory": lambda: models.Seq2Seq(PAIR).encode(_ids(), _valid())._asdict(),
    f"{HERE}seq2seq.Seq2Seq": lambda: {"config": PAIR},
    f"{HERE}seq2seq.Seq2Seq.forward": lambda: {
        **{"self": models.Seq2Seq(PAIR), "source": _ids(), "target": _ids()},
        **{"source_valid": _valid(), "target_valid": _valid()},
    },
    f"{HERE}seq2seq.Seq2Seq.encode": lambda: {"self": models.Seq2Seq(PAIR), "source": _ids(), "valid": _valid()},
    f"{HERE}seq2seq.Seq2Seq.decode": _decode,
    f"{HERE}seq2seq.Seq2Seq.hidden": _decode,
    f"{HERE}seq2seq.Seq2Seq.new_cache": lambda: {"self": models.Seq2Seq(PAIR), "batch": 2, "max_length": 8},
    f"{HERE}heads.MaskedLMHead": lambda: {"config": SMALL, "embedding": nn.Embedding(11, 8)},
    f"{HERE}heads.MaskedLMHead.forward": lambda: {"self": _masked().head, "x": _x()},
    f"{HERE}heads.MaskedLM": lambda: {"config": LEARNED},
    f"{HERE}heads.MaskedLM.forward": lambda: {
        **{"self": _masked(), "tokens": _ids(), "valid": _valid(), "segments": _ids(2)}
    },
    f"{HERE}heads.TokenHead": lambda: {"d_model": 8, "labels": 3},
    f"{HERE}heads.TokenHead.forward": lambda: {"self": models.TokenHead(8, 3), "x": _x()},
    f"{HERE}heads.SequenceHead": lambda: {"d_model": 8, "labels": 3},
    f"{HERE}heads.SequenceHead.forward": lambda: {"self": models.SequenceHead(8, 3), "x": _x(), "valid": _valid()},
    f"{HERE}heads.SpanScores": lambda: {"start": torch.zeros(2, 3), "end": torch.zeros(2, 3)},
    f"{HERE}heads.SpanHead": lambda: {"d_model": 8},
    f"{HERE}heads.SpanHead.forward": lambda: {"self": models.SpanHead(8), "x": _x(), "valid": _valid()},
    f"{HERE}heads.Pooler": lambda: {"d_model": 8, "pooling": "relu"},
    f"{HERE}heads.Pooler.forward": lambda: {"self": models.Pooler(8), "x": _x(), "valid": _valid()},
    f"{HERE}heads.PooledHead": lambda: {"d_model": 8, "labels": 3, "pooling": "relu", "dropout": 0.1},
    f"{HERE}heads.PooledHead.forward": lambda: {"self": models.PooledHead(8, 3), "x": _x(), "valid": _valid()},
    f"{HERE}classifiers.SequenceClassifier": lambda: {"config": LEARNED, "labels": ("a", "b"), "pooling": "relu"},
    f"{HERE}classifiers.TokenClassifier": lambda: {"config": LEARNED, "labels": ("a", "b")},
    f"{HERE}classifiers.SpanFinder": lambda: {"config": LEARNED},
    **{
        f"{HERE}classifiers.{name}.forward": lambda name=name: {  # type: ignore[misc]
            **{"self": _headed(name), "tokens": _ids(), "valid": _valid(), "segments": _ids(2)}
        }
        for name in ("SequenceClassifier", "TokenClassifier", "SpanFinder")
    },
    f"{HERE}presets.tiny": lambda: {"vocab_size": 11, "max_length": 16},
    **{f"{HERE}presets.{name}": dict for name in ("gpt2", "llama3_8b", "qwen3_0_6b", "bert_base")},
    f"{HERE}presets.transformer_base": lambda: {"vocab_size": 11},
}

EXCUSED: dict[str, str] = {}
