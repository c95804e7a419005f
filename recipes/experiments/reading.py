"""What does a reader of authored passages rest on, and what do new wordings and more passages cost it?

An encoder of two layers learns 5,000 questions with Muon, 320 steps; beside it one that is not shown which words of the
passage the question has. Each has its rate tuned alike, and the threshold below which it abstains is chosen on
validation. Exact match is in per cent, `start` the share of 300 answers whose first token has the highest score.
`without marks` takes the marks from a reader that was trained with them; `no way out` forbids it to say that there is
no answer, besides. The lists `passages` are exact match on questions to two collections of 40 passages, of which the
best 1, 2, 4, 8, 16 or 40 by BM25 are read, with the threshold of single passages or with one chosen on a third
collection; `others` are the other things asked for.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.examples import Question
from transformer_lib.data.toy_questions import Library, QuestionSplits, about, library, questions
from transformer_lib.runs.experiment import Experiment
from transformer_lib.tasks.answer_scores import best_threshold, f1_of, score_answers
from transformer_lib.tasks.question_answering import (
    AnswerFound,
    QuestionAnswerer,
    Reader,
    reading_batches,
    reading_loss,
)
from transformer_lib.tasks.reading import SPECIAL_TOKENS, Layout
from transformer_lib.tasks.retrieval import BM25, DenseIndex, mean_reciprocal_rank, mean_vectors, ranked, recall_at
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training import TrainConfig, train, warmup_cosine
from transformer_lib.viz.record import record_attention

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
CHOICE_SEEDS = (100,)
GROUPS = ("all", "answerable", "unanswerable")
PASSAGES = (1, 2, 4, 8, 16, 40)
Best = list[list[AnswerFound]]  # of each question the best span of every passage, in the order of BM25


@cache
def world() -> tuple[QuestionSplits, tuple[Library, ...]]:
    """Questions to one passage each, and three collections: two to report, the last to choose thresholds by."""
    return questions(0, train=5000, held_out=1000), tuple(library(s, passages=40, held_out=120) for s in (0, 1, 2))


@cache
def layout() -> Layout:
    texts = [" " + text for question in world()[0].train for text in (question.context, question.question)]
    return Layout(Tokenizer.train(texts, MODEL.vocab_size, SPECIAL_TOKENS), max_length=MODEL.max_length)


def run(seed: int, rate: float, marks: bool, asks: bool, steps: int) -> dict[str, Any]:
    data = QuestionSplits(*(part if asks else ask_nothing(part) for part in world()[0]))
    torch.manual_seed(seed)
    reader = Reader(replace(MODEL, segments=3 if marks else 2))
    answerer = QuestionAnswerer(reader, layout().tokenizer, max_answer=6)
    batches = reading_batches(layout(), data.train, token_budget=2048, seed=seed)
    schedule = partial(warmup_cosine, warmup=steps // 10, total=steps, peak=rate)
    config = TrainConfig(steps=steps, learning_rate=schedule, optimizer="muon", progress=False, seed=seed)
    train(reader, reading_loss, batches, config)
    answerer = answerer.with_threshold_from(data.validation[:500])
    chosen = answerer.evaluate(data.validation[:500])["all"]["exact_match"]
    if seed in CHOICE_SEEDS:
        return {"wrong on validation": 100 - chosen}
    answers = answerer.answer_all(data.test)
    measured: dict[str, Any] = {"wrong on validation": 100 - chosen, "threshold": answerer.threshold}
    measured |= exact("test", score_answers([found.text for found in answers], data.test))
    for name, part in (("training", data.train[:500]), ("combinations", data.combinations[:500])):
        measured[f"{name}: all"] = answerer.evaluate(part)["all"]["exact_match"]
    measured["asked nothing: all"] = answerer.evaluate(ask_nothing(data.test))["all"]["exact_match"]
    if marks and asks:
        measured |= by_kind(answers, data.test) | looks(reader, data.test) | several(answerer)
    return measured


def ask_nothing(part: Sequence[Question]) -> tuple[Question, ...]:
    return tuple(question._replace(question="?") for question in part)


def exact(name: str, scores: dict[str, Any]) -> dict[str, float]:
    return {f"{name}: {group}": scores[group]["exact_match"] for group in GROUPS}


def by_kind(answers: Sequence[AnswerFound], test: Sequence[Question]) -> dict[str, Any]:
    """Exact match by what is asked for, and of the two ways in which there can be no answer."""
    right = defaultdict(list)
    for found, question in zip(answers, test, strict=True):
        asked = about(question)
        hit = score_answers([found.text], [question])["all"]["exact_match"]
        right[asked.kind if not question.answers else f"{asked.relation}, {asked.side}"].append(hit)
    means = {name: sum(hits) / len(hits) for name, hits in sorted(right.items())}
    named = {name: means.pop(name) for name in ("absent", "unstated", "born, object")}
    return named | {
        "others, least": min(means.values()),
        "others, most": max(means.values()),
        "others": [*means.values()],
    }


@torch.no_grad()
def looks(reader: Reader, test: Sequence[Question]) -> dict[str, float]:
    """What becomes of the start of the answer when marks are taken away, and which head looks at marked tokens most."""
    sample = [question for question in test if question.answers][:300]
    batch = layout().collate(layout().examples(sample))
    unmarked = batch._replace(segments=batch.segments.clamp(max=1))
    with record_attention(reader) as seen:
        usual = reader(batch).start
    silent = reader(unmarked).start
    forced = silent.clone()
    forced[:, 0] = -torch.inf
    shared = (batch.segments == 2).float()
    rows = torch.arange(len(sample)), batch.targets[:, 0]
    weights = torch.stack([look.weights[rows[0], :, rows[1]] for look in seen])  # layer, example, head, key
    to_shared = torch.einsum("lehk,ek->lh", weights, shared) / len(sample)

    def share(scores: torch.Tensor) -> float:
        return (scores.argmax(-1) == batch.targets[:, 0]).float().mean().item()

    return {
        "start": share(usual),
        "start, without marks": share(silent),
        "start, without marks, no way out": share(forced),
        "says nothing, without marks": (silent.argmax(-1) == 0).float().mean().item(),
        "weight on marked tokens, most of any head": to_shared.max().item(),
        "weight on marked tokens, least of any head": to_shared.min().item(),
        "share of marked tokens": (shared.sum(-1) / batch.valid.sum(-1)).mean().item(),
    }


def several(answerer: QuestionAnswerer) -> dict[str, Any]:
    """How the passage is found, by BM25 and by the mean of the reader's vectors, and what reading k of them brings."""
    reported, choice = world()[1][:2], world()[1][2]
    read = [read_all(answerer, books) for books in (*reported, choice)]
    measured: dict[str, Any] = {}
    for name in ("BM25", "dense"):
        found = [ranks(answerer, books, name) for books in reported]
        rankings, relevant = ([row for each in found for row in each[i]] for i in (0, 1))
        measured |= {f"{name}: recall at {k}": recall_at(k, rankings, relevant) for k in (1, 3, 10)}
        measured[f"{name}: reciprocal rank"] = mean_reciprocal_rank(rankings, relevant)
    asked = [question for books in reported for question in books.questions]
    thresholds = {"": [answerer.threshold] * len(PASSAGES), ", own threshold": []}
    for k in PASSAGES:
        best = [max(row[:k], key=lambda found: found.score) for row in read[2]]
        thresholds[", own threshold"].append(threshold_of(best, choice.questions))
    for name, chosen in thresholds.items():
        scores = []
        for k, threshold in zip(PASSAGES, chosen, strict=True):
            best = [max(row[:k], key=lambda found: found.score) for part in read[:2] for row in part]
            scores.append(score_answers([found.text if found.score > threshold else "" for found in best], asked))
        for group in GROUPS:
            measured[f"passages{name}: {group}"] = [row[group]["exact_match"] for row in scores]
    return measured | {"thresholds by passages": thresholds[", own threshold"]}


