"""XQuAD, English and Chinese: how far reading comprehension carries that nothing but this recipe has taught.

Three readers, all from scratch. One learns from 20,000 authored questions and reads XQuAD as it is ("zero-shot"). The
other two learn from XQuAD's own last articles, 845 questions, one in each language, and are asked about its first ten.
The settings were chosen while ten others were the test: these ten were looked at only afterwards.
XQuAD was made for testing readers trained elsewhere, on a hundred times as many questions. That is the point.
Beside them stand what needs no reader: a random span, and the sentence with the most words of the question.

    OMP_NUM_THREADS=1 python -m transformer_lib train recipes/xquad.py --seed 0

Data: Artetxe et al. (2020), English passages and questions from SQuAD (Rajpurkar et al. 2016).
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.examples import Question
from transformer_lib.data.toy_questions import questions
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import load_examples
from transformer_lib.tasks.metrics import Language
from transformer_lib.tasks.question_answering import (
    QuestionAnswerer,
    Reader,
    reading_batches,
    reading_loss,
    score_answers,
)
from transformer_lib.tasks.reading import SPECIAL_TOKENS, Layout
from transformer_lib.tasks.retrieval import WORD, words
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.schedule import warmup_cosine

NAME = "xquad"
OPTIONS = {"authored": "20000", "authored_epochs": "4", "epochs": "4"}
LANGUAGES: tuple[Language, ...] = ("en", "zh")
PASSAGES_OF_AN_ARTICLE = 5
ARTICLES = (slice(13, 48), slice(10, 13), slice(0, 10))
VOCAB = {"authored": 3000, "en": 1000, "zh": 1200}
MAX_ANSWER = 24
MODEL = ModelConfig(
    vocab_size=VOCAB["authored"],
    d_model=128,
    num_layers=2,
    max_length=384,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=336),
    positions=Rope(),
    norm=Norm(kind="rms"),
    segments=3,
)
ALWAYS = 1e9  # no score comes near it
SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|[\u3002\uff01\uff1f]|$)", re.DOTALL)  # the last three are Chinese


class Split(NamedTuple):
    """The questions of one language, by article."""

    train: list[Question]
    validation: list[Question]
    test: list[Question]


def run(run: Run) -> dict[str, Any]:
    """Exact match and F1 of readers and baselines, on the ten articles of the test and zero-shot on all of XQuAD."""
    every = {language: load_examples(f"xquad {language}") for language in LANGUAGES}
    splits = {language: split(every[language]) for language in LANGUAGES}
    results: dict[str, Any] = {"authored": authored(run, every, splits)}
    for language, part in splits.items():
        results[language] = {"questions": {name: len(getattr(part, name)) for name in Split._fields}}
        results[language] |= {"baselines": baselines(part.test, language), "trained": trained(run, part, language)}
    return results


def split(every: Sequence[Question]) -> Split:
    """By article, so that no passage and no subject of the training is tested."""
    passages = [list(group) for _, group in groupby(every, key=lambda question: question.context)]
    articles = [passages[i : i + PASSAGES_OF_AN_ARTICLE] for i in range(0, len(passages), PASSAGES_OF_AN_ARTICLE)]
    parts = [[q for article in articles[part] for passage in article for q in passage] for part in ARTICLES]
    return Split(*parts)


def authored(run: Run, every: dict[Language, Sequence[Question]], splits: dict[Language, Split]) -> dict[str, Any]:
    """A reader of authored questions, on more of its own kind and, whether it would abstain or not, on XQuAD.

    Its tokeniser has also seen XQuAD's passages of training, without questions, so that it can spell both languages.
    """
    count = int(run.options["authored"])
    own = questions(run.seed, train=count, held_out=max(1, count // 40))
    texts = [text for question in own.train[:2000] for text in (question.context, question.question)]
    texts += [question.context for language in LANGUAGES for question in splits[language].train]
    answerer = new_answerer(run, texts, vocab_size=VOCAB["authored"], dropout=0.0)
    epochs = int(run.options["authored_epochs"])
    facts = train(run, "authored", answerer, own.train, own.validation, epochs=epochs, token_budget=4096, peak=0.003)
    careful = answerer.with_threshold_from(own.validation)
    bold = replace(answerer, threshold=-ALWAYS)
    results = {name: careful.evaluate(getattr(own, name)) for name in ("validation", "combinations", "test")}
    for language in LANGUAGES:
        for name, reader in (("abstaining", careful), ("answering", bold)):
            reader = replace(reader, language=language)
            results[f"zero_shot_{language}_{name}"] = reader.evaluate(every[language])
            results[f"zero_shot_{language}_{name}_test"] = reader.evaluate(splits[language].test)
    return facts | results | {"threshold": careful.threshold}


def trained(run: Run, part: Split, language: Language) -> dict[str, Any]:
    """A reader of XQuAD's own questions, which all have an answer: it never abstains."""
    texts = [text for question in part.train for text in (question.context, question.question)]
    answerer = new_answerer(run, texts, vocab_size=VOCAB[language], dropout=0.3)
    answerer = replace(answerer, threshold=-ALWAYS, language=language)
    epochs = int(run.options["epochs"])
    facts = train(run, language, answerer, part.train, part.validation, epochs=epochs, token_budget=4096, peak=0.002)
    return facts | {
        "train": answerer.evaluate(part.train),
        "validation": answerer.evaluate(part.validation),
        "test": answerer.evaluate(part.test),
        "tokens_can_say": score_answers([sayable(answerer.layout, q) for q in part.test], part.test, language=language),
    }


