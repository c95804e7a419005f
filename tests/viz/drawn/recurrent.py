"""The drawings of recurrent nets."""

from typing import Any

import torch
from torch import nn

from tests.viz.drawn.case import Case
from transformer_lib.viz.drawings.recurrent import draw_attending, draw_last_state, draw_unrolled


def unrolled(n: int) -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "net": nn.RNN(4 * n, 8 * n, batch_first=True),
        "inputs": torch.randn(4, 4 * n),
        "words": ["the", "cat", "sat", "on"],
    }


DRAWINGS = {
    "fig-draw-unrolled": Case(
        draw_unrolled,
        unrolled,
        lambda n: [
            f"et: {4 * n} numbers,  ht: {8 * n} numbers",
            f"the same {8 * n * (12 * n + 2)} weights and biases at every step",
        ],
    ),
    "fig-draw-last-state": Case(
        draw_last_state,
        lambda n: {"encoder": nn.GRU(4, 16 * n), "source": ["7", "2", "9"], "target": ["9", "2", "7"]},
        lambda n: [f"h3, {16 * n} numbers, is all that the decoder gets of the source"],
    ),
    "fig-draw-attending": Case(
        draw_attending,
        lambda n: {
            "encoder": nn.GRU(4, 16 * n),
            "weights": torch.tensor([[0.0, 0.0, 1.0], [0.1, 0.7, 0.2], [1.0, 0.0, 0.0]])[:, [n - 1, 2 - n, 2]],
            "source": ["7", "2", "9"],
            "target": ["9", "2", "7"],
            "step": n,
        },
        lambda n: [f"{16 * n} numbers", ["0.70", "1.00"][n - 1]],
    ),
}
