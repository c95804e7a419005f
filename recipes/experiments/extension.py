"""A model that learnt 64 tokens learns a little more: how should its positions change for 512, and on what texts?

The full RoPE of `extrapolation` learns as there and then goes on for 100 steps: on texts of 64 tokens as before or with
its positions dropped, and on texts of 512 with its angles as they were or interpolated. A step is 1,024 tokens in each
arm, and the rate of the second training is tuned alike.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from transformer_lib.config import (
    AttentionConfig,
    LinearScaling,
    ModelConfig,
    NoPositions,
    Norm,
    Rope,
    SwiGlu,
    YarnScaling,
)
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.haystacks import (
    CHOICE,
    TIME,
    VOCABULARY,
    haystack_loss,
    haystack_scores,
    haystacks,
    learn_haystacks,
)
from transformer_lib.runs.practice import start_as_pytorch

STEPS, MORE, LONGEST, RATE = 400, 100, 512, 0.016  # the rate that `extrapolation` found best for full RoPE
FACTOR = LONGEST / TIME
HEADS = AttentionConfig(num_heads=3)
POSITIONS = {
    "kept": Rope(),
    "dropped": NoPositions(),
    "interpolated": Rope(scaling=LinearScaling(factor=FACTOR)),
    "YaRN": Rope(scaling=YarnScaling(factor=FACTOR, original_length=TIME)),
}
CONFIG = ModelConfig(
    vocab_size=VOCABULARY,
    d_model=48,
    num_layers=4,
    max_length=LONGEST,
    attention=HEADS,
    feedforward=SwiGlu(d_ff=96),
    positions=Rope(),
    norm=Norm(kind="rms"),
    tie_embeddings=False,
)


@cache
def trained(seed: int) -> Mapping[str, torch.Tensor]:
    """The weights after the first training."""
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    start_as_pytorch(model)
    learn_haystacks(model, rate=RATE, seed=seed, steps=STEPS)
    return model.state_dict()


def run(seed: int, rate: float, positions: str, time: int) -> dict[str, Any]:
    model = DecoderLM(replace(CONFIG, positions=POSITIONS[positions]))
    model.load_state_dict(trained(seed))
    more = 16 * TIME // time
    learn_haystacks(model, rate=rate, seed=seed + 1000, steps=MORE, batch=more, time=time)
    texts = haystacks(128 * TIME // time, time, seed=CHOICE)
    with torch.no_grad():
        found: dict[str, Any] = {"choice": haystack_loss(model(texts.tokens), texts).item()}
    if seed >= 100:  # a rate is chosen by the length that is trained on alone
        return found
    readers = {"": model}
    if positions == "dropped":
        sharp = replace(HEADS, scale=16**-0.5 * math.log(LONGEST) / math.log(TIME))
        readers["sharpened, "] = DecoderLM(replace(model.config, attention=sharp))
        readers["sharpened, "].load_state_dict(model.state_dict())
    for name, reader in readers.items():
        for length in (64, 128, 256, 512):
            scores = haystack_scores(reader.eval(), time=length)
            found |= {f"{name}{length}: {key}": value for key, value in scores.items()}
    return found


EXPERIMENT = Experiment(
    arms={
        "RoPE, at 64": {"positions": "kept", "time": 64},
        "dropped, at 64": {"positions": "dropped", "time": 64},
        "RoPE, at 512": {"positions": "kept", "time": 512},
        "interpolated, at 512": {"positions": "interpolated", "time": 512},
    },
    run=run,
    rates=(0.002, 0.004, 0.008),
    chosen_by="choice",
    choice_seeds=(100,),
)
