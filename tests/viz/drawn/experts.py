"""The drawings of experts, and of heads for further tokens."""

from typing import Any

import torch

from tests.viz.drawn.case import Case, config
from transformer_lib.config.experts import Experts, SharedExpert
from transformer_lib.models import DecoderLM, MultiTokenLM
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.viz.drawings.experts import draw_experts, draw_further_heads


def mixture(n: int) -> dict[str, Any]:
    """Four experts, of which a token uses n; with n = 2 there is a shared one, too."""
    torch.manual_seed(n)
    shared = SharedExpert(d_ff=8) if n == 2 else None
    module = MixtureOfExperts(16 * n, Experts(num_experts=4, top_k=n, d_ff=12 * n, shared=shared))
    return {"module": module, "x": torch.randn(16 * n)}


DRAWINGS = {
    "fig-draw-experts": Case(
        draw_experts,
        mixture,
        lambda n: [
            f"x: 1 × {16 * n}",
            f"{16 * n} → 4 scores",
            f"softmax, top {n}",
            f"each expert {16 * n} → {12 * n} → {16 * n}",
        ],
    ),
    "fig-draw-further-heads": Case(
        draw_further_heads,
        lambda n: {"model": MultiTokenLM(DecoderLM(config(n)), further=n)},
        lambda n: [f"{2 * n} layers", f"{64 * n} → {32 * n}", f"token i + {n + 1}"],
    ),
}
