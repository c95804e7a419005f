"""When does a small model begin to learn its text by heart, and what helps: dropout, weight decay or more text?

A decoder of two layers and width 128 reads the same 220 kB for 1,200 steps of 1,024 tokens, about sixteen times over.
One thing changes at a time; the rate is the same. `train` and `test` are curves, a point every 100 steps.
"""

from dataclasses import replace
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.packing import held_out_batches
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import learn_text, next_token_loss, streams
from transformer_lib.training import Record, evaluate

V, CONTEXT, STEPS, EVERY = 1024, 128, 1200, 100
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


def run(seed: int, rate: float, dropout: float, decay: float, share: float) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(replace(CONFIG, dropout=dropout))
    text = streams(V)
    text = replace(text, train=text.train[: int(share * len(text.train))])
    parts = {"train": text.train[:20_000], "test": text.test}
    batches = {name: held_out_batches(part, batch=32, context=CONTEXT) for name, part in parts.items()}
    curves: dict[str, list[float]] = {name: [] for name in parts}

    def note(record: Record) -> None:
        if record.step % EVERY == 0:
            for name, curve in curves.items():
                curve.append(evaluate(model, next_token_loss, batches[name]))

    settings = {"steps": STEPS, "context": CONTEXT, "weight_decay": decay}
    learn_text(model, text, rate=rate, seed=seed, on_step=note, **settings)
    best = min(curves["test"])
    return curves | {"best": best, "last": curves["test"][-1], "best at": EVERY * (1 + curves["test"].index(best))}


EXPERIMENT = Experiment(
    arms={
        "nothing": {"rate": 0.003, "dropout": 0.0, "decay": 0.1, "share": 0.5},
        "dropout 0.1": {"rate": 0.003, "dropout": 0.1, "decay": 0.1, "share": 0.5},
        "dropout 0.3": {"rate": 0.003, "dropout": 0.3, "decay": 0.1, "share": 0.5},
        "weight decay 1": {"rate": 0.003, "dropout": 0.0, "decay": 1.0, "share": 0.5},
        "twice the text": {"rate": 0.003, "dropout": 0.0, "decay": 0.1, "share": 1.0},
    },
    run=run,
    data=lambda: (streams(V).train, streams(V).test),
)
