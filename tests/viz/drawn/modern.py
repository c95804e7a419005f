"""The drawings of the modern block."""

from dataclasses import replace

from tests.viz.drawn.case import Case, config
from transformer_lib.config import AttentionConfig
from transformer_lib.viz.drawings.modern import draw_attention_inside, draw_streams

DRAWINGS = {
    "fig-draw-attention-inside": Case(
        draw_attention_inside,
        lambda n: {
            "config": replace(
                config(n),
                attention=AttentionConfig(num_heads=4 * n, num_kv_heads=2 * n, qk_norm=True, gate=True, sinks=n > 1),
            )
        },
        lambda n: [f"X: T × {32 * n}", f"q: {4 * n} × 8", f"gate: {32 * n}", f"{32 * n} → {32 * n}"],
    ),
    "fig-draw-streams": Case(
        draw_streams,
        lambda n: {"streams": 4 * n, "d_model": 32 * n},
        lambda n: [f"{4 * n} streams, each T × {32 * n}", f"mix: {4 * n} × {4 * n}", f"write: {4 * n} × 1"],
    ),
}
