"""Does a small Transformer predict source code better than counting does, and at which learning rate?

A decoder of two layers and width 128 reads the standard library's source for 540 or 720 steps of 1,024 tokens, with its
rate tuned alike; the record keeps what every rate gave. `test` is measured in windows of 128 that begin without a
history, `overlapping` in windows that overlap by half, so that nearly every token has at least 64 before it.
"""

from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import learn_text, overlapping_nats, streams, text_scores

V, CONTEXT = 1024, 128
CONFIG = ModelConfig(
    vocab_size=V,
    d_model=128,
    num_layers=2,
    max_length=CONTEXT,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=336),
    positions=Rope(),
    norm=Norm(kind="rms"),
)


def run(seed: int, rate: float, steps: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    learn_text(model, streams(V), rate=rate, seed=seed, steps=steps, context=CONTEXT)
    overlapping = overlapping_nats(model, streams(V).test, context=CONTEXT)
    return text_scores(model, streams(V), context=CONTEXT) | {"overlapping": overlapping}


EXPERIMENT = Experiment(
    arms={"540 steps": {"steps": 540}, "720 steps": {"steps": 720}},
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.00075, 0.0015, 0.003, 0.006, 0.012),
    chosen_by="choice",
    data=lambda: (streams(V).train, streams(V).test),
)
