"""How each public callable that runs a model on CTranslate2 is called validly."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.contract.calls.config import SMALL
from transformer_lib.config import ModelConfig, Seq2SeqConfig

Calls = dict[str, Callable[[], dict[str, Any]]]
INTEROP, TASKS = "transformer_lib.interop.", "transformer_lib.tasks.engines."


def _lm() -> Any:
    from transformer_lib.models.decoder import DecoderLM

    return DecoderLM(SMALL).eval()


def _seq2seq() -> Any:
    from transformer_lib.models.seq2seq import Seq2Seq

    return Seq2Seq(Seq2SeqConfig(encoder=SMALL, decoder=SMALL)).eval()


def new() -> Path:
    return Path(tempfile.mkdtemp(dir=".")) / "engine"


@functools.cache
def folder_of(build: Callable[[], Any]) -> Path:
    """A model that `build` makes, converted once."""
    from transformer_lib.interop.engine_folder import convert

    convert(build(), path := new().resolve())
    return path


@functools.cache
def engine_of(build: Callable[[], Any]) -> Any:
    """The engine of a model that `build` makes."""
    from transformer_lib.interop.engines import EngineLM, EngineSeq2Seq

    return (EngineLM if build is _lm else EngineSeq2Seq)(folder_of(build))


SEARCH: dict[str, Any] = {
    **{"beams": 2, "max_new_tokens": 3, "stop_ids": [1], "length_penalty": 0.5, "forbidden_ids": [2]}
}
OF_ENGINES: Calls = {
    f"{INTEROP}engine_specs.check_convertible": lambda: {"model": _lm()},
    f"{INTEROP}engine_specs.specification": lambda: {"model": _lm(), "longest": 9},
    f"{INTEROP}engine_folder.convert": lambda: {"model": _lm(), "folder": new(), "compute": "int8", "longest": 9},
    f"{INTEROP}engine_folder.converted": lambda: {"model": _lm(), "cache": new(), "compute": "int8"},
    f"{INTEROP}engine_folder.read_engine": lambda: {"folder": folder_of(_lm), "kind": ModelConfig},
    f"{INTEROP}engine_folder.open_engine": lambda: {
        **{"kind": "Generator", "folder": folder_of(_lm), "compute": "float32"}
    },
    f"{INTEROP}engines.EngineLM": lambda: {"folder": folder_of(_lm), "seed": 3},
    f"{INTEROP}engines.EngineLM.reseed": lambda: {"self": engine_of(_lm), "seed": 3},
    f"{INTEROP}engines.EngineLM.generate": lambda: {
        **{"self": engine_of(_lm), "prompts": [[1, 2], [3]], "max_new_tokens": 3, "temperature": 0.5, "top_k": 3},
        **{"top_p": 0.5, "stop_ids": [1], "forbidden_ids": [2]},
    },
    f"{INTEROP}engines.EngineLM.beam_search": lambda: {"self": engine_of(_lm), "prompts": [[1, 2], [3]], **SEARCH},
    f"{INTEROP}engines.EngineLM.log_probs": lambda: {"self": engine_of(_lm), "texts": [[1, 2], [3, 1, 2]]},
    f"{INTEROP}engines.EngineSeq2Seq": lambda: {"folder": folder_of(_seq2seq)},
    f"{INTEROP}engines.EngineSeq2Seq.beam_search": lambda: {
        **{"self": engine_of(_seq2seq), "sources": [[1, 2], [3]], "start_id": 1, **SEARCH}
    },
}


def tasks_on_engines(translator: Callable[[], Any], opus: Callable[[], Any], writer: Callable[[], Any]) -> Calls:
    """The calls of `tasks.engines`, with what makes a tool of each kind."""
    from transformer_lib.generation.beam import Beams

    @functools.cache
    def on_engine(build: Callable[[], Any]) -> Any:
        from transformer_lib.tasks.engines import on_engine

        return on_engine(build(), new().resolve())

    def fields(build: Callable[[], Any]) -> dict[str, Any]:
        tool = build()
        own = {field.name: getattr(tool, field.name) for field in dataclasses.fields(tool)}
        return own | {"engine": on_engine(build).engine}

    found = Beams(torch.tensor([[[4, 5]]]), torch.tensor([[2]]), torch.tensor([[-3.0]]), torch.tensor([[-1.5]]))
    return {
        f"{TASKS}EngineTranslator": lambda: fields(translator),
        f"{TASKS}EngineOpusTranslator": lambda: fields(opus),
        f"{TASKS}EngineWriter": lambda: fields(writer),
        f"{TASKS}on_engine": lambda: {"tool": writer(), "cache": new(), "compute": "int8"},
        f"{TASKS}ended": lambda: {"found": found, "limit": 3, "last": 1, "stops": [1], "length_penalty": 0.5},
    }
