"""How the public callables of `transformer_lib.tasks` that have a model are called validly, and those around them."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.contract.calls.config import SMALL
from tests.contract.calls.engines import tasks_on_engines
from tests.contract.calls.runs import new_run
from tests.contract.calls.text import new_pair
from transformer_lib.config import Norm, Seq2SeqConfig, Sinusoidal, SwiGlu, to_json
from transformer_lib.data.examples import Annotated, Answer, Chat, Entity, Pair, Question, Relation
from transformer_lib.data.packing import LMBatch
from transformer_lib.generation.beam import Beams
from transformer_lib.interop.generation_config import GenerationSettings
from transformer_lib.interop.huggingface import to_hf
from transformer_lib.models import DecoderLM, Seq2Seq
from transformer_lib.models.heads import MaskedLM, SpanScores
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks import (
    extraction,
    extraction_model,
    language_model,
    opus,
    paragraphs,
    pretraining,
    question_answering,
    reading,
    talk,
    translation,
    translation_run,
)
from transformer_lib.tasks.calibration import Platt
from transformer_lib.tasks.candidates import Translation
from transformer_lib.tasks.own import adapting
from transformer_lib.text.bpe import BPE
from transformer_lib.text.chat import ChatTemplate
from transformer_lib.text.published import read_pair
from transformer_lib.text.spoken import Spoken
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.loss import LossSum

HERE = "transformer_lib.tasks."

SENTENCE = Annotated(("Ada", "wrote", "Winter"), (Entity("person", 0, 1), Entity("work", 2, 3)), ())
QUESTION = Question("1", "Anna sang. Boris slept.", "Who?", (Answer("Anna", 0),))
BYTES = Tokenizer.from_bpe(BPE([], reading.SPECIAL_TOKENS))
LAYOUT = reading.Layout(BYTES, max_length=30)
EXAMPLES = LAYOUT.examples([QUESTION])
PAIRS = [Pair("a dog", "ein Hund"), Pair("two cats", "zwei Katzen")]
TRANSLATING = Tokenizer.from_bpe(BPE([], (translation.PAD, translation.START, translation.END)))
WRITING = Tokenizer.from_bpe(BPE([], ("<|end|>",)))
SIDE = replace(SMALL, vocab_size=TRANSLATING.vocab_size, max_length=48)
KINDS = extraction_model.ExtractionConfig(
    encoder=replace(SMALL, vocab_size=256, max_length=32), kinds=("person", "work"), relations=("wrote",), pair_width=4
)
RELATED = SENTENCE._replace(relations=(Relation("wrote", 0, 1),))
READING = replace(SMALL, vocab_size=BYTES.vocab_size, max_length=30, segments=2)


def _translator() -> translation.Translator:
    return translation.Translator(Seq2Seq(Seq2SeqConfig(encoder=SIDE, decoder=SIDE)).eval(), TRANSLATING)


TEMPLATE = ChatTemplate("{% for m in messages %}{{ m.content }}\n{% endfor %}")
MARIAN = replace(
    SMALL, vocab_size=6, attention=replace(SMALL.attention, bias=True), positions=Sinusoidal(), norm_order="post"
)


def _marian() -> Seq2Seq:
    return Seq2Seq(Seq2SeqConfig(encoder=MARIAN, decoder=MARIAN, share_embeddings=True)).eval()


def _settings() -> GenerationSettings:
    return GenerationSettings(stop_ids=(0,), forbidden_ids=(5,), start_id=5, last_id=0)


def _opus_translator() -> opus.OpusTranslator:
    return opus.OpusTranslator(_marian(), read_pair(new_pair()), _settings())


def _opus() -> Path:
    path, pair = _new(), new_pair()
    to_hf(_marian(), path, token_ids={"pad_token_id": 5, "eos_token_id": 0, "decoder_start_token_id": 5})
    for file in pair.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


def _talking() -> Path:
    path = Path(_theirs())
    (path / "chat_template.jinja").write_text(TEMPLATE.source)
    return path


def _extractor() -> extraction.EntityRelationExtractor:
    return extraction.EntityRelationExtractor(extraction_model.ExtractionModel(KINDS), Tokenizer.from_bpe(BPE([], ())))


def _answerer() -> question_answering.QuestionAnswerer:
    return question_answering.QuestionAnswerer(question_answering.Reader(READING).eval(), BYTES)


def _writer() -> language_model.Writer:
    return language_model.Writer(DecoderLM(replace(SMALL, vocab_size=WRITING.vocab_size)).eval(), WRITING)


def _new(name: str = "new") -> Path:
    return Path(tempfile.mkdtemp(dir=".")) / name


def _saved(task: Any) -> str:
    folder = _new()
    task.save(folder)
    return str(folder)


def _theirs() -> str:
    folder = _new()
    model = DecoderLM(replace(SMALL, vocab_size=WRITING.vocab_size, feedforward=SwiGlu(d_ff=16), norm=Norm(kind="rms")))
    to_hf(model, folder, tokenizer=WRITING)
    return str(folder)


def _scored() -> str:
    folder = _new()
    _answerer().save(folder, evaluation={"data": "xquad en", "split": "test"})
    return str(folder)


def _about() -> dict[str, Any]:
    return {"evaluation": {"data": "multi30k de-en"}, "record": {"bleu": 1.0}, "dtype": torch.float16}


def _encoded() -> list[translation.PairIds]:
    return translation.encode_pairs(TRANSLATING, PAIRS)


def _pieces() -> list[list[list[int]]]:
    return [extraction.cut_words(RELATED.words, _extractor().tokenizer)]


def _collated() -> extraction_model.Batch:
    return extraction_model.collate([RELATED], _pieces(), KINDS)


def _masked() -> pretraining.MaskedBatch:
    return pretraining.mask_tokens(torch.ones(2, 8, dtype=torch.long), mask=3, vocab_size=8, share=0.9)


def _vectors_and_spans() -> dict[str, Any]:
    return {"words": torch.randn(1, 3, 8), "spans": _collated().spans}


def _plan() -> dict[str, Any]:
    return {
        **{"data": "multi30k de-en", "model": Seq2SeqConfig(encoder=SIDE, decoder=SIDE), "epochs": 1},
        **{"token_budget": 64, "peak": 1e-3, "warmup": 1, "decay": 0.5, "lowercase": True, "scoring": {"beams": 1}},
        **{"optimizer": "adamw", "weight_decay": 0.1, "smoothing": 0.1, "averages": [1]},
    }


def _finish() -> dict[str, Any]:
    return {
        **{"run": new_run(), "plan": translation_run.Plan(**_plan()), "model": _translator().model},
        **{"tokenizer": TRANSLATING, "validation": PAIRS[:1], "test": PAIRS[:1]},
    }


def _to_save() -> dict[str, Any]:
    writer = _writer()
    return {
        **{"folder": str(_new()), "model": writer.model, "tokenizer": WRITING, "task": "any"},
        **{"about": {"note": "a"}, "dtype": torch.float16},
    }


def _span_scores() -> SpanScores:
    return SpanScores(torch.randn(2, 5), torch.randn(2, 5))


OF_TRANSLATION: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}translation.clean": lambda: {"text": "A  dog", "lowercase": True},
    f"{HERE}translation.train_tokenizer": lambda: {"pairs": list(PAIRS), "vocab_size": 259, "lowercase": True},
    f"{HERE}translation.PairIds": lambda: _encoded()[0]._asdict(),
    f"{HERE}translation.encode_pairs": lambda: {"tokenizer": TRANSLATING, "pairs": list(PAIRS), "lowercase": True},
    f"{HERE}translation.Batch": lambda: translation.make_batch(_encoded())._asdict(),
    f"{HERE}translation.make_batch": lambda: {"pairs": _encoded()},
    f"{HERE}translation.pair_batches": lambda: {"pairs": _encoded(), "token_budget": 64, "seed": 0, "epochs": 1},
    f"{HERE}translation.translation_loss": lambda: {
        **{"model": _translator().model, "batch": translation.make_batch(_encoded()), "smoothing": 0.1}
    },
    f"{HERE}translation.Translator": lambda: {
        "model": _translator().model,
        "tokenizer": TRANSLATING,
        "lowercase": True,
        "unsure_below": -0.5,
    },
    f"{HERE}translation.Translator.load": lambda: {"folder": _saved(_translator()), "device": "cpu"},
    f"{HERE}translation.Translator.save": lambda: {"self": _translator(), "folder": str(_new())} | _about(),
    f"{HERE}translation.Translator.__call__": lambda: {
        **{"self": _translator(), "texts": ["a dog"], "beams": 2, "length_penalty": 0.5, "batch": 4}
    },
    f"{HERE}translation.Translator.candidates": lambda: {
        **{"self": _translator(), "texts": ["a dog"], "beams": 2, "length_penalty": 0.5, "n_best": 2, "batch": 4}
    },
    f"{HERE}candidates.best_of": lambda: {
        "beams": Beams(torch.tensor([[[97]]]), torch.tensor([[1]]), torch.tensor([[-1.0]]), torch.tensor([[-1.0]])),
        **{"sources": ["a"], "spell": lambda ids: bytes(ids).decode(), "n_best": 1},
    },
    f"{HERE}candidates.together": lambda: {"lengths": [3, 0, 20], "batch": 2},
    f"{HERE}candidates.check_count": lambda: {"n_best": 1, "beams": 2},
    f"{HERE}paragraphs.split_sentences": lambda: {"text": "I am. You are.", "language": "en"},
    f"{HERE}paragraphs.join_sentences": lambda: {"sentences": ["I am.", "You are."]},
    f"{HERE}paragraphs.to_script": lambda: {"text": "這個", "script": "simplified"},
    f"{HERE}paragraphs.Paragraph": lambda: {
        "best": (Translation("a", -1.0, 2),),
        "sentences": (("b", Translation("a", -1.0, 2)),),
    },
    f"{HERE}paragraphs.ParagraphTranslator": lambda: {
        **{"translator": _translator(), "language": "en", "script": "traditional"}
    },
    f"{HERE}paragraphs.ParagraphTranslator.__call__": lambda: {
        **{"self": paragraphs.ParagraphTranslator(_translator()), "texts": ["a dog"], "beams": 2},
        **{"length_penalty": 0.5, "n_best": 2, "batch": 4},
    },
    f"{HERE}paragraphs.ParagraphTranslator.unreadable": lambda: {
        **{"self": paragraphs.ParagraphTranslator(_translator(), "en"), "texts": ["a dog. a cat.", "a" * 99]}
    },
    f"{HERE}paragraphs.ParagraphTranslator.is_unsure": lambda: {
        **{"self": paragraphs.ParagraphTranslator(_translator()), "best": [Translation("a", -1.0, 2)]}
    },
    f"{HERE}sureness.judge": lambda: {"translator": _translator(), "pairs": list(PAIRS), "beams": 1},
    f"{HERE}translation.Translator.unreadable": lambda: {"self": _translator(), "texts": ["a dog", "a" * 99]},
    f"{HERE}translation.Translator.evaluate": lambda: {
        **{"self": _translator(), "pairs": PAIRS[:1], "beams": 1, "length_penalty": 1.0},
        **{"lowercase": True, "tokenize": "zh"},
    },
    f"{HERE}translation.Translator.batch": lambda: {"self": _translator(), "pairs": list(PAIRS)},
    f"{HERE}translation_shortcuts.cut_words": lambda: {"text": "A dog, two cats."},
    f"{HERE}translation_shortcuts.cutter": lambda: {"texts": ["大象大象"], "vocab_size": 257},
    f"{HERE}translation_shortcuts.memory": lambda: {"train": list(PAIRS)},
    f"{HERE}translation_shortcuts.dictionary": lambda: {"train": list(PAIRS), "rounds": 2},
    f"{HERE}translation_errors.signs": lambda: {"source": "Is it?", "written": "是。", "reference": "是吗?"},
    f"{HERE}translation_errors.count_signs": lambda: {
        **{"sources": ["Is it?"], "written": ["是。"], "references": ["是吗?"]}
    },
    f"{HERE}translation_errors.mixes_scripts": lambda: {"text": "这個"},
    f"{HERE}translation_run.Plan": _plan,
    f"{HERE}translation_run.finish": _finish,
}
OF_EXTRACTION: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}extraction.train_tokenizer": lambda: {"examples": [SENTENCE], "vocab_size": 256},
    f"{HERE}extraction.extraction_batches": lambda: {
        **{"examples": [RELATED], "extractor": _extractor(), "token_budget": 64, "seed": 0, "epochs": 1},
        **{"change": lambda example: example},
    },
    f"{HERE}extraction.EntityRelationExtractor": lambda: {
        **{"model": _extractor().model, "tokenizer": _extractor().tokenizer}
    },
    f"{HERE}extraction.EntityRelationExtractor.__call__": lambda: {
        **{"self": _extractor(), "sentences": ["Ada wrote", ["Ada"]], "constrained": False, "rows": 2}
    },
    f"{HERE}extraction.EntityRelationExtractor.find": lambda: {
        **{"self": _extractor(), "sentences": ["Ada wrote", ["Ada"]], "rows": 2}
    },
    f"{HERE}extraction.EntityRelationExtractor.unreadable": lambda: {"self": _extractor(), "sentences": ["Ada", [""]]},
    f"{HERE}extraction.EntityRelationExtractor.evaluate": lambda: {
        **{"self": _extractor(), "examples": [RELATED], "constrained": False, "rows": 2}
    },
    f"{HERE}extraction.EntityRelationExtractor.relate": lambda: {
        **{"self": _extractor(), "examples": [RELATED], "rows": 2}
    },
    f"{HERE}extraction.EntityRelationExtractor.save": lambda: {"self": _extractor(), "folder": str(_new())} | _about(),
    f"{HERE}extraction.EntityRelationExtractor.load": lambda: {"folder": _saved(_extractor()), "device": "cpu"},
    f"{HERE}extraction.named_relations": lambda: {"example": RELATED},
    f"{HERE}extraction.scores": lambda: {"found": [RELATED], "gold": [RELATED]},
    f"{HERE}extraction_errors.entity_errors": lambda: {"found": SENTENCE, "gold": RELATED},
    f"{HERE}extraction_errors.relation_errors": lambda: {"found": SENTENCE, "gold": RELATED},
    f"{HERE}pretraining.MaskedBatch": lambda: _masked()._asdict(),
    f"{HERE}pretraining.mask_tokens": lambda: {
        **{"tokens": torch.ones(2, 8, dtype=torch.long), "mask": 3, "vocab_size": 8, "share": 0.5}
    },
    f"{HERE}pretraining.masked_loss": lambda: {"model": MaskedLM(SMALL), "batch": _masked()},
    f"{HERE}pretraining.learn_masked": lambda: {
        **{"model": MaskedLM(SMALL), "tokens": torch.arange(40) % 7, "mask": 3, "rate": 0.01, "steps": 1, "seed": 0},
        **{"batch": 2, "context": 8},
    },
    f"{HERE}extraction_model.ExtractionConfig": lambda: {
        **{"encoder": KINDS.encoder, "kinds": ("person",), "relations": (), "scheme": "BIO", "pair_width": 4}
    },
    f"{HERE}extraction_model.extraction_config": lambda: {"text": to_json(KINDS)},
    f"{HERE}extraction_model.Sentences": lambda: _collated().sentences._asdict(),
    f"{HERE}extraction_model.Sentences.to": lambda: {"self": _collated().sentences, "device": torch.device("cpu")},
    f"{HERE}extraction_model.Spans": lambda: _collated().spans._asdict(),
    f"{HERE}extraction_model.Spans.to": lambda: {"self": _collated().spans, "device": torch.device("cpu")},
    f"{HERE}extraction_model.Batch": lambda: _collated()._asdict(),
    f"{HERE}extraction_model.Batch.to": lambda: {"self": _collated(), "device": torch.device("cpu")},
    f"{HERE}extraction_model.PairHead": lambda: {"config": KINDS},
    f"{HERE}extraction_model.PairHead.forward": lambda: {
        "self": extraction_model.PairHead(KINDS),
        **_vectors_and_spans(),
    },
    f"{HERE}extraction_model.ExtractionModel": lambda: {"config": KINDS},
    f"{HERE}extraction_model.ExtractionModel.read": lambda: {
        **{"self": _extractor().model, "sentences": _collated().sentences}
    },
    f"{HERE}extraction_model.ExtractionModel.forward": lambda: {
        **{"self": _extractor().model, "sentences": _collated().sentences, "spans": _collated().spans}
    },
    f"{HERE}extraction_model.ExtractionLoss": lambda: {
        **{
            "tags": LossSum(torch.tensor(1.0), torch.tensor(2)),
            "relations": LossSum(torch.tensor(1.0), torch.tensor(2)),
        }
    },
    f"{HERE}extraction_model.ExtractionLoss.together": lambda: {
        "self": extraction_model.extraction_losses(_extractor().model, _collated())
    },
    f"{HERE}extraction_model.extraction_losses": lambda: {"model": _extractor().model, "batch": _collated()},
    f"{HERE}extraction_model.collate_sentences": lambda: {"pieces": _pieces()},
    f"{HERE}extraction_model.collate_spans": lambda: {"entities": [[(0, 1, 0)], [(0, 1, 1), (1, 3, 0)]]},
    f"{HERE}extraction_model.collate": lambda: {"examples": [RELATED], "pieces": _pieces(), "config": KINDS},
    **{
        f"{HERE}extraction_shortcuts.{name}": lambda: {"train": [RELATED, SENTENCE]}
        for name in ("known_names", "by_kinds", "by_neighbours", "by_words_between", "by_bag_of_words")
    },
}
OF_ANSWERS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}question_answering.Reader": lambda: {"config": READING},
    f"{HERE}question_answering.Reader.forward": lambda: {"self": _answerer().reader, "batch": LAYOUT.collate(EXAMPLES)},
    f"{HERE}question_answering.reading_batches": lambda: {
        **{"layout": LAYOUT, "questions": [QUESTION], "token_budget": 64, "seed": 0, "epochs": 1}
    },
    f"{HERE}question_answering.reading_loss": lambda: {
        **{"reader": _answerer().reader, "batch": LAYOUT.collate(EXAMPLES)}
    },
    f"{HERE}question_answering.BestSpan": lambda: question_answering.best_span(_span_scores(), 3)._asdict(),
    f"{HERE}question_answering.best_span": lambda: {"scores": _span_scores(), "max_answer": 3},
    f"{HERE}question_answering.AnswerFound": lambda: {
        **{"text": "a", "score": 1.0, "passage": 0, "start": 0, "end": 1, "probability": 0.5}
    },
    f"{HERE}question_answering.QuestionAnswerer": lambda: {
        **{"reader": _answerer().reader, "tokenizer": BYTES, "max_answer": 3, "overlap": 2, "threshold": 0.5},
        **{"language": "en", "calibration": Platt(1.0, 0.0)},
    },
    f"{HERE}answer_calibration.calibrate": lambda: {"answerer": _answerer(), "questions": [QUESTION]},
    f"{HERE}answer_calibration.calibration_on": lambda: {
        **{"answerer": replace(_answerer(), calibration=Platt(1.0, 0.0)), "questions": [QUESTION]}
    },
    f"{HERE}question_answering.QuestionAnswerer.load": lambda: {"folder": _saved(_answerer()), "device": "cpu"},
    f"{HERE}question_answering.QuestionAnswerer.save": lambda: {"self": _answerer(), "folder": str(_new())} | _about(),
    f"{HERE}question_answering.QuestionAnswerer.__call__": lambda: {
        **{"self": _answerer(), "question": "Who?", "passages": ["Anna sang", "Boris"], "retrieve": 1}
    },
    f"{HERE}question_answering.QuestionAnswerer.unreadable": lambda: {"self": _answerer(), "questions": ["Who?", ""]},
    f"{HERE}question_answering.QuestionAnswerer.best": lambda: {
        **{"self": _answerer(), "pairs": [("Who?", "Anna sang")], "token_budget": 64}
    },
    **{
        f"{HERE}question_answering.QuestionAnswerer.{name}": lambda: {"self": _answerer(), "questions": [QUESTION]}
        for name in ("answer_all", "evaluate", "with_threshold_from")
    },
    f"{HERE}answer_scores.score_answers": lambda: {
        "predicted": ["Anna"],
        "questions": [QUESTION],
        "language": "zh",
    },
    f"{HERE}answer_scores.f1_of": lambda: {"text": "Anna", "question": QUESTION, "language": "en"},
    f"{HERE}answer_scores.best_threshold": lambda: {"scores": [0.5, 1.5], "gains": [-1.0, 1.0]},
}
OF_WRITERS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}language_model.Writer": lambda: {
        **{"model": _writer().model, "tokenizer": WRITING, "stop_ids": (1,), "forbidden_ids": (2,)}
    },
    f"{HERE}language_model.Writer.load": lambda: {"folder": _saved(_writer()), "device": "cpu"},
    f"{HERE}language_model.Writer.from_hf": lambda: {
        **{"folder": _theirs(), "dtype": torch.float64, "drop": ["x.*"], "ignore": ["min_length"], "device": "cpu"}
    },
    f"{HERE}language_model.Writer.save": lambda: {
        **{"self": _writer(), "folder": str(_new()), "record": {"loss": 1.0}, "dtype": torch.float16}
    },
    f"{HERE}language_model.Writer.__call__": lambda: {
        **{"self": _writer(), "prompt": "ab", "max_new_tokens": 2, "temperature": 0.5, "top_p": 0.9, "seed": 1}
    },
    f"{HERE}language_model.Writer.unreadable": lambda: {"self": _writer(), "prompts": ["a", ""], "max_new_tokens": 2},
    f"{HERE}language_model.Writer.write": lambda: {
        **{"self": _writer(), "ids": [1, 2], "max_new_tokens": 2, "temperature": 0.5, "top_p": 0.9, "seed": 1}
    },
    f"{HERE}language_model.Writer.fault_of": lambda: {"self": _writer(), "ids": [1, 2], "new": 3},
    f"{HERE}language_model.Writer.spell": lambda: {"self": _writer(), "ids": [97, 98]},
    f"{HERE}talk.Talker": lambda: {"writer": _writer(), "template": TEMPLATE},
    f"{HERE}talk.Talker.from_hf": lambda: {
        **{"folder": _talking(), "dtype": torch.float64, "drop": ["x.*"], "ignore": ["min_length"], "device": "cpu"}
    },
    f"{HERE}talk.Talker.__call__": lambda: {
        **{"self": talk.Talker(_writer(), TEMPLATE), "messages": [{"role": "user", "content": "a"}]},
        **{"tools": [{"name": "add"}], "documents": [{"title": "a"}]},
        **{"max_new_tokens": 2, "temperature": 0.5, "top_p": 0.9, "seed": 1},
    },
    f"{HERE}opus.OpusTranslator": lambda: {
        **{"model": _marian(), "tokenizers": read_pair(new_pair()), "settings": _settings()}
    },
    f"{HERE}opus.OpusTranslator.from_hf": lambda: {
        **{"folder": _opus(), "dtype": torch.float64, "drop": ["x.*"], "ignore": ["min_length"], "device": "cpu"}
    },
    f"{HERE}opus.OpusTranslator.__call__": lambda: {
        **{"self": _opus_translator(), "texts": ["a b", ""], "beams": 2, "length_penalty": 0.5},
        **{"max_new_tokens": 3, "batch": 2},
    },
    f"{HERE}opus.OpusTranslator.candidates": lambda: {
        **{"self": _opus_translator(), "texts": ["a b", ""], "beams": 2, "length_penalty": 0.5, "n_best": 2},
        **{"max_new_tokens": 3, "batch": 2},
    },
    f"{HERE}opus.OpusTranslator.unreadable": lambda: {"self": _opus_translator(), "texts": ["a", "b"]},
}
ON_ENGINES = tasks_on_engines(_translator, _opus_translator, _writer)
CHAT = Chat(({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}))
SPOKEN = Spoken([97, 10, 98], [False, False, True])
ADAPTED = {"from": "", "tune": "lora", "rank": "2"}


def _base() -> adapting.Base:
    return adapting.Base(Path(_saved(_writer())), False, None)


def _run() -> Run:
    return Run(0, torch.device("cpu"), _new())


OF_RUNS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}own.adapting.adapt": lambda: {
        **{"model": _writer().model, "options": ADAPTED, "new": ["head"], "targets": ["to_out"]}
    },
    f"{HERE}own.adapting.settle": lambda: {"model": _writer().model},
    f"{HERE}own.adapting.base_of": lambda: {"options": {"from": _saved(_writer())}},
    f"{HERE}own.adapting.known_by": lambda: {"run": _run(), "model": _writer().model},
    f"{HERE}own.adapting.all_targets": lambda: {"model": _writer().model, "base": _base(), "options": ADAPTED},
    f"{HERE}own.further_text.read_writer": lambda: {"base": _base(), "device": "cpu"},
    f"{HERE}own.further_text.end_of": lambda: {"writer": replace(_writer(), stop_ids=(1,))},
    f"{HERE}own.further_text.chat_rows": lambda: {"writer": _writer(), "template": TEMPLATE, "chats": [CHAT]},
    f"{HERE}own.further_text.chat_batches": lambda: {"rows": [SPOKEN], "token_budget": 8, "seed": 0, "epochs": 1},
    f"{HERE}own.further_text.loss_of_batches": lambda: {
        **{"writer": _writer(), "batches": [LMBatch(torch.ones(1, 2).long(), torch.ones(1, 2).long())]}
    },
    f"{HERE}own.further_translation.read_translator": lambda: {
        **{"base": adapting.Base(_opus(), True, "marian"), "device": "cpu"}
    },
    f"{HERE}own.further_translation.pair_ids": lambda: {"translator": _opus_translator(), "pairs": PAIRS},
    f"{HERE}own.further_translation.pair_rows": lambda: {"translator": _opus_translator(), "pairs": PAIRS, "most": 9},
    f"{HERE}own.translation.PairRows": lambda: {"pairs": [translation.PairIds([1, 2], [0, 3])], "most": 9},
    f"{HERE}own.translation.pairs_in_parts": lambda: {"pairs": PAIRS},
    f"{HERE}own.extraction.tagger_of": lambda: {"model": _extractor().model},
    f"{HERE}own.answers.finder_of": lambda: {"reader": _answerer().reader},
    f"{HERE}own.extraction.word_loss": lambda: {"model": _extractor().model, "batch": _collated()},
    f"{HERE}own.text.writing_loss": lambda: {
        "model": _writer().model,
        "batch": LMBatch(torch.ones(1, 2).long(), torch.ones(1, 2).long()),
    },
    f"{HERE}own.translation.Encoded": lambda: {"pairs": PAIRS, "tokenizer": TRANSLATING, "lowercase": False},
    f"{HERE}evaluation.load_task": lambda: {"folder": _saved(_extractor()), "device": "cpu"},
    f"{HERE}readable.fault_of_text": lambda: {"text": "a", "tokens": 3},
    f"{HERE}readable.fault_of_length": lambda: {"ids": [1, 2], "most": 3, "what": "tokens"},
    f"{HERE}readable.refuse_first": lambda: {"faults": {}, "field": "texts"},
    f"{HERE}saved.save_model": _to_save,
    f"{HERE}saved.read_about": lambda: {"folder": _saved(_writer()), "task": "language model", "own_fields": []},
    f"{HERE}saved.load_model": lambda: {
        **{"folder": _saved(_writer()), "build": lambda: _writer().model, "device": "cpu"}
    },
    f"{HERE}saved.load_weights_into": lambda: {"folder": _saved(_writer()), "model": _writer().model},
    **{
        f"{HERE}saved.{name}": lambda: {"folder": _saved(_writer())}
        for name in ("load_config", "check_sizes", "load_tokenizer", "load_any_tokenizer")
    },
}
