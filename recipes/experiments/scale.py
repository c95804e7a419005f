"""Does it matter that scores are divided by the square root of the keys' width?

One layer with one head learns the programs of `a=3 b=5 a?`, with keys of 8, 32 or 128 numbers, with and without the
division, and with its rate tuned alike. The weights start with a standard deviation of 1/sqrt(inputs), so that the
scores of the wide keys begin large.
"""

from functools import partial
from typing import Any

import torch

from transformer_lib import nn as parts
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import NAMES, TIME, VALUES, learn_programs, program_scores, start_as_pytorch


def run(seed: int, rate: float, width: int, scaled: bool) -> dict[str, Any]:
    torch.manual_seed(seed)
    config = ModelConfig(
        vocab_size=NAMES * (VALUES + 1),
        d_model=width,
        num_layers=1,
        max_length=TIME,
        attention=AttentionConfig(num_heads=1),
        feedforward=Mlp(d_ff=128),
        positions=Rope(),
        tie_embeddings=False,
    )
    model = DecoderLM(config)
    start_as_pytorch(model)
    # PyTorch's own start is a third of the variance of 1/inputs; here the scores are to begin at their usual size.
    with torch.no_grad():
        model.blocks[0].attention.to_qkv.weight.mul_(3**0.5)
    if not scaled:
        model.blocks[0].attention.attend = partial(parts.attend, scale=1.0)
    learn_programs(model, rate=rate, seed=seed, steps=240)
    return program_scores(model)


EXPERIMENT = Experiment(
    arms={
        f"keys of {width}, {'scaled' if scaled else 'not scaled'}": {"width": width, "scaled": scaled}
        for width in (8, 32, 128)
        for scaled in (True, False)
    },
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.001, 0.002, 0.004, 0.008, 0.016),
    chosen_by="choice",
)
