"""The drawings of training."""

from typing import Any

import torch

from tests.viz.drawn.case import Case, config
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.training.config import TrainConfig
from transformer_lib.viz.drawings.training import draw_accumulation, draw_questions, draw_shift, draw_training_loop


def rate(step: int) -> float:
    return 0.01


def loop(n: int) -> dict[str, Any]:
    torch.manual_seed(0)
    text = torch.arange(7 * n).remainder(20).view(n, 7)
    settings = TrainConfig(steps=1, learning_rate=rate, clip=0.5 * n)
    return {"model": DecoderLM(config(n)), "inputs": text[:, :-1], "targets": text[:, 1:], "config": settings}


DRAWINGS = {
    "fig-draw-training-loop": Case(
        draw_training_loop,
        loop,
        lambda n: [f"{n} × 6 tokens", f"clipped to {0.5 * n:g}", f"{n} × 6 × {20 * n}"],
    ),
    "fig-draw-accumulation": Case(
        draw_accumulation,
        lambda n: {"parts": [torch.tensor([1.0, 3.0 * n]), torch.tensor([5.0])]},
        lambda n: [["mean: 9 / 3 = 3", "not the mean of the means, 3.5"], ["mean: 12 / 3 = 4"]][n - 1],
    ),
    "fig-draw-questions": Case(
        draw_questions,
        lambda n: {"tokens": ["def", f" f{n}", "(", "x", ")", ":", "\n"]},
        lambda n: [f"·f{n}"],
    ),
    "fig-draw-shift": Case(
        draw_shift,
        lambda n: {
            "inputs": ["<s>", f"{n} cats", "sit"],
            "targets": [f"{n} cats", "sit", "</s>"],
            "source": ["a", "b"] * n,
        },
        lambda n: [f"{n}·cats"],
    ),
}
