"""How much of the authored questions can be answered from the passage alone?

The reader of `reading.py` is trained as there, for as many steps and on the same passages, but `?` stands in the place
of every question, in training as in the test, so that it learns whatever a passage gives away about what will be asked.
The rate is tuned by the loss on validation (`choice`, in nats), and the threshold below which it abstains is chosen
there. Exact match on the test is in per cent, over `all` questions, and over those with an answer: `answerable`, where
it may abstain, and `always answering`, where it must give the best span, right or wrong.
"""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.examples import Question
from transformer_lib.data.toy_questions import QuestionSplits, questions
from transformer_lib.runs.experiment import Experiment
from transformer_lib.tasks.question_answering import QuestionAnswerer, Reader, reading_batches, reading_loss
from transformer_lib.tasks.reading import SPECIAL_TOKENS, Layout
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training import TrainConfig, evaluate, train, warmup_cosine

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
NEVER = -1e9  # a threshold so low that it abstains from nothing


@cache
def world() -> QuestionSplits:
    return questions(0, train=5000, held_out=1000)


@cache
def layout() -> Layout:
    texts = [" " + text for question in world().train for text in (question.context, question.question)]
    return Layout(Tokenizer.train(texts, MODEL.vocab_size, SPECIAL_TOKENS), max_length=MODEL.max_length)


def ask_nothing(part: tuple[Question, ...]) -> list[Question]:
    return [question._replace(question="?") for question in part]


def run(seed: int, rate: float, steps: int) -> dict[str, Any]:
    data = {name: ask_nothing(part) for name, part in world()._asdict().items()}
    torch.manual_seed(seed)
    answerer = QuestionAnswerer(Reader(MODEL), layout().tokenizer, max_answer=6)
    batches = reading_batches(layout(), data["train"], token_budget=2048, seed=seed)
    schedule = partial(warmup_cosine, warmup=steps // 10, total=steps, peak=rate)
    config = TrainConfig(steps=steps, learning_rate=schedule, optimizer="muon", progress=False, seed=seed)
    train(answerer.reader, reading_loss, batches, config)
    answerer.reader.eval()
    held_out = list(reading_batches(layout(), data["validation"][:500], token_budget=8192, seed=0, epochs=1))
    choice = evaluate(answerer.reader, reading_loss, held_out)
    if seed >= 100:  # only the rate is chosen by this run
        return {"choice": choice}
    answerer = answerer.with_threshold_from(data["validation"][:500])
    bold, answerable = replace(answerer, threshold=NEVER), [question for question in data["test"] if question.answers]
    scores = answerer.evaluate(data["test"])
    return {
        "choice": choice,
        "threshold": answerer.threshold,
        "answered": scores["answered"],
        **{group: scores[group]["exact_match"] for group in ("all", "answerable", "unanswerable")},
        "always answering": bold.evaluate(answerable)["all"]["exact_match"],
    }


EXPERIMENT = Experiment(
    arms={"passage alone": {"steps": 320}},
    run=run,
    rates=(0.0025, 0.005, 0.01),
    chosen_by="choice",
    choice_seeds=(100, 101),
    data=world,
)
