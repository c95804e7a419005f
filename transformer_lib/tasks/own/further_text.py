"""A language model that goes on learning from own texts, or a chat model from own conversations.

    python -m transformer_lib train text --data my-texts/ --from SmolLM2-135M/ --out my-model
    python -m transformer_lib train text --data chats.jsonl --from SmolLM2-135M-Instruct/ --tune lora --out my-model

Of a conversation the assistant's tokens alone are learned (`text/spoken.py`), in the form that the model's own template
gives it. The result is a folder like the one that it came from: ours, or Hugging Face's with other weights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.batching import BucketedBatches, PackedBatches, pad
from transformer_lib.data.examples import Chat
from transformer_lib.data.packing import LMBatch, bits_per_byte, held_out_batches
from transformer_lib.interop.alike import save_like
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.own.adapting import Base, adapt, all_targets, base_of, conclude, known_by, require_family
from transformer_lib.tasks.own.material import OPTIONS as SHARED
from transformer_lib.tasks.own.material import Material, has_chats
from transformer_lib.tasks.own.text import END, IGNORE, stream, texts_of, writing_loss
from transformer_lib.tasks.own.training import BATCHES, BUDGET, GOING_ON, budget_for, train_own
from transformer_lib.text.chat import ChatTemplate, read_chat_template
from transformer_lib.text.spoken import Spoken, spoken

NAME = "text"
OPTIONS = SHARED
CONTEXT = 512  # tokens of a window of text, and
CHAT = 2048  # of a conversation, at most; the model may take fewer
EPOCHS = 3


def go_on_with_texts(run: Run) -> dict[str, Any]:
    """Bits per byte on the test, or of conversations nats per token of the answers, and the facts of the training."""
    base = base_of(run.options)
    material = Material.of(run, ["texts", "chats"])
    chats = has_chats(material.data)
    template = read_chat_template(base.folder) if chats and base.published else None
    rule = "must be a chat model, with a template, to learn from conversations"
    require(template is not None or not chats, "--from", rule, str(base.folder))
    torch.manual_seed(run.seed)
    writer = read_writer(base, run.device)
    run = known_by(run, writer.model)
    if template is None:
        return _texts(run, base, writer, replace(material, kinds=("texts",)))
    return _chats(run, base, writer, replace(material, kinds=("chats",)), template)


run = go_on_with_texts  # what a recipe is asked for


@checked
def read_writer(base: Base, device: torch.device | str) -> Writer:
    """The language model of a folder, in float32; `ValueError` if it holds another kind of model."""
    if not base.published:
        return Writer.load(base.folder, device=device)
    require_family(base, "DecoderLM", "a language model")
    return Writer.from_hf(base.folder, dtype=torch.float32, device=device)


@checked
def end_of(writer: Writer) -> int:
    """The token that stands behind a document; `ValueError` if the model has none."""
    special = writer.tokenizer.special_tokens
    if END in special:
        return special[END]
    require(len(writer.stop_ids) > 0, "the model", "must say which token ends a text, as eos_token_id", "none")
    return writer.stop_ids[0]


def _texts(run: Run, base: Base, writer: Writer, material: Material) -> dict[str, Any]:
    parts, end = texts_of(material), end_of(writer)
    train, validation, test = (stream(writer.tokenizer, part, end) for part in parts)
    context = min(CONTEXT, writer.model.config.max_length)
    for name, ids in (("data", train), ("validation", validation), ("test", test)):
        require(len(ids) > 1, name, "must have more than one token", len(ids))
    context = min(context, len(train) - 1)
    rows = max(1, min(BUDGET, len(train) // BATCHES) // context)
    batches = PackedBatches(train, batch=max(1, rows // run.processes), context=context, seed=run.seed)
    checks = held_out_batches(validation, batch=rows, context=context)
    facts = _learn(run, base, writer, batches, checks, max(1, batches.per_epoch // rows))
    loss, count = loss_of_batches(writer, held_out_batches(test, batch=rows, context=context))
    written = sum(len(text.encode()) for text in parts[2])
    record = {"bits_per_byte": bits_per_byte(loss / count, written / count)}
    _save(run, base, writer, record)
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    beginning = parts[2][0][:20]
    return facts | record | {"tokens": counts, "sample": beginning + writer(beginning, max_new_tokens=40)}


def _chats(run: Run, base: Base, writer: Writer, material: Material, template: ChatTemplate) -> dict[str, Any]:
    sides = {split: list(material.examples(split)) for split in ("train", "validation", "test")}
    most = min(CHAT, writer.model.config.max_length)
    examples, left_out = {}, 0
    for split, chats in sides.items():
        rows = chat_rows(writer, template, chats)
        examples[split] = [row for row in rows if len(row.ids) <= most]
        left_out += len(rows) - len(examples[split])
        rule = f"must have conversations of at most {most} tokens"
        require(len(examples[split]) > 0, split, rule, [len(row.ids) for row in rows][:9])
    budget = budget_for([len(row.ids) for row in examples["train"]], run.processes)
    batches = chat_batches(examples["train"], token_budget=budget, seed=run.seed)
    most_tokens = max(most, BUDGET)
    checks, tests = (
        list(chat_batches(examples[split], token_budget=most_tokens, seed=0, epochs=1))
        for split in ("validation", "test")
    )
    facts = _learn(run, base, writer, batches, checks, -(-batches.per_epoch // run.processes))
    loss, count = loss_of_batches(writer, tests)
    record = {"nats_per_token": loss / count}
    _save(run, base, writer, record)
    counts = {split: len(chats) for split, chats in sides.items()}
    return facts | record | {"examples": counts, "too_long": left_out, "answer_tokens": count}


def _learn(
    run: Run,
    base: Base,
    writer: Writer,
    batches: BucketedBatches[LMBatch] | PackedBatches,
    checks: list[LMBatch],
    per_epoch: int,
) -> dict[str, Any]:
    model = writer.model
    tuning = adapt(model, run.options, targets=all_targets(model, base, run.options))
    before, count = loss_of_batches(writer, checks)
    facts = train_own(
        run,
        model,
        writing_loss,
        batches,
        checks,
        steps_per_epoch=per_epoch,
        epochs=EPOCHS,
        peak=tuning.peak,
        rates=tuning.rates,
        pace=GOING_ON,
    )
    conclude(run, model, base)
    model.eval()
    return facts | {"held_out_loss_before": before / count}


def _save(run: Run, base: Base, writer: Writer, record: dict[str, Any]) -> None:
    if not run.is_first:
        return
    if base.published:
        save_like(writer.model, base.folder, run.model_folder())
    else:
        writer.save(run.model_folder(), record=record)


# Conversations --------------------------------------------------------------------------------------------------------


@checked
def chat_rows(writer: Writer, template: ChatTemplate, chats: Iterable[Chat]) -> list[Spoken]:
    """The tokens of the conversations, and which of them the assistant wrote; `ValueError` naming one that cannot be.

    A turn ends with one of the tokens that end a text.
    """
    rows: list[Spoken] = []
    ends = {*writer.stop_ids} or {*writer.tokenizer.special_tokens.values()}
    for chat in chats:
        try:
            rows += spoken(template, writer.tokenizer, chat.messages, ends=ends)
        except ValueError as error:
            raise ValueError(f"{chat.place}: {error}") from error
    return rows


@checked
def chat_batches(
    rows: Sequence[Spoken], *, token_budget: int, seed: int, epochs: int | None = None
) -> BucketedBatches[LMBatch]:
    """Shuffled batches of like length, whose targets are the tokens of the assistant alone."""

    def collate(numbers: list[int]) -> LMBatch:
        some = [rows[number] for number in numbers]
        inputs = pad([row.ids[:-1] for row in some], 0)  # what fills a row up is on the right, where nothing looks
        targets = [
            [i if learned else IGNORE for i, learned in zip(row.ids[1:], row.learned[1:], strict=True)] for row in some
        ]
        return LMBatch(inputs.tokens, pad(targets, IGNORE).tokens)

    lengths = [len(row.ids) - 1 for row in rows]
    return BucketedBatches(lengths, collate, token_budget=token_budget, seed=seed, epochs=epochs)


@checked
@torch.no_grad()
def loss_of_batches(writer: Writer, batches: Iterable[LMBatch]) -> tuple[float, int]:
    """All nats of the targets, and how many there are."""
    losses = [writing_loss(writer.model, batch) for batch in batches]
    require(len(losses) > 0, "batches", "must not be empty", losses)
    return sum(loss.total.item() for loss in losses), sum(int(loss.count) for loss in losses)
