"""A saved model scored on a reader's own file: the metric of its community, an interval, and what the errors are."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Chat, Pair, Question
from transformer_lib.data.own import Fault, Kind, kind_of, read_own
from transformer_lib.data.packing import bits_per_byte, held_out_batches
from transformer_lib.device import check_device
from transformer_lib.files import read_json
from transformer_lib.interop.families import class_of
from transformer_lib.interop.huggingface import CONFIG
from transformer_lib.tasks.answer_scores import score_answers
from transformer_lib.tasks.encoder import ENCODERS, PretrainedEncoder
from transformer_lib.tasks.encoder import TASK as GUESSING
from transformer_lib.tasks.entity_tagger import EntityTagger
from transformer_lib.tasks.evaluation import load_task
from transformer_lib.tasks.extraction import EntityRelationExtractor, named_relations, scores
from transformer_lib.tasks.extraction_errors import entity_errors, relation_errors
from transformer_lib.tasks.intervals import bootstrap, f1_interval, mean_interval
from transformer_lib.tasks.language_model import TASK as WRITING
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.metrics import bleu, bleu_resampled, chrf
from transformer_lib.tasks.opus import OpusTranslator
from transformer_lib.tasks.own.adapting import Base, base_of
from transformer_lib.tasks.own.encoder import guessed
from transformer_lib.tasks.own.further_text import chat_batches, chat_rows, end_of, loss_of_batches, read_writer
from transformer_lib.tasks.own.further_translation import read_translator
from transformer_lib.tasks.own.material import has_chats
from transformer_lib.tasks.own.starting import read_encoder
from transformer_lib.tasks.own.text import stream
from transformer_lib.tasks.own.translation import tokenize_for
from transformer_lib.tasks.question_answering import QuestionAnswerer
from transformer_lib.tasks.saved import read_about
from transformer_lib.tasks.translation import Translator
from transformer_lib.tasks.translation_errors import count_signs
from transformer_lib.text.chat import read_chat_template

KINDS: dict[str, tuple[Kind, ...]] = {
    "translation": ("pairs",),
    "extraction": ("columns", "offsets"),
    "question answering": ("questions",),
    WRITING: ("texts", "chats"),
    GUESSING: ("texts",),
}
WINDOW = 1024  # tokens of a text at most that are read together; a model may take fewer
OF_ENGLISH = ("name lost", "negation lost", "question lost", "left in English")  # signs that know English to Chinese


@checked
def score_own(
    folder: str | Path, files: Sequence[Path], *, device: torch.device | str = "cpu", skip_bad: bool = False
) -> dict[str, Any]:
    """`scores` on these files, with `intervals` of 95 % by the bootstrap over examples, and `errors` by their sort.

    `left_out` counts the examples that the model cannot read, and with `skip_bad` the lines that hold none;
    `ValueError` for such a line otherwise, or for files of another kind than the model's task needs.
    """
    device = check_device(device)
    base = base_of({"from": str(folder)})
    task = _task(base)
    require(task in KINDS, "task", f"must be one of {sorted(KINDS)}", task)
    if task == WRITING:
        kind: Kind = "chats" if has_chats(files) else "texts"
    else:
        kind = KINDS[task][0] if len(KINDS[task]) == 1 else kind_of(files)
    require(kind in KINDS[task], "data", f"must be {' or '.join(KINDS[task])} for a model of {task}", kind)
    found = list(read_own(files, kind))
    bad = [each for each in found if isinstance(each, Fault)]
    if bad and not skip_bad:
        raise ValueError(f"{bad[0]} ({len(bad)} in all; --skip-bad goes on without them)")
    examples = [each.example for each in found if not isinstance(each, Fault)]
    require(len(examples) > 0, "data", "must hold examples", list(map(str, files)))
    match task:
        case "language model":
            writer = read_writer(base, device)
            result = _talked(writer, base, examples) if kind == "chats" else _written(writer, examples)
        case "translation":
            result = _translated(read_translator(base, device), examples)
        case "masked text":
            result = _guessed(read_encoder(base, device), examples)
        case "extraction" if base.published:
            result = _extracted(EntityTagger.from_hf(base.folder, device=device), examples)
        case "question answering" if base.published:
            result = _answered(QuestionAnswerer.from_hf(base.folder, device=device), examples)
        case _:
            result = _scored(load_task(base.folder, device=device), examples)
    return {"task": task, **result, "left_out": result["left_out"] + len(bad)}


def _task(base: Base) -> str:
    if not base.published:
        return str(read_about(base.folder)["task"])
    if base.model_type in ENCODERS:
        fields = read_json(base.folder / CONFIG)
        assert isinstance(fields, dict)  # as `base_of` saw
        return {"TokenClassifier": "extraction", "SpanFinder": "question answering"}.get(class_of(fields), GUESSING)
    return "translation" if base.model_type == "marian" else WRITING


def _guessed(encoder: PretrainedEncoder, texts: list[str]) -> dict[str, Any]:
    scores = guessed(encoder, texts)
    return {"examples": len(texts), "left_out": 0, "scores": scores, "intervals": {}, "errors": {}}


def _scored(model: Any, examples: list[Any]) -> dict[str, Any]:
    return _extracted(model, examples) if isinstance(model, EntityRelationExtractor) else _answered(model, examples)


def _translated(translator: Translator | OpusTranslator, pairs: list[Pair]) -> dict[str, Any]:
    bad = translator.unreadable([pair.source for pair in pairs])
    kept = [pair for number, pair in enumerate(pairs) if number not in bad]
    require(len(kept) > 0, "data", "must have sentences that the model can read", len(pairs))
    sources, references = ([pair[side] for pair in kept] for side in (0, 1))
    written = translator(sources)
    tokenize = tokenize_for(references)
    found = {"bleu": bleu(written, references, tokenize=tokenize), "chrf": chrf(written, references)}
    # The bootstrap compares two systems; the second, the references themselves, is there for that alone.
    drawn = bleu_resampled({"model": written, "references": references}, references, tokenize=tokenize)["model"]
    errors = count_signs(sources, written, references)
    if tokenize != "zh":
        errors = {name: count for name, count in errors.items() if name not in OF_ENGLISH}
    return {
        "examples": len(kept),
        "left_out": len(bad),
        "scores": {name: score.value for name, score in found.items()},
        "signatures": {name: score.signature for name, score in found.items()},
        "intervals": {"bleu": [drawn.value - drawn.margin, drawn.value + drawn.margin]},
        "errors": errors,
    }


def _extracted(extractor: EntityRelationExtractor | EntityTagger, gold: list[Annotated]) -> dict[str, Any]:
    found = extractor([example.words for example in gold])
    whole = scores(found, gold)
    intervals, errors = {}, {}
    for name, items, sorts in (
        ("entities", lambda example: example.entities, entity_errors),
        ("relations", named_relations, relation_errors),
    ):
        ours, theirs = [set(items(each)) for each in found], [set(items(each)) for each in gold]
        if not any(chain(ours, theirs)):
            whole.pop(name)
            continue
        both = [a & b for a, b in zip(ours, theirs, strict=True)]
        intervals[name] = list(f1_interval(*([float(len(row)) for row in part] for part in (both, ours, theirs))))
        errors[name] = dict(Counter(e for a, b in zip(found, gold, strict=True) for e in sorts(a, b)).most_common())
    return {"examples": len(gold), "left_out": 0, "scores": whole, "intervals": intervals, "errors": errors}


def _answered(answerer: QuestionAnswerer, asked: list[Question]) -> dict[str, Any]:
    bad = answerer.unreadable([question.question for question in asked])
    kept = [question for number, question in enumerate(asked) if number not in bad]
    require(len(kept) > 0, "data", "must have questions that the model can read", len(asked))
    texts = [found.text for found in answerer.answer_all(kept)]
    each = [
        score_answers([text], [question], language=answerer.language)["all"]
        for text, question in zip(texts, kept, strict=True)
    ]
    return {
        "examples": len(kept),
        "left_out": len(bad),
        "scores": score_answers(texts, kept, language=answerer.language),
        "intervals": {name: list(mean_interval([row[name] for row in each])) for name in ("exact_match", "f1")},
        "errors": dict(
            Counter(_fault(text, q, s["f1"]) for text, q, s in zip(texts, kept, each, strict=True)).most_common()
        ),
    }


def _fault(text: str, question: Question, f1: float) -> str:
    if not question.answers:
        return "right to say nothing" if not text else "answered what the passage does not tell"
    if not text:
        return "said nothing"
    return "right" if f1 == 100 else "partly right" if f1 else "wrong place"


def _written(writer: Writer, texts: list[str]) -> dict[str, Any]:
    """Bits per byte; the interval draws windows of text again."""
    ids = stream(writer.tokenizer, texts, end_of(writer))
    require(len(ids) > 1, "data", "must have more than one token", len(ids))
    context = min(WINDOW, writer.model.config.max_length, len(ids) - 1)
    sums = [loss_of_batches(writer, [batch]) for batch in held_out_batches(ids, batch=1, context=context)]
    nats, count = (sum(column) for column in zip(*sums, strict=True))
    per_token = sum(len(text.encode()) for text in texts) / count
    means = [loss / number for loss, number in sums]
    return {
        "examples": len(texts),
        "left_out": 0,
        "scores": {"bits_per_byte": bits_per_byte(nats / count, per_token)},
        "intervals": {"bits_per_byte": [bits_per_byte(end, per_token) for end in mean_interval(means)]},
        "errors": {},
    }


def _talked(writer: Writer, base: Base, chats: list[Chat]) -> dict[str, Any]:
    """Nats for each token of the assistant's; the interval draws answers again."""
    require(base.published, "the model", "must be a chat model, with a template", str(base.folder))
    rows = chat_rows(writer, read_chat_template(base.folder), chats)
    most = writer.model.config.max_length
    kept = [row for row in rows if len(row.ids) <= most]
    require(len(kept) > 0, "data", f"must have conversations of at most {most} tokens", "none")
    sums = [loss_of_batches(writer, chat_batches([row], token_budget=len(row.ids), seed=0, epochs=1)) for row in kept]
    nats, count = (sum(column) for column in zip(*sums, strict=True))
    return {
        "examples": len(kept),
        "left_out": len(rows) - len(kept),
        "scores": {"nats_per_token": nats / count},
        "intervals": {"nats_per_token": list(bootstrap(torch.tensor(sums).double(), lambda s: s[:, 0] / s[:, 1]))},
        "errors": {},
    }
