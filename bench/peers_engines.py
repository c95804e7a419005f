"""Candidates that write with another engine than PyTorch: CTranslate2 and ONNX Runtime, from the weights of ours.

CTranslate2 has a loop of its own; ONNX Runtime takes the step alone, in our loop, as the library exports it. Each is
built from our model, which is then let go: what counts is the memory of who writes. Where int8 stands in a name, the
weights and the products' inputs are rounded to 8 bits, so that the texts may be others: that is not equal work.
Left out: beam search with ONNX Runtime, for which the library exports no model.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import peers, peers_generation

Write = Callable[[Tensor], Tensor]
Make = Callable[[Any], tuple[int, Write]]


def ctranslate2(family: Callable[[], peers.Make] = peers.ours, *, int8: bool = False) -> Make:
    """In the type of the row's weights, or in int8."""
    import ctranslate2.specs  # noqa: F401 - here, so that it is not counted as memory

    from transformer_lib.interop.engine_folder import convert
    from transformer_lib.interop.engines import EngineLM

    build = family()

    def make(task: peers_generation.Task) -> tuple[int, Write]:
        compute = "int8" if int8 else str(task.dtype).removeprefix("torch.")
        model, _ = build(task.shape)
        with tempfile.TemporaryDirectory() as folder:
            convert(model.eval(), Path(folder, "engine"), compute=compute)
            engine = EngineLM(Path(folder, "engine"))

        def write(prompts: Tensor) -> Tensor:
            return torch.tensor(engine.generate(prompts.tolist(), max_new_tokens=task.new))

        return parameters_of(model), write

    return make


def onnxruntime(*, int8: bool = False) -> Make:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401

    from transformer_lib.generation import generate
    from transformer_lib.interop.onnx import OnnxLM, export, quantize

    build = peers.ours()

    def make(task: peers_generation.Task) -> tuple[int, Write]:
        model, _ = build(task.shape)
        with tempfile.TemporaryDirectory() as folder:
            plain, small = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
            export(model.eval(), plain, cache=True)
            if int8:
                quantize(plain, small)
            engine = OnnxLM(small if int8 else plain)
        return parameters_of(model), lambda prompts: generate(engine, prompts, max_new_tokens=task.new).tokens

    return make


def ctranslate2_beams(*, int8: bool = False) -> Make:
    import ctranslate2.specs  # noqa: F401

    from transformer_lib.interop.engine_folder import convert
    from transformer_lib.interop.engines import EngineSeq2Seq

    def make(task: peers_generation.Translation) -> tuple[int, Write]:
        model = peers_generation.our_translator(task)
        with tempfile.TemporaryDirectory() as folder:
            convert(model, Path(folder, "engine"), compute="int8" if int8 else "float32")
            engine = EngineSeq2Seq(Path(folder, "engine"))
        search = {"start_id": peers_generation.START, "beams": task.beams, "max_new_tokens": task.new}
        return parameters_of(model), lambda source: engine.beam_search(source.tolist(), **search).tokens[:, 0]

    return make


def has_bfloat16() -> bool:
    """Whether CTranslate2 multiplies matrices in bfloat16 here."""
    import ctranslate2

    return "bfloat16" in ctranslate2.get_supported_compute_types("cpu")


def parameters_of(model: torch.nn.Module) -> int:
    """Their number; a table that is tied counts once."""
    return sum(weight.numel() for weight in model.parameters())
