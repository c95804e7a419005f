"""The drawings of whole models, and of what runs through them."""

from dataclasses import replace

import torch

from tests.viz.drawn.case import Case, config
from transformer_lib.config import ModelConfig, Seq2SeqConfig, Sinusoidal
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.drawings.decoder import draw_decoder
from transformer_lib.viz.drawings.encoder_decoder import draw_encoder_decoder
from transformer_lib.viz.drawings.stream import draw_additions, draw_stream

WORDS = ["a=3", "b=2", "a=1", "a?"]


def model(config: ModelConfig) -> DecoderLM:
    """A decoder with weights as large as training makes them."""
    torch.manual_seed(0)
    decoder = DecoderLM(config)
    for weight in decoder.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    torch.nn.init.normal_(decoder.embedding.tokens.weight, std=0.3)
    return decoder


def small_translator(n: int) -> Seq2SeqConfig:
    """As the original paper has it, but small: sinusoids, and norms after the sums."""
    side = replace(config(n), num_layers=n, positions=Sinusoidal(), norm_order="post")
    return Seq2SeqConfig(encoder=side, decoder=side)


DRAWINGS = {
    "fig-draw-encoder-decoder": Case(
        draw_encoder_decoder,
        lambda n: {
            "config": small_translator(n),
            "source": ["das", "ist", "gut"],
            "target": ["<s>", "this", "is"][: n + 1],
        },
        lambda n: [f"memory 3 × {32 * n}", f"{n + 1} × {32 * n}", f"{n + 1} × {20 * n} logits", f"{n} ×"],
    ),
    "fig-draw-decoder": Case(
        draw_decoder,
        lambda n: {"model": model(config(n)), "tokens": torch.tensor([[3, 7, 1, 16]]), "words": WORDS},
        lambda n: [
            *(f"embedding {20 * n} × {32 * n}", f"4 × {32 * n}", f"{2 * n} ×", f"{4 * n} heads of 8"),
            *(f"{32 * n} → {128 * n} → {32 * n}", f"head {32 * n} × {20 * n}", f"4 × {20 * n} logits"),
        ],
    ),
    "fig-draw-pencil": Case(
        draw_decoder,
        lambda n: {
            "model": model(config(n)),
            "tokens": torch.tensor([[0, 2, 0]]),
            "words": ["a", "3", "a"],
            "name": "pencil",
        },
        lambda n: [f"3 × {32 * n}", f"3 × {20 * n} logits"],
    ),
    "fig-draw-additions": Case(
        draw_additions,
        lambda n: {
            "embedding": torch.full((3, 2 * n), 0.5 * n),
            "added": [("attention", torch.full((3, 2 * n), -0.001)), ("feed-forward", torch.full((3, 2 * n), -2.0))],
            "words": ["a", "3", "a"],
        },
        lambda n: [f"{0.5 * n:.2f}", f"−{2.0 - 0.5 * n:.2f}"],
    ),
    "fig-draw-stream": Case(
        draw_stream,
        lambda n: {
            "model": model(replace(config(n), num_layers=2)),
            "tokens": torch.tensor([[3, 7, 1, 16]]),
            "word": "a?",
        },
        lambda n: [{1: "32 channels", 2: "48 of 64 channels"}[n]],
    ),
}
