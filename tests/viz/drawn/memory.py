"""The drawing of a key/value cache."""

from typing import Any

from tests.viz.drawn.case import Case, config
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.drawings.memory import draw_cache


def growing(n: int) -> dict[str, Any]:
    return {"model": DecoderLM(config(n)), "prompt": ["the", "cat", "sat"], "written": ["on", "the", "mat"][: n + 1]}


DRAWINGS = {
    "fig-draw-cache": Case(
        draw_cache,
        growing,
        lambda n: [
            f"{4 * n} × {n + 3} × 8",
            f"a slot: {2 * n} layers × keys and values × {4 * n} heads × 8 = {128 * n * n} numbers",
        ],
    ),
}
