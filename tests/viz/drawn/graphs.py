"""The drawings of computational graphs, with numbers that were worked out by hand."""

import torch

from tests.viz.drawn.case import Case
from transformer_lib.viz.drawings.graphs import draw_attention_graph, draw_scalar_graph

DRAWINGS = {
    "fig-draw-scalar-graph": Case(
        draw_scalar_graph,
        lambda n: {"w": 2 * n, "x": 3},
        lambda n: [["v = 8", "ℒ = 64", "48 + 16 = 64"], ["v = 16", "ℒ = 256", "96 + 32 = 128"]][n - 1],
    ),
    "fig-draw-attention-graph": Case(
        draw_attention_graph,
        # Two keys that suit the query alike weigh a half each, and the rest follows.
        lambda n: {
            "query": torch.tensor([float(n), 0.0]),
            "keys": torch.tensor([[0.0, 1.0], [0.0, -1.0]]),
            "values": torch.tensor([[4.0 * n, 0.0], [0.0, 2.0]]),
            "grad_out": torch.tensor([1.0, 0.0]),
        },
        lambda n: [f"q = ({n}, 0)", f"o = ({2 * n}, 1)", f"({4 * n}, 0)", f"({n}, −{n})"],
    ),
}
