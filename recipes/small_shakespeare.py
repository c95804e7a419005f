"""The small language model that the book's pages run in the reader's browser: plays, in 0.84 million parameters.

It is `shakespeare.py` at a size that a page can carry. The first nine tenths of the text are for training; the score is
bits per byte on the rest, which no choice of tokens can flatter, of the weights rounded to half precision, as they are
handed on. Left out: any choice of hyperparameters; one run, one seed.

    OMP_NUM_THREADS=1 python -m transformer_lib train recipes/small_shakespeare.py --seed 0

Data: char-rnn (Karpathy 2015); the text is in the public domain.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.datasets import tiny_shakespeare
from transformer_lib.data.packing import LMBatch, bits_per_byte, held_out_batches
from transformer_lib.models import DecoderLM
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.language_model import Writer
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training import LossSum, TrainConfig, chunked_token_loss, warmup_stable_decay
from transformer_lib.training.loop import evaluate

NAME = "shakespeare-small"
OPTIONS = {"steps": "1200"}
CONTEXT = 128  # tokens of one training text; RoPE lets the model read on, less surely

MODEL = ModelConfig(
    vocab_size=1024,
    d_model=128,
    num_layers=4,
    max_length=256,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=288),
    positions=Rope(),
    norm=Norm(kind="rms"),
    dropout=0.1,
)


def next_token_loss(model: nn.Module, batch: LMBatch) -> LossSum:
    """Every token but the first is a target."""
    assert isinstance(model, DecoderLM)
    weight = model.head.weight
    inputs, targets = (part.to(weight.device) for part in batch)
    return chunked_token_loss(model.hidden(inputs), weight, targets)


def run(run: Run) -> dict[str, Any]:
    """Bits per byte on the last tenth, and how a scene goes on."""
    text = tiny_shakespeare()
    cut = len(text) * 9 // 10
    tokenizer = Tokenizer.train([text[:cut]], MODEL.vocab_size)
    train, rest = (torch.tensor(tokenizer.encode(part)) for part in (text[:cut], text[cut:]))
    steps = int(run.options["steps"])
    config = TrainConfig(
        steps=steps,
        learning_rate=partial(warmup_stable_decay, warmup=steps // 20, decay=steps // 3, total=steps, peak=0.005),
        micro_batches=run.processes,
        optimizer="muon",
        seed=run.seed,
        eval_every=max(1, steps // 6),
        checkpoint_every=max(1, steps // 12),
    )
    torch.manual_seed(run.seed)
    model = DecoderLM(MODEL).to(run.device)
    batches = PackedBatches(train, batch=16 // run.processes, context=CONTEXT, seed=run.seed)
    held_out = held_out_batches(rest, batch=16, context=CONTEXT)
    facts = run.train(model, next_token_loss, batches, config, held_out=held_out)
    if not run.is_first:
        return {}
    model.to(torch.float16).to(torch.float32).eval()  # what is scored is what is stored
    loss = evaluate(model, next_token_loss, held_out)
    record = {
        "held_out_nats_per_token": loss,
        "held_out_bits_per_byte": bits_per_byte(loss, len(text[cut:].encode()) / (len(rest) - 1)),
    }
    writer = Writer(model, tokenizer)
    writer.save(run.model_folder(), record=record, dtype=torch.float16)
    return facts | record | {"sample": writer("ROMEO:\n", max_new_tokens=80)}
