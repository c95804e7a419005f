"""Trained on 64 tokens, what does a model still predict, recall and count in 512, and does it help to turn more slowly?

Three stacks of four layers learn the same texts of 64 tokens (`transformer_lib.runs.haystacks`). They differ in which
layers see the whole text, which only the last 16 tokens, and which turn queries and keys by their position. Each is
then read without further training at 64, 128, 256 and 512 tokens: as it was trained, and in the ways in which a model
of its kind is carried to longer texts.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.config import (
    AttentionConfig,
    LayerConfig,
    LinearScaling,
    ModelConfig,
    NoPositions,
    Norm,
    NtkScaling,
    Rope,
    SwiGlu,
    YarnScaling,
)
from transformer_lib.models import DecoderLM
from transformer_lib.nn.rolling_cache import RollingCache
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

STEPS, LONGEST, NEAR, SINKS = 400, 512, 16, 4
FACTOR = LONGEST / TIME
HEADS = AttentionConfig(num_heads=3)
LOCAL = replace(HEADS, window=NEAR)
LAYERS = {
    "turned": LayerConfig(),
    "near": LayerConfig(attention=LOCAL),
    "none": LayerConfig(positions=NoPositions()),
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
SCALINGS = {
    "interpolated": LinearScaling(factor=FACTOR),
    "NTK": NtkScaling(factor=1.0, original_length=TIME),  # the base that fits the length it reads
    "YaRN": YarnScaling(factor=FACTOR, original_length=TIME),
    "YaRN without its factor": YarnScaling(factor=FACTOR, original_length=TIME, attention_factor=1.0),
}


class Rolling(nn.Module):
    """The model, but a token sees the first few tokens and the newest ones alone, read one after another."""

    def __init__(self, model: DecoderLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        cache = RollingCache(self.model.config, len(tokens), window=TIME - SINKS, sinks=SINKS)
        return torch.cat([self.model(token, cache=cache) for token in tokens.split(1, dim=1)], dim=1)


def stack(*kinds: str) -> ModelConfig:
    return CONFIG if kinds == ("turned",) else replace(CONFIG, pattern=tuple(LAYERS[kind] for kind in kinds))


def changed(config: ModelConfig, kind: str, **parts: Any) -> ModelConfig:
    """The config with other parts in its layers of a kind."""
    layers = config.pattern or (LayerConfig(),)
    pattern = tuple(replace(layer, **parts) if layer == LAYERS[kind] else layer for layer in layers)
    return replace(config, pattern=pattern)


def readings(config: ModelConfig) -> dict[str, ModelConfig]:
    """The ways to read it at another length than it was trained on."""
    ways = {"as trained": config}
    if config is CONFIG or LAYERS["turned"] in config.pattern:
        for name, scaling in SCALINGS.items():
            ways[name] = changed(config, "turned", positions=Rope(scaling=scaling))
    if config is CONFIG:
        ways["window"] = replace(config, attention=replace(HEADS, window=TIME))
    if LAYERS["none"] in config.pattern:
        sharp = replace(HEADS, scale=16**-0.5 * math.log(LONGEST) / math.log(TIME))
        ways["sharpened"] = changed(config, "none", attention=sharp)
    return ways


def measured(model: DecoderLM, ways: Mapping[str, ModelConfig]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, config in ways.items():
        reader = DecoderLM(config)
        reader.load_state_dict(model.state_dict())
        for time in (64, 128, 256, 512):
            scores = haystack_scores(reader, time=time)
            found |= {f"{name}, {time}: {key}": value for key, value in scores.items()}
    if "window" in ways:
        scores = haystack_scores(Rolling(model), time=LONGEST)
        found |= {f"window and first tokens, {LONGEST}: {key}": value for key, value in scores.items()}
    return found


def run(seed: int, rate: float, layers: list[str]) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(stack(*layers))
    start_as_pytorch(model)
    learn_haystacks(model, rate=rate, seed=seed, steps=STEPS)
    texts = haystacks(128, seed=CHOICE)
    with torch.no_grad():
        choice = {"choice": haystack_loss(model(texts.tokens), texts).item()}
    if seed >= 100:  # a rate is chosen by what is learnt at 64 tokens alone
        return choice
    return choice | measured(model.eval(), readings(model.config))


EXPERIMENT = Experiment(
    arms={
        "full RoPE": {"layers": ["turned"]},
        "near RoPE, last none": {"layers": ["near", "near", "near", "none"]},
        "full RoPE, last none": {"layers": ["turned", "turned", "turned", "none"]},
    },
    run=run,
    rates=(0.004, 0.008, 0.016),
    chosen_by="choice",
    choice_seeds=(100,),
)
