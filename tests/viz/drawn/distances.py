"""The drawings of how far a model sees."""

from dataclasses import replace
from typing import Any

from tests.viz.drawn.case import Case, config
from transformer_lib.config import LayerConfig, LinearScaling, NoPositions, Rope
from transformer_lib.viz.drawings.distances import draw_reach, draw_turns


def turning(n: int) -> dict[str, Any]:
    ropes = {"as trained": Rope(), "interpolated": Rope(scaling=LinearScaling(factor=2.0 * n))}
    return {"ropes": ropes, "head_dim": 8 * n, "trained": 64 * n, "read": 128 * n * n}


def stacks(n: int) -> dict[str, Any]:
    near = replace(config(n).heads, window=n + 1)
    pattern = (LayerConfig(attention=near), LayerConfig(positions=NoPositions()))
    return {
        "stacks": {"near": replace(config(n), attention=near), "mixed": replace(config(n), pattern=pattern)},
        "tokens": 10 * n,
    }


DRAWINGS = {
    "fig-draw-turns": Case(draw_turns, turning, lambda n: [f"seen in {64 * n} tokens", f"new in {128 * n * n}"]),
    "fig-draw-reach": Case(
        draw_reach,
        stacks,
        lambda n: [f"layer 1: last {n + 1}", f"reach: {10 * n} of {10 * n} tokens"],
    ),
}
