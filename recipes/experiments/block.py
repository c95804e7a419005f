"""What does each part of the block of 2026 buy, at equal weights and steps?

Two layers with all of today's parts (RMSNorm before each part, SwiGLU, RoPE, QK-norm, no biases) learn the source of
the standard library. One part is put back to what it was, or moved, at a time; `GPT-2's block` has all of the old ones.
A norm after the part makes what each part adds as large as its gain, 1, beside embeddings of size 0.02; so this
place is also compared with embeddings that start at size 1. Each arm has its rate tuned alike.
"""

from dataclasses import replace
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import learn_text, streams, text_scores

V, WIDTH, HEADS, CONTEXT = 512, 64, 4, 32
TODAY = ModelConfig(
    vocab_size=V,
    d_model=WIDTH,
    num_layers=2,
    max_length=CONTEXT,
    attention=AttentionConfig(num_heads=HEADS, qk_norm=True),
    feedforward=SwiGlu(d_ff=171),  # 8 / 3 of the width: as many weights as an MLP of 4 times the width
    positions=Rope(),
    norm=Norm(kind="rms"),
)
OTHER: dict[str, dict[str, Any]] = {
    "today's block": {},
    "LayerNorm": {"norm": Norm()},
    "GELU MLP": {"feedforward": Mlp(d_ff=4 * WIDTH, bias=False)},
    "learned positions": {"positions": Learned()},
    "biases": {
        "attention": AttentionConfig(num_heads=HEADS, qk_norm=True, bias=True),
        "feedforward": SwiGlu(d_ff=171, bias=True),
    },
    "no QK-norm": {"attention": AttentionConfig(num_heads=HEADS)},
    "norms before and after": {"norm_order": "both"},
    "norms after the part": {"norm_order": "part"},
    "GPT-2's block": {
        "attention": AttentionConfig(num_heads=HEADS, bias=True),
        "feedforward": Mlp(d_ff=4 * WIDTH),
        "positions": Learned(),
        "norm": Norm(),
    },
    "today's block, embeddings of size 1": {"scale_embeddings": True},
    "norms after the part, embeddings of size 1": {"norm_order": "part", "scale_embeddings": True},
}


def run(seed: int, rate: float, change: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(replace(TODAY, **OTHER[change]))
    learn_text(model, streams(V), rate=rate, seed=seed, steps=250, batch=16, context=CONTEXT)
    weights = sum(weight.numel() for weight in model.parameters())
    return text_scores(model, streams(V), context=CONTEXT) | {"weights": weights}


EXPERIMENT = Experiment(
    arms={change: {"change": change} for change in OTHER},
    run=run,
    seeds=(0, 1, 2),
    rates=(0.0015, 0.003, 0.006),
    chosen_by="choice",
    data=lambda: (streams(V).train, streams(V).test),
)