def read_all(answerer: QuestionAnswerer, books: Library) -> Best:
    index = BM25(books.passages)
    orders = [ranked(index.scores(question.question)) for question in books.questions]
    pairs = [
        (question.question, books.passages[number])
        for question, order in zip(books.questions, orders, strict=True)
        for number in order
    ]
    found, size = answerer.best(pairs), len(books.passages)
    return [found[i : i + size] for i in range(0, len(found), size)]


def threshold_of(best: Sequence[AnswerFound], asked: Sequence[Question]) -> float:
    gains = [f1_of(found.text, q, "en") - f1_of("", q, "en") for found, q in zip(best, asked, strict=True)]
    return best_threshold([found.score for found in best], gains)


def ranks(answerer: QuestionAnswerer, books: Library, name: str) -> tuple[list[list[int]], list[int]]:
    """The order of the passages for each question that has an answer, and the number of the right one."""
    asked = [question for question in books.questions if question.answers]

    def embed(texts: Sequence[str]) -> torch.Tensor:
        return mean_vectors(answerer.reader.encoder, answerer.tokenizer.encode_batch(" " + text for text in texts))

    index = BM25(books.passages) if name == "BM25" else DenseIndex(books.passages, embed)
    rankings = [ranked(index.scores(question.question)) for question in asked]
    return rankings, [books.passages.index(question.context) for question in asked]


EXPERIMENT = Experiment(
    arms={
        "reader": {"marks": True, "asks": True, "steps": 320},
        "without the mark": {"marks": False, "asks": True, "steps": 320},
    },
    run=run,
    rates=(0.005, 0.01, 0.02),
    chosen_by="wrong on validation",
    choice_seeds=CHOICE_SEEDS,
    data=world,
)
