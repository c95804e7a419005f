"""A reader of the book's own authored passages, small enough to be handed on.

It knows ten relations and fewer than two hundred words: it shows what an answerer does, and cannot read real text. A
reader of real questions is not handed on, since none from scratch has beaten rules that learned nothing
(`recipes/experiments/reader.py`).

    OMP_NUM_THREADS=1 python -m transformer_lib train recipes/authored_answers.py --seed 0
"""

from functools import partial
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.toy_questions import QuestionSplits, questions
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.answer_calibration import calibrate
from transformer_lib.tasks.evaluation import AUTHORED
from transformer_lib.tasks.question_answering import QuestionAnswerer, Reader, reading_batches, reading_loss
from transformer_lib.tasks.reading import SPECIAL_TOKENS
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.schedule import warmup_cosine

NAME = "authored-answers"
OPTIONS = {"epochs": "4"}
LIMITS = "this model has learned an authored world of some two hundred words: it is for trying out, not for real text"

MODEL = ModelConfig(
    vocab_size=600,
    d_model=96,
    num_layers=2,
    max_length=160,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=192),
    positions=Rope(),
    norm=Norm(kind="rms"),
    segments=3,
)


def run(run: Run) -> dict[str, Any]:
    """Exact match and F1 on new wordings and new combinations of names, with its threshold chosen on validation."""
    data = questions(**AUTHORED)
    texts = [" " + text for question in data.train[:5000] for text in (question.context, question.question)]
    torch.manual_seed(run.seed)
    tokenizer = Tokenizer.train(texts, MODEL.vocab_size, SPECIAL_TOKENS)
    answerer = QuestionAnswerer(Reader(MODEL).to(run.device), tokenizer, max_answer=6)
    batches = reading_batches(answerer.layout, data.train, token_budget=2048, seed=run.seed)
    held_out = list(reading_batches(answerer.layout, data.validation, token_budget=4096, seed=0, epochs=1))
    steps = int(run.options["epochs"]) * batches.per_epoch
    config = TrainConfig(
        steps=steps,
        learning_rate=partial(warmup_cosine, warmup=steps // 10, total=steps, peak=0.005),
        optimizer="muon",
        seed=run.seed,
        eval_every=batches.per_epoch,
        checkpoint_every=batches.per_epoch,
    )
    facts = run.train(answerer.reader, reading_loss, batches, config, held_out=held_out)
    return facts | finish(run, answerer, data)


def finish(run: Run, answerer: QuestionAnswerer, data: QuestionSplits) -> dict[str, Any]:
    """Round the weights, choose when to abstain, score, and save the model as `model` in the run's folder."""
    if not run.is_first:
        return {}
    answerer.reader.to(torch.float16).to(torch.float32).eval()
    answerer = calibrate(answerer.with_threshold_from(data.validation), data.validation)
    record = answerer.evaluate(data.test)
    folder = run.model_folder()
    evaluation = {"data": "authored questions", "split": "test", "limits": LIMITS}
    answerer.save(folder, evaluation=evaluation, record=record, dtype=torch.float16)
    return {
        "combinations": answerer.evaluate(data.combinations),
        "test": record,
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }
