"""An answerer of own questions about passages.

    python -m transformer_lib train answers --data questions.json --out my-answerer
    python -m transformer_lib train answers --data questions.json --out my-answerer --from an-encoder

From scratch a reader needs very many questions; the chapter on question answering shows how many are too few. With
`--from` it goes on from an encoder that has read much text (`starting.py`); what LoRA adds to one of Hugging Face's is
also saved as an adapter for peft, with the head.
"""

from dataclasses import replace
from typing import Any

import torch

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Question
from transformer_lib.models.classifiers import SpanFinder
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.answer_calibration import calibrate, calibration_on
from transformer_lib.tasks.evaluation import OWN
from transformer_lib.tasks.own.adapting import Tuning, adapt, all_targets, base_of, conclude, known_by
from transformer_lib.tasks.own.material import OPTIONS as SHARED
from transformer_lib.tasks.own.material import Material, number_of, size_named
from transformer_lib.tasks.own.starting import read_start, reader_from
from transformer_lib.tasks.own.training import layers_of, train_own
from transformer_lib.tasks.question_answering import ALWAYS, QuestionAnswerer, Reader, reading_batches, reading_loss
from transformer_lib.tasks.reading import SPECIAL_TOKENS
from transformer_lib.text.stored import AnyTokenizer
from transformer_lib.text.tokenizer import Tokenizer

NAME = "answers"
OPTIONS = SHARED
SIZES = {
    "small": (3_000, 128, 2, 0.2, 30),
    "medium": (8_000, 256, 4, 0.1, 4),
}  # vocabulary, width, layers, dropout, epochs
EPOCHS_FROM = 10  # of an encoder that was trained before


def train_on_questions(run: Run) -> dict[str, Any]:
    """Exact match and F1 on the test, the number of questions on each side, and the facts of the training."""
    material = Material.of(run, ["questions"])
    train, validation, test = (list(material.examples(split)) for split in ("train", "validation", "test"))
    torch.manual_seed(run.seed)
    answerer, tuning, epochs = (_adapted if run.options["from"] else _fresh)(run, train)
    run = known_by(run, answerer.reader) if run.options["from"] else run
    learned, held_out = (_readable(part, answerer) for part in (train, validation))
    batches = reading_batches(answerer.layout, learned, token_budget=4096, seed=run.seed)
    checks = list(reading_batches(answerer.layout, held_out, token_budget=4096, seed=0, epochs=1))
    facts = train_own(
        run,
        answerer.reader,
        reading_loss,
        batches,
        checks,
        steps_per_epoch=batches.per_epoch,
        epochs=epochs,
        peak=tuning.peak,
        rates=tuning.rates,
    )
    if run.options["from"]:
        conclude(run, finder_of(answerer.reader), base_of(run.options))
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    left_out = len(train) + len(validation) - len(learned) - len(held_out)
    return facts | {"examples": counts, "left_out": left_out} | _finish(run, answerer, held_out, test)


run = train_on_questions  # what a recipe is asked for


def _fresh(run: Run, train: list[Question]) -> tuple[QuestionAnswerer, Tuning, int]:
    """An answerer from scratch, as large as the data allow, its rate, and how long it learns."""
    usual = "small" if len(train) < 20_000 else "medium"
    vocab, width, layers, dropout, epochs = SIZES[size_named(run.options, SIZES, usual)]
    texts = dict.fromkeys(text for question in train for text in (question.context, question.question))
    tokenizer = Tokenizer.train(
        [" " + text for text in texts], number_of(run.options, "vocab", vocab), SPECIAL_TOKENS, at_most=True
    )
    config = layers_of(
        tokenizer.vocab_size,
        width=width,
        layers=layers,
        d_ff=8 * width // 3,
        max_length=384,
        dropout=dropout,
        segments=3,
    )
    reader = Reader(config).to(run.device)
    return QuestionAnswerer(reader, tokenizer, max_answer=_longest(train, tokenizer)), Tuning(0.003, {}, []), epochs


def _adapted(run: Run, train: list[Question]) -> tuple[QuestionAnswerer, Tuning, int]:
    """An answerer on an encoder that was trained before."""
    base = base_of(run.options)
    start = read_start(base)
    reader, new = reader_from(start)
    assert isinstance(reader, Reader)
    longest = _longest(train, start.tokenizer)
    answerer = QuestionAnswerer(reader.to(run.device), start.tokenizer, max_answer=longest)  # refuses what cannot be
    targets = all_targets(reader.encoder, base, run.options)
    return answerer, adapt(reader, run.options, new=new, targets=targets), EPOCHS_FROM


@checked
def finder_of(reader: Reader) -> SpanFinder:
    """The same encoder and head as the model of which transformers knows the like."""
    with torch.device("meta"):
        finder = SpanFinder(reader.config)
    finder.encoder, finder.head = reader.encoder, reader.head
    return finder


def _finish(run: Run, answerer: QuestionAnswerer, validation: list[Question], test: list[Question]) -> dict[str, Any]:
    """Choose when to abstain, fit probabilities, score the weights as they are saved, and save them."""
    if not run.is_first:
        return {}
    answerer.reader.to(torch.float16).to(torch.float32).eval()
    if all(question.answers for question in validation):  # there is always an answer, so one is always given
        answerer = replace(answerer, threshold=ALWAYS)
    else:
        answerer = answerer.with_threshold_from(validation)
    answerer = calibrate(answerer, validation)
    readable_test = _readable(test, answerer)
    record = answerer.evaluate(readable_test) if readable_test else {}
    answerer.save(run.model_folder(), evaluation={"data": OWN}, record=record, dtype=torch.float16)
    believed = calibration_on(answerer, readable_test) if readable_test else {}
    return {"test": record, "threshold": answerer.threshold, "calibration": believed}


def _longest(questions: list[Question], tokenizer: AnyTokenizer) -> int:
    """The number of tokens that no answer of these exceeds, but the _longest of a hundred."""
    answers = [" " + answer.text for question in questions for answer in question.answers]
    require(len(answers) > 0, "data", "must have answers in the questions to train on", answers)
    lengths = sorted(map(len, tokenizer.encode_batch(answers)))
    return max(1, lengths[int(0.99 * (len(lengths) - 1))])


def _readable(questions: list[Question], answerer: QuestionAnswerer) -> list[Question]:
    """Those that leave room for a passage."""
    faults = answerer.unreadable([question.question for question in questions])
    return [question for number, question in enumerate(questions) if number not in faults]
