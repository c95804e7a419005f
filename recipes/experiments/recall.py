"""How many pairs does a layer recall from equal bytes of state: a window of softmax, a sum, the delta rule, a hybrid?

Each model has four layers and learns texts of 2 to 16 names, half of which get a second value (`runs.recall`). A token
holds a name and its value, so the delta layers do without their short convolution, and nothing but the mixer differs.
The models keep 704 numbers for a text of 32 tokens, the longest: a window of 11 keys and values in each layer; a matrix
of 176 or 180 numbers in each layer; or three matrices of 64 and, in the fourth layer, all 32 keys and values. Where the
rule is "adds", the layer is that of the delta rule, and only what the memory holds under the key is not taken off. One
model is no equal: it sees everything in all layers (2,048 numbers).
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib.config import (
    AttentionConfig,
    GatedDelta,
    LayerConfig,
    LinearAttention,
    ModelConfig,
    Norm,
    Rope,
    SwiGlu,
)
from transformer_lib.models import DecoderLM
from transformer_lib.nn.delta_mixer import GatedDeltaMixer
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import start_as_pytorch
from transformer_lib.runs.recall import LONGEST, NAMES, VALUES, learn_recall, recall_scores

SOFTMAX = AttentionConfig(num_heads=4, num_kv_heads=1, head_dim=8)
DELTA = GatedDelta(num_heads=2, key_dim=8, value_dim=11, conv=1)
SMALL = LayerConfig(attention=GatedDelta(num_heads=1, key_dim=8, value_dim=8, conv=1))
MIXERS = {
    "softmax": SOFTMAX,
    "window": replace(SOFTMAX, window=11),
    "sum": LinearAttention(num_heads=2, head_dim=9),
    "adds": DELTA,
    "delta": DELTA,
    "hybrid": SOFTMAX,
}


class Adds(GatedDeltaMixer):
    """The layer of the delta rule, whose memory is a fading sum: nothing is taken off before a value is written."""

    def forward(self, x: Tensor, **ignored: Any) -> Tensor:
        channels, _ = self._convolved(self.to_qkv(x), None, None)
        q, k, v = self._heads(channels, x.dtype)
        log_decay, beta = self._rates(x, None)
        passed = log_decay.cumsum(dim=-1)
        decay = (passed[..., :, None] - passed[..., None, :]).tril().exp().tril()
        read = (decay * (q @ k.mT)) @ (beta[..., None] * v)
        gate = F.silu(self.to_gate(x)).unflatten(-1, (self.config.num_heads, -1))
        return self.to_out((self.norm(read.transpose(1, 2)) * gate).flatten(2))


def build(mixer: str) -> DecoderLM:
    config = ModelConfig(
        vocab_size=NAMES * (VALUES + 1),
        d_model=32,
        num_layers=4,
        max_length=LONGEST,
        attention=MIXERS[mixer],
        feedforward=SwiGlu(d_ff=64),
        positions=Rope(),
        norm=Norm(kind="rms"),
        tie_embeddings=False,
        pattern=(SMALL, SMALL, SMALL, LayerConfig()) if mixer == "hybrid" else (),
    )
    model = DecoderLM(config)
    for block in model.blocks:
        if mixer == "adds":
            block.attention.__class__ = Adds
    return model


def run(seed: int, rate: float, mixer: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = build(mixer)
    start_as_pytorch(model)
    losses = learn_recall(model, rate=rate, seed=seed)
    curve = [sum(losses[i : i + 20]) / 20 for i in range(0, len(losses), 20)]
    return recall_scores(model) | {"curve": curve, "weights": sum(weight.numel() for weight in model.parameters())}


EXPERIMENT = Experiment(
    arms={
        "softmax, window of 11": {"mixer": "window"},
        "linear attention": {"mixer": "sum"},
        "delta rule": {"mixer": "delta"},
        "three delta, one softmax": {"mixer": "hybrid"},
        "delta layer that adds": {"mixer": "adds"},
        "softmax, all tokens": {"mixer": "softmax"},
    },
    run=run,
    rates=(0.003, 0.006, 0.012),
    chosen_by="choice",
    choice_seeds=(100,),
)
