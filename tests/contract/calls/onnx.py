"""How each public callable of `transformer_lib.interop.onnx` and `onnx_file` is called validly."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.contract.calls.config import SMALL

HERE = "transformer_lib.interop."


def _model() -> Any:
    from transformer_lib.models.decoder import DecoderLM

    return DecoderLM(SMALL).eval()


def _target() -> Path:
    return Path(tempfile.mkdtemp(dir=".")) / "model.onnx"


@functools.cache
def _exported() -> Path:
    from transformer_lib.interop.onnx import export

    export(_model(), path := _target(), cache=True)
    return path


def _running() -> Any:
    from transformer_lib.interop.onnx import OnnxLM

    return OnnxLM(_exported())


ONNX: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}onnx.export": lambda: {"model": _model(), "path": _target(), "cache": True},
    f"{HERE}onnx.quantize": lambda: {"path": _exported(), "target": _target()},
    f"{HERE}onnx.OnnxLM": lambda: {"path": str(_exported())},
    f"{HERE}onnx.OnnxLM.new_cache": lambda: {"self": _running(), "batch": 2, "max_length": 5},
    f"{HERE}onnx.OnnxLM.__call__": lambda: {"self": _running(), "tokens": torch.tensor([[1, 2, 3]])},
    f"{HERE}onnx_file.seal": lambda: {"model": b"a graph"},
    f"{HERE}onnx_file.read_sealed": lambda: {"path": _exported(), "rule": "must be a file"},
    f"{HERE}onnx_file.open_decoder": lambda: {"path": _exported()},
}
