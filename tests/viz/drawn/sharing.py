"""The drawings of a model whose inside is shared."""

import torch

from tests.viz.drawn.case import Case
from transformer_lib.config import Mlp
from transformer_lib.nn.feedforward import FeedForward
from transformer_lib.viz.drawings.pipelines import draw_pipeline
from transformer_lib.viz.drawings.sharing import draw_expert_exchange, draw_ring, draw_tensor_parallel

DRAWINGS = {
    "fig-draw-tensor-parallel": Case(
        draw_tensor_parallel,
        lambda n: {"module": FeedForward(8 * n, Mlp(d_ff=32 * n)), "x": torch.ones(4 * n, 8 * n), "gpus": 2},
        lambda n: [f"x: {4 * n} × {8 * n}", f"{8 * n} × {16 * n} of {32 * n}", f"{4 * n} × {16 * n}"],
    ),
    "fig-draw-ring": Case(
        draw_ring,
        lambda n: {"tokens": 8 * n, "gpus": 2 * n},
        lambda n: [
            ["36 of 64 pairs; at most 26, at least 10 on a GPU"],
            ["136 of 256 pairs; at most 58, at least 10 on a GPU"],
        ][n - 1],
    ),
    "fig-draw-expert-exchange": Case(
        draw_expert_exchange,
        lambda n: {
            "sent": [[[3, 1], [2, 2]], [[1, 2, 1, 0], [0, 2, 2, 0], [3, 1, 0, 0], [1, 1, 1, 1]]][n - 1],
            "width": n,
        },
        lambda n: [["expert 0: 5", "3 vectors of 1 numbers change their GPU, and come back"], ["expert 3: 1"]][n - 1],
    ),
    "fig-draw-pipeline": Case(
        draw_pipeline,
        lambda n: {"stages": 2 * n, "micro_batches": 4 * n},
        lambda n: [
            ["one forward, one backward: stage 0 keeps 2", "waiting : working = 0.25"],
            ["one forward, one backward: stage 0 keeps 4", "waiting : working = 0.375"],
        ][n - 1],
    ),
}
