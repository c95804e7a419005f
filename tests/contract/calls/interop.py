"""How each public callable of `transformer_lib.interop` is called validly."""

from collections.abc import Callable
from typing import Any

from tests.contract.calls.onnx import ONNX

CALLS: dict[str, Callable[[], dict[str, Any]]] = {**ONNX}

EXCUSED: dict[str, str] = {
    f"transformer_lib.interop.{module}.*": "importing TensorFlow takes half a minute; by hand: --only keras"
    for module in ("keras", "keras_layers", "keras_positions")
}
