"""Multi30k: captions of photographs from German to English, or back, by a Transformer from scratch.

29,000 pairs are few: what keeps a model from learning them by heart is that it is small, and much dropout. Text and
score are lower-cased, as is usual for this set.

    OMP_NUM_THREADS=2 python -m transformer_lib train recipes/multi30k.py --seed 0 --set direction=de-en
    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m transformer_lib train recipes/multi30k.py --seed 0

Data: Elliott et al. (2016); for the size of the model: Wu et al. (2021), "Good for Misconceived Reasons".
"""

from typing import Any

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, Seq2SeqConfig, SwiGlu, require
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.translation_run import Plan, train_translator

NAME = "multi30k-{direction}"
OPTIONS = {"direction": "de-en", "epochs": "26"}

SIDE = ModelConfig(
    vocab_size=10_000,
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
    """BLEU and chrF on `test_2016_flickr`, greedy and with five beams."""
    direction = run.options["direction"]
    require(direction in ("de-en", "en-de"), "direction", "must be 'de-en' or 'en-de'", direction)
    plan = Plan(
        data=f"multi30k {direction}",
        model=Seq2SeqConfig(encoder=SIDE, decoder=SIDE),
        epochs=int(run.options["epochs"]),
        token_budget=4096,
        peak=0.005,
        warmup=300,
        decay=0.3,
        lowercase=True,
        scoring={"beams": 5, "length_penalty": 1.0, "lowercase": True},
    )
    return train_translator(run, plan)
