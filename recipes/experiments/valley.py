"""Over which learning rates does a model learn, with QK-norm, with a soft cap of the scores, and with neither?

Two layers of width 64 learn the programs of `a=3 b=5 a?` at five rates that span two powers of ten. The loss at every
rate is the result, so no rate is chosen. `score` is the largest score, in size, that any head gives any pair at the
end, before a cap. QK-norm bounds the queries and keys themselves; the cap bounds the scores alone.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.nn import attend
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import NAMES, REPORT, TIME, VALUES, deal, learn_programs, program_scores
from transformer_lib.training import token_loss

KINDS: dict[str, dict[str, Any]] = {"neither": {}, "QK-norm": {"qk_norm": True}, "soft cap": {"soft_cap": 10.0}}
CONFIG = ModelConfig(
    vocab_size=NAMES * (VALUES + 1),
    d_model=64,
    num_layers=2,
    max_length=TIME,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=171),
    positions=Rope(),
    norm=Norm(kind="rms"),
)


def run(seed: int, kind: str, rate: float) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(replace(CONFIG, attention=AttentionConfig(num_heads=4, **KINDS[kind])))
    learn_programs(model, rate=rate, seed=seed, steps=200)
    data, largest = deal(512, REPORT), []

    def watched(q: Tensor, k: Tensor, v: Tensor, **relations: Any) -> Tensor:
        largest.append((q @ k.mT).abs().max().item() / q.shape[-1] ** 0.5)
        return attend(q, k, v, **relations)

    for block in model.blocks:
        block.attention.attend = watched
    with torch.no_grad():
        loss = token_loss(model(data.tokens), data.targets).mean().item()
    scores = program_scores(model)
    return {"loss": loss, "reassigned": scores["reassigned"], "score": max(largest)}


EXPERIMENT = Experiment(
    arms={
        f"{kind}, rate {rate:g}": {"kind": kind, "rate": rate}
        for kind in KINDS
        for rate in (0.002, 0.006, 0.02, 0.06, 0.2)
    },
    run=run,
    seeds=(0, 1, 2),
)
