"""Tatoeba: everyday sentences from English to Mandarin, by a model small enough to be handed on with the book.

The Chinese side mixes simplified and traditional characters as their authors did, so the model does too. No English
sentence is in two splits. Data: Tatoeba, as prepared by manythings.org, CC BY 2.0 FR.

    OMP_NUM_THREADS=2 python -m transformer_lib train recipes/tatoeba.py --seed 0
"""

from typing import Any

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, Seq2SeqConfig, SwiGlu
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.translation_run import Plan, train_translator

NAME = "tatoeba-en-zh"
OPTIONS = {"epochs": "40"}

SIDE = ModelConfig(
    vocab_size=7000,
    d_model=128,
    num_layers=4,
    max_length=128,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=256),
    positions=Rope(),
    norm=Norm(kind="rms"),
    dropout=0.3,
)


def run(run: Run) -> dict[str, Any]:
    """BLEU with sacrebleu's cut for Chinese, and chrF, greedy and with five beams."""
    plan = Plan(
        data="tatoeba en-zh",
        model=Seq2SeqConfig(encoder=SIDE, decoder=SIDE),
        epochs=int(run.options["epochs"]),
        token_budget=4096,
        peak=0.005,
        warmup=300,
        decay=0.3,
        lowercase=False,
        scoring={"beams": 5, "length_penalty": 1.0, "tokenize": "zh"},
    )
    return train_translator(run, plan)
