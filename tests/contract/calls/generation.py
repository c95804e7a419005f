"""How each public callable of `transformer_lib.generation` is called validly."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.contract.calls.config import SMALL
from transformer_lib import generation
from transformer_lib.config import Learned, Seq2SeqConfig
from transformer_lib.generation.choices import Choices
from transformer_lib.models import DecoderLM, Seq2Seq

HERE = "transformer_lib.generation."
LEARNED = dataclasses.replace(SMALL, positions=Learned())


def _model() -> DecoderLM:
    torch.manual_seed(0)
    return DecoderLM(LEARNED).eval()


def _pair() -> Seq2Seq:
    torch.manual_seed(0)
    return Seq2Seq(Seq2SeqConfig(encoder=SMALL, decoder=SMALL)).eval()


def _prompts() -> Tensor:
    return torch.tensor([[1, 2, 0], [0, 1, 1]])


def _valid() -> Tensor:
    return torch.tensor([[False, True, True], [True, True, True]])


def _logits() -> Tensor:
    return torch.randn(2, 11, generator=torch.Generator().manual_seed(0))


def _write(**others: Any) -> dict[str, Any]:
    arguments = {"model": _model(), "prompts": _prompts(), "valid": _valid(), "max_new_tokens": 3}
    rules = {"stop_ids": [3], "forbidden_ids": [4], "forced_ids": {0: 5}}
    return {**arguments, **rules, **others}


def _with_cache() -> dict[str, Any]:
    model = _model()
    options = {"pick": generation.greedy, "stop_when": _never, "cache": model.new_cache(2, 8)}
    return _write(model=model, **options)


def _never(ids: list[int]) -> bool:
    return False


def _law(**others: Any) -> dict[str, Any]:
    return {"logits": _logits(), "top_k": 5, "top_p": 0.9, "min_p": 0.01, **others}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _beams() -> generation.Beams:
    return generation.beam_search(_model(), _prompts(), beams=2, max_new_tokens=3)


def _speculate() -> dict[str, Any]:
    law = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "generator": _generator()}
    arguments = {"model": _model(), "draft": _model(), "prompt": _prompts()[:1], "max_new_tokens": 4, "lookahead": 2}
    return {**arguments, **law, "stop_ids": [3]}


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}batching.Served": lambda: {"starts": (0, 1), "ends": (1, 3)},
    f"{HERE}batching.static_batches": lambda: {"arrivals": [0, 1], "lengths": [2, 1], "rows": 2},
    f"{HERE}batching.continuous_batches": lambda: {"arrivals": [0, 1], "lengths": [2, 1], "rows": 2},
    f"{HERE}sampling.greedy": lambda: {"logits": _logits()},
    f"{HERE}sampling.sample": lambda: _law(temperature=0.7, generator=_generator()),
    f"{HERE}sampling.draw": lambda: {"probs": _logits().softmax(dim=-1), "generator": _generator()},
    f"{HERE}sampling.distribution": lambda: _law(temperature=0.7),
    f"{HERE}sampling.truncate": _law,
    f"{HERE}choices.Choices": lambda: {
        **{"forbidden_ids": [4], "forced_ids": {0: 5}, "stop_ids": (3,), "max_new_tokens": 3}
    },
    f"{HERE}choices.Choices.check_vocabulary": lambda: {"self": Choices([4], {0: 5}, [3], 3), "vocab": 11},
    f"{HERE}choices.Choices.apply": lambda: {"self": Choices([4], {0: 5}, [3], 3), "scores": _logits(), "number": 1},
    f"{HERE}layout.store_by_column": lambda: {"model": nn.Linear(2, 3)},
    f"{HERE}generate.Generation": lambda: generation.generate(_model(), _prompts(), max_new_tokens=2)._asdict(),
    f"{HERE}generate.Generation.rows": lambda: {"self": generation.generate(_model(), _prompts(), max_new_tokens=2)},
    f"{HERE}generate.Step": lambda: next(generation.stream(_model(), _prompts(), max_new_tokens=2))._asdict(),
    f"{HERE}generate.pad_left": lambda: {"prompts": [[1, 2], [3]], "pad_id": 0},
    f"{HERE}generate.stop_at": lambda: {"decode": str, "texts": ["a", "b"]},
    f"{HERE}generate.generate": _with_cache,
    f"{HERE}generate.stream": _with_cache,
    f"{HERE}generate.room": lambda: {"model": _model(), "time": 3},
    f"{HERE}generate.check_length": lambda: {"model": _model(), "time": 3, "new": 4},
    f"{HERE}generate.new_cache": lambda: {"model": _model(), "batch": 2, "length": 8, "asked": {"max_new_tokens": 5}},
    f"{HERE}generate.check_prompts": lambda: {"prompts": _prompts(), "valid": _valid()},
    f"{HERE}conditioned.Conditioned": lambda: {"model": _pair(), "source": _prompts(), "source_valid": _valid()},
    f"{HERE}conditioned.Conditioned.__call__": lambda: {
        **{"self": generation.Conditioned(_pair(), _prompts()), "tokens": _prompts(), "newest": 1}
    },
    f"{HERE}conditioned.Conditioned.new_cache": lambda: {
        **{"self": generation.Conditioned(_pair(), _prompts()), "batch": 2, "max_length": 8}
    },
    f"{HERE}beam.Beams": lambda: _beams()._asdict(),
    f"{HERE}beam.Beams.best": lambda: {"self": _beams()},
    f"{HERE}beam.beam_search": lambda: _write(beams=2, length_penalty=0.5),
    f"{HERE}speculative.Speculation": lambda: {
        **{"tokens": torch.tensor([1, 2]), "drafted": 2, "accepted": 1, "passes": 1}
    },
    f"{HERE}speculative.speculate": _speculate,
}

EXCUSED: dict[str, str] = {
    f"{HERE}recorded.*": "it needs a CUDA device; tests/generation/test_recorded.py tries it where there is one",
}
