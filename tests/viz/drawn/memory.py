"""The drawings of a key/value cache, of what a token leaves in it, and of pages."""

from typing import Any

from tests.viz.drawn.case import Case, config
from transformer_lib.config import AttentionConfig, LatentAttention
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.drawings.memory import draw_cache, draw_kept, draw_pages


def growing(n: int) -> dict[str, Any]:
    return {"model": DecoderLM(config(n)), "prompt": ["the", "cat", "sat"], "written": ["on", "the", "mat"][: n + 1]}


def kinds(n: int) -> dict[str, Any]:
    usual = {f"heads {heads}": AttentionConfig(num_heads=8, num_kv_heads=heads, head_dim=32 * n) for heads in (8, 2)}
    latent = LatentAttention(num_heads=8, head_dim=32, rope_dim=16 * n, value_dim=32, kv_rank=64 * n)
    return {"kinds": usual | {"latent": latent}}


def paged(n: int) -> dict[str, Any]:
    tables = {"first": [0, 1, 2], "second": [0, 1, 3]} | ({"third": [4]} if n == 2 else {})
    return {"tables": tables, "lengths": [10, 9, 3][: len(tables)], "page": 4, "pages": 6 * n}


DRAWINGS = {
    "fig-draw-cache": Case(
        draw_cache,
        growing,
        lambda n: [
            f"{4 * n} × {n + 3} × 8",
            f"a slot: {2 * n} layers × keys and values × {4 * n} heads × 8 = {128 * n * n} numbers",
        ],
    ),
    "fig-draw-kept": Case(
        draw_kept,
        kinds,
        lambda n: [f"8 × {32 * n} + 8 × {32 * n} = {512 * n:,}", f"{64 * n} + {16 * n} = {80 * n}"],
    ),
    "fig-draw-pages": Case(
        draw_pages,
        paged,
        lambda n: ["4 of 6 pages for 19 tokens" if n == 1 else "5 of 12 pages for 22 tokens"],
    ),
}
