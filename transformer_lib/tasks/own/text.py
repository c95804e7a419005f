"""A language model of own texts, from scratch.

python -m transformer_lib train text --data my-texts/ --out my-model
"""

from typing import Any

import torch
from torch import nn

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import checked
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.packing import LMBatch, bits_per_byte, held_out_batches
from transformer_lib.models import DecoderLM
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.own.material import OPTIONS as SHARED
from transformer_lib.tasks.own.material import Material, has_chats, number_of, size_named
from transformer_lib.tasks.own.training import layers_of, train_own
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.chunked import chunked_token_loss
from transformer_lib.training.loss import LossSum

NAME = "text"
OPTIONS = SHARED
END = "<|end|>"  # of a document
IGNORE = -100  # as a target: nothing is to be learned there
HELD_OUT, MOST_HELD_OUT = 0.05, 1_000_000  # of the characters, for validation and again for test
BATCH = 16
SIZES = {  # vocabulary, width, layers, context, dropout, epochs
    "tiny": (512, 128, 3, 128, 0.2, 40),
    "small": (1024, 192, 4, 256, 0.2, 20),
    "medium": (8192, 384, 6, 512, 0.1, 4),
}


def train_on_texts(run: Run) -> dict[str, Any]:
    """Bits per byte on the test, how a text goes on, and the facts of the training."""
    material = Material.of(run, ["texts"])
    rule = "must be texts, unless --from names a chat model to learn from conversations"
    require(not has_chats(material.data), "data", rule, str(material.data[0]))
    train, validation, test = texts_of(material)
    characters = sum(map(len, train))
    usual = "tiny" if characters < 300_000 else "small" if characters < 20_000_000 else "medium"
    vocab, width, layers, context, dropout, epochs = SIZES[size_named(run.options, SIZES, usual)]
    tokenizer = Tokenizer.train(train, number_of(run.options, "vocab", vocab), (END,), at_most=True)
    streams = [stream(tokenizer, part) for part in (train, validation, test)]
    for name, ids in zip(("data", "validation", "test"), streams, strict=True):
        require(len(ids) > context, name, f"must have more than {context} tokens", len(ids))
    config = layers_of(
        tokenizer.vocab_size, width=width, layers=layers, d_ff=8 * width // 3, max_length=context, dropout=dropout
    )
    torch.manual_seed(run.seed)
    model = DecoderLM(config).to(run.device)
    batches = PackedBatches(streams[0], batch=max(1, BATCH // run.processes), context=context, seed=run.seed)
    checks = held_out_batches(streams[1], batch=BATCH, context=context)
    per_epoch = max(1, batches.per_epoch // BATCH)
    facts = train_own(
        run,
        model,
        writing_loss,
        batches,
        checks,
        steps_per_epoch=per_epoch,
        epochs=epochs,
        peak=0.005,
        optimizer="muon",
    )
    model = model.to(torch.float16).to(torch.float32).eval()
    nats = [writing_loss(model, batch) for batch in held_out_batches(streams[2], batch=BATCH, context=context)]
    loss = float(sum(part.total.item() for part in nats) / sum(int(part.count) for part in nats))
    record = {"bits_per_byte": bits_per_byte(loss, sum(len(text.encode()) for text in test) / (len(streams[2]) - 1))}
    writer = Writer(model, tokenizer)
    if run.is_first:
        writer.save(run.model_folder(), record=record, dtype=torch.float16)
    counts = {"train": len(streams[0]), "validation": len(streams[1]), "test": len(streams[2])}
    beginning = test[0][:20]
    return facts | record | {"tokens": counts, "sample": beginning + writer(beginning, max_new_tokens=80)}


run = train_on_texts  # what a recipe is asked for


@checked
def writing_loss(model: nn.Module, batch: LMBatch) -> LossSum:
    """Every token but the first is a target, unless the targets say IGNORE."""
    require_kind(model, DecoderLM, "model", "a DecoderLM")
    assert isinstance(model, DecoderLM)
    require(model.head.bias is None, "head_bias", "must be False: the chunked loss knows a weight alone", True)
    weight = model.head.weight
    for name, part in zip(batch._fields, batch, strict=True):
        require_kind(part, torch.Tensor, f"batch.{name}", "a Tensor")
    inputs, targets = (part.to(weight.device) for part in batch)
    return chunked_token_loss(model.hidden(inputs), weight, targets, ignore=IGNORE)


@checked
def texts_of(material: Material) -> list[list[str]]:
    """The texts to train on, to choose by and to measure on.

    Many documents are split whole, as other examples are. Of a few, each is cut: first the training, then the
    validation, then the test.
    """
    given = [list(material.whole(split)) for split in ("train", "validation", "test")]
    if given[1] and given[2]:
        return given
    documents = given[0]
    if len(documents) >= 20:
        return [list(material.examples(split)) for split in ("train", "validation", "test")]
    sides: list[list[str]] = [[], [*given[1]], [*given[2]]]
    for text in documents:
        part = min(MOST_HELD_OUT, max(1, round(HELD_OUT * len(text))))
        end = len(text)
        for side in (2, 1):
            if not given[side]:
                sides[side].append(text[end - part : end])
                end -= part
        sides[0].append(text[:end])
    return sides


@checked
def stream(tokenizer: Tokenizer | SentencePiece, texts: list[str], end: int | None = None) -> torch.Tensor:
    """All texts in one row, each followed by the token that ends a document: `end`, or the own one.

    `ValueError` for a tokenizer without it.
    """
    if end is None:
        require(END in tokenizer.special_tokens, "tokenizer", f"must have {END}, unless `end` is given", END)
        end = tokenizer.special_tokens[END]
    rows = tokenizer.encode_batch(texts, special=True)
    return torch.tensor([i for ids in rows for i in (*ids, *(() if ids[-1:] == [end] else (end,)))])
