"""When does a small model begin to learn its text by heart, and what helps: dropout, weight decay or more text?

A decoder of two layers and width 64 reads the same 6,000 tokens for 300 steps of 512 tokens, nearly twenty-six times
over. One thing changes at a time, and each arm has its rate tuned alike. `train`, `choice` and `test` are curves, a
point every 30 steps. A run may stop at the point that is lowest on `choice`, and that point chooses the rate as well;
`stopped` is the loss on `test` there, `last` the one at the end.
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

V, CONTEXT, STEPS, EVERY, TOKENS = 512, 64, 300, 30, 6_000
CONFIG = ModelConfig(
    vocab_size=V,
    d_model=64,
    num_layers=2,
    max_length=CONTEXT,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=168),
    positions=Rope(),
    norm=Norm(kind="rms"),
)


def run(seed: int, rate: float, dropout: float, decay: float, texts: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(replace(CONFIG, dropout=dropout))
    text = streams(V)
    text = replace(text, train=text.train[: texts * TOKENS])
    parts = {"train": text.train[:2000], "choice": text.choice[:6000], "test": text.test[:6000]}
    batches = {name: held_out_batches(part, batch=32, context=CONTEXT) for name, part in parts.items()}
    curves: dict[str, list[float]] = {name: [] for name in parts}

    def note(record: Record) -> None:
        if record.step % EVERY == 0:
            for name, curve in curves.items():
                curve.append(evaluate(model, next_token_loss, batches[name]))

    settings = {"steps": STEPS, "context": CONTEXT, "weight_decay": decay}
    learn_text(model, text, rate=rate, seed=seed, on_step=note, **settings)
    lowest = min(curves["choice"])
    at = curves["choice"].index(lowest)
    ends = {"stopped": curves["test"][at], "last": curves["test"][-1], "stopped at": EVERY * (at + 1)}
    return {"lowest": lowest} | ends | curves


EXPERIMENT = Experiment(
    arms={
        "nothing": {"dropout": 0.0, "decay": 0.1, "texts": 1},
        "dropout 0.2": {"dropout": 0.2, "decay": 0.1, "texts": 1},
        "weight decay 1": {"dropout": 0.0, "decay": 1.0, "texts": 1},
        "twice the text": {"dropout": 0.0, "decay": 0.1, "texts": 2},
    },
    run=run,
    rates=(0.0007, 0.0014, 0.0028),
    chosen_by="lowest",
    choice_seeds=(100,),
    data=lambda: (streams(V).train, streams(V).choice, streams(V).test),
)
