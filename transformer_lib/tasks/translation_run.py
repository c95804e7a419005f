"""The run that the recipes for translation share: tokeniser, training, scores, and the saved model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from transformer_lib.config import Seq2SeqConfig
from transformer_lib.contract import checked
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import load_examples
from transformer_lib.tasks.translation import Translator, encode_pairs, pair_batches, train_tokenizer, translation_loss
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.config import OptimizerName, TrainConfig
from transformer_lib.training.precision import best_precision
from transformer_lib.training.schedule import warmup_stable_decay


@checked
@dataclass(frozen=True, kw_only=True)
class Plan:
    """What decides a run. `token_budget` is that of one update, source and target with their padding, of all processes.

    The learning rate rises over `warmup` updates to `peak`, stays, and falls to 0 over the last part `decay` of all.
    `scoring` are arguments of `Translator.evaluate`.
    """

    data: str
    model: Seq2SeqConfig
    epochs: int
    token_budget: int
    peak: float
    warmup: int
    decay: float
    lowercase: bool
    scoring: dict[str, Any]
    optimizer: OptimizerName = "muon"
    weight_decay: float = 0.1
    smoothing: float = 0.1
    averages: Sequence[int] = (1, 2, 4, 8)


@checked
def train_translator(run: Run, plan: Plan) -> dict[str, Any]:
    """Train by the plan, score on validation and test, save the model in half precision, and give the results.

    The model is scored as it is saved, with its weights rounded, so that whoever loads it finds the same scores.
    """
    train, validation, test = (load_examples(plan.data, split) for split in ("train", "validation", "test"))
    vocab_size = plan.model.encoder.vocab_size
    tokenizer = train_tokenizer(train, vocab_size, lowercase=plan.lowercase)
    encode = partial(encode_pairs, tokenizer, lowercase=plan.lowercase)
    batches = pair_batches(encode(train), token_budget=plan.token_budget // run.processes, seed=run.seed)
    held_out = list(pair_batches(encode(validation), token_budget=plan.token_budget, seed=0, epochs=1))
    per_epoch = -(-batches.per_epoch // run.processes)
    steps = plan.epochs * per_epoch
    config = TrainConfig(
        steps=steps,
        learning_rate=partial(
            warmup_stable_decay, warmup=plan.warmup, decay=round(plan.decay * steps), total=steps, peak=plan.peak
        ),
        micro_batches=run.processes,
        optimizer=plan.optimizer,
        weight_decay=plan.weight_decay,
        betas=(0.9, 0.98),
        precision=best_precision(run.device),
        seed=run.seed,
        eval_every=per_epoch,
        checkpoint_every=per_epoch,
        keep=max(plan.averages),
    )
    torch.manual_seed(run.seed)
    model = Seq2Seq(plan.model).to(run.device)
    loss = partial(translation_loss, smoothing=plan.smoothing)
    facts = run.train(model, loss, batches, config, held_out=held_out, averages=plan.averages)
    return facts | {"epochs": plan.epochs} | finish(run, plan, model, tokenizer, validation, test)


@checked
def finish(
    run: Run, plan: Plan, model: Seq2Seq, tokenizer: Tokenizer, validation: Sequence[Any], test: Sequence[Any]
) -> dict[str, Any]:
    """Round the weights, score, and save the model as `model` in the run's folder."""
    if not run.is_first:
        return {}
    model = model.to(torch.float16).to(torch.float32).eval()
    translator = Translator(model, tokenizer, plan.lowercase)
    greedy = {**plan.scoring, "beams": 1}
    record = translator.evaluate(test, **plan.scoring)
    results = {
        "validation_greedy": translator.evaluate(validation, **greedy),
        "test_greedy": translator.evaluate(test, **greedy),
        "test": record,
    }
    folder = run.model_folder()
    evaluation = {"data": plan.data, "split": "test", **plan.scoring}
    translator.save(folder, evaluation=evaluation, record=record, dtype=torch.float16)
    return results | {"bytes": sum(file.stat().st_size for file in folder.iterdir())}
