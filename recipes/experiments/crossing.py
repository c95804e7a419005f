"""Does a small Transformer pass a model that counts pairs of tokens in the first third of its training?

The runs of 540 steps of the experiment `ngrams`, at its rate, measured on the test text after a third of them: `third`
is the loss, and `pairs` that of the 2-gram.
"""

from functools import partial
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.ngram import NGram
from transformer_lib.data.packing import held_out_batches
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import next_token_loss, streams
from transformer_lib.training import TrainConfig, evaluate, new_state, train_step, warmup_cosine

V, CONTEXT, STEPS = 1024, 128, 540
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


def run(seed: int, rate: float) -> dict[str, Any]:
    torch.manual_seed(seed)
    text = streams(V)
    batches = PackedBatches(text.train, batch=8, context=CONTEXT, seed=seed)
    schedule = partial(warmup_cosine, warmup=STEPS // 10, total=STEPS, peak=rate, floor=rate / 20)
    config = TrainConfig(steps=STEPS, learning_rate=schedule, betas=(0.9, 0.99), progress=False, seed=seed)
    state, stream = new_state(DecoderLM(CONFIG), batches, config), iter(batches)
    for _ in range(STEPS // 3):
        train_step(state, next_token_loss, [next(stream)], config)
    third = evaluate(state.model, next_token_loss, held_out_batches(text.test, batch=64, context=CONTEXT))
    pairs = -NGram(text.train, order=2, vocab_size=V).log_probs(text.test).mean().item()
    return {"third": third, "pairs": pairs}


EXPERIMENT = Experiment(
    arms={"540 steps": {"rate": 0.003}},
    run=run,
    data=lambda: (streams(V).train, streams(V).test),
)
