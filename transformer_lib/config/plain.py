"""Whether a model is one that everything in the library knows: for what is written for such alone."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from transformer_lib.checks import require
from transformer_lib.config.attention import AttentionConfig
from transformer_lib.config.feedforward import Mlp, SwiGlu
from transformer_lib.config.model import ModelConfig
from transformer_lib.contract import checked


@checked
def require_plain(config: ModelConfig) -> None:
    """`ValueError` naming what a model has that GPT-2, Llama, BERT and their like have not."""
    found = [*_later(config, "")]
    if not isinstance(config.attention, AttentionConfig):
        found.append(f"attention={type(config.attention).__name__}")
    elif config.attention.qk_norm == "whole":
        found.append("attention.qk_norm='whole'")
    if not isinstance(config.feedforward, Mlp | SwiGlu):
        found.append(f"feedforward={type(config.feedforward).__name__}")
    if config.norm_order not in ("pre", "post"):
        found.append(f"norm_order={config.norm_order!r}")
    require(not found, "config", "must be without these parts here", found)


def _later(part: Any, place: str) -> Iterator[str]:
    """The fields that configs did not have from the first, where they say something."""
    for field in dataclasses.fields(part):
        value, name = getattr(part, field.name), f"{place}{field.name}"
        if "later" in field.metadata:
            if value != field.default:
                yield f"{name}={value!r}"
        elif dataclasses.is_dataclass(value):
            yield from _later(value, f"{name}.")
