"""How each public callable of `interop.keras`, `keras_layers` and `keras_positions` is called validly.

Importing TensorFlow takes half a minute, so these stand apart: `python -m tests.contract.run --only keras`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.contract.calls.config import SMALL
from transformer_lib.config import Alibi, Norm

HERE = "transformer_lib.interop."


def _model() -> Any:
    from transformer_lib.models.decoder import DecoderLM

    return DecoderLM(SMALL).eval()


def _pair() -> dict[str, Any]:
    from transformer_lib.interop.keras import to_keras

    model = _model()
    return {"model": model, "theirs": to_keras(model)}


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}keras.to_keras": lambda: {"model": _model()},
    f"{HERE}keras.copy_weights": _pair,
    f"{HERE}keras.partners": _pair,
    f"{HERE}keras_layers.build_norm": lambda: {"norm": Norm(kind="rms")},
    f"{HERE}keras_positions.Positions": dict,
    f"{HERE}keras_positions.AttentionMask": lambda: {"causal": True, "window": 3},
    **{
        f"{HERE}{name}": lambda: {"config": SMALL}
        for name in (
            *(f"keras_layers.{kind}" for kind in ("Attention", "FeedForward", "Block", "Embedding")),
            *(f"keras_positions.{kind}" for kind in ("Part", "Rotary")),
        )
    },
    f"{HERE}keras_positions.AlibiBias": lambda: {"config": replace(SMALL, positions=Alibi())},
    f"{HERE}keras_layers.Bias": dict,
}
EXCUSED: dict[str, str] = {}
