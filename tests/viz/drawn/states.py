"""The drawings of what recurrent and hybrid layers keep."""

from dataclasses import replace
from typing import Any

import torch

from tests.viz.drawn.case import Case, config
from transformer_lib.config import GatedDelta, LayerConfig
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.drawings.states import draw_growth, draw_overwriting


def written(n: int) -> dict[str, Any]:
    keys, values = torch.eye(n + 1)[[0, 1, 0]], torch.eye(2 * n)[[1, 0, 0]]
    return {"keys": keys, "values": values, "words": ["a=1", "b=0", "a=0"]}


def hybrid(n: int) -> dict[str, Any]:
    delta = LayerConfig(attention=GatedDelta(num_heads=n, key_dim=8 * n, value_dim=8, conv=1))
    layers = (delta, delta, delta, LayerConfig())
    return {"model": DecoderLM(replace(config(n), num_layers=4, pattern=layers)), "length": 8}


DRAWINGS = {
    "fig-draw-overwriting": Case(
        draw_overwriting,
        written,
        lambda n: [f"each memory: {n + 1} × {2 * n}, a row for each channel of the key"],
    ),
    "fig-draw-growth": Case(
        draw_growth,
        hybrid,
        lambda n: [f"{n} × {8 * n} × 8 = {64 * n * n:,}", f"2 × {4 * n} × 8 × 8 = {512 * n:,}"],
    ),
}
