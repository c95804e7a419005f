"""The drawing of weights on their way from a file into our modules."""

from dataclasses import replace
from typing import Any

from tests.viz.drawn.case import Case, config
from transformer_lib.config import AttentionConfig, Learned, Mlp, Norm, SwiGlu
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.drawings.weights import draw_weight_journey


def models(n: int) -> dict[str, Any]:
    small = config(n)
    heads = AttentionConfig(num_heads=4 * n, num_kv_heads=2 * n)
    llama = replace(small, attention=heads, feedforward=SwiGlu(d_ff=80 * n), norm=Norm(kind="rms"))
    gelu = Mlp(d_ff=128 * n, activation="gelu_tanh")
    gpt2 = replace(small, attention=AttentionConfig(num_heads=4 * n, bias=True), feedforward=gelu, positions=Learned())
    return {"llama": DecoderLM(llama), "gpt2": DecoderLM(gpt2)}


DRAWINGS = {
    "fig-draw-weight-journey": Case(
        draw_weight_journey,
        models,
        # Of the keys and values of a Llama there are half as many; GPT-2 has all three in one matrix, and inputs first.
        lambda n: [f"{16 * n} × {32 * n}", f"{64 * n} × {32 * n}", f"{32 * n} × {96 * n}", f"{32 * n} × {128 * n}"],
    ),
}