def new_answerer(run: Run, texts: Sequence[str], *, vocab_size: int, dropout: float) -> QuestionAnswerer:
    """Tokeniser from the texts, weights from the seed; three segments, so that shared tokens are marked."""
    tokenizer = Tokenizer.train([" " + text for text in dict.fromkeys(texts)], vocab_size, SPECIAL_TOKENS)
    torch.manual_seed(run.seed)
    config = replace(MODEL, vocab_size=vocab_size, dropout=dropout)
    return QuestionAnswerer(Reader(config).to(run.device), tokenizer, max_answer=MAX_ANSWER)


def train(
    run: Run,
    name: str,
    answerer: QuestionAnswerer,
    examples: Sequence[Question],
    validation: Sequence[Question],
    *,
    epochs: int,
    token_budget: int,
    peak: float,
) -> dict[str, Any]:
    """Train the answerer's reader; the weights with the lowest loss on validation, or means of the last, stay."""
    batches = reading_batches(answerer.layout, examples, token_budget=token_budget, seed=run.seed)
    held_out = list(reading_batches(answerer.layout, validation, token_budget=token_budget, seed=0, epochs=1))
    steps = epochs * batches.per_epoch
    config = TrainConfig(
        steps=steps,
        learning_rate=partial(warmup_cosine, warmup=steps // 20, total=steps, peak=peak),
        betas=(0.9, 0.99),
        seed=run.seed,
        eval_every=batches.per_epoch,
        checkpoint_every=batches.per_epoch,
        keep=4,
    )
    facts = run.train(answerer.reader, reading_loss, batches, config, held_out=held_out, averages=(1, 2, 4), name=name)
    answerer.reader.eval()
    return facts | {"epochs": epochs}


# What needs no reader -------------------------------------------------------------------------------------------------


def baselines(examples: Sequence[Question], language: Language) -> dict[str, Any]:
    """A random run of one to four words, and the whole sentence that shares most words with the question."""
    rng = random.Random(0)
    ways = {"random_span": partial(random_span, rng), "sentence_overlap": best_sentence}
    return {name: score_answers([way(q) for q in examples], examples, language=language) for name, way in ways.items()}


def random_span(rng: random.Random, question: Question) -> str:
    """From the beginning of a word to the end of the same or one of the next three."""
    found = list(WORD.finditer(question.context.lower()))
    first = rng.randrange(len(found))
    last = min(first + rng.randrange(4), len(found) - 1)
    return question.context[found[first].start() : found[last].end()]


def best_sentence(question: Question) -> str:
    """The sentence with the most words of the question; of equals the first."""
    asked = set(words(question.question))
    return max(SENTENCE.findall(question.context), key=lambda sentence: len(asked & set(words(sentence))))


def sayable(layout: Layout, question: Question) -> str:
    """The answer as far as whole tokens can say it."""
    pieces, (text, start) = layout.pieces(question.context), question.answers[0]
    return question.context[slice(*pieces.characters(*pieces.tokens(start, start + len(text))))]
