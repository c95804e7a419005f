"""How each public callable of `transformer_lib.data` is called validly."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from transformer_lib.data import (
    batching,
    corpora,
    examples,
    ngram,
    packing,
    toy,
    toy_grammar,
    toy_languages,
    toy_questions,
    toy_translation,
)
from transformer_lib.data.download import RemoteFile
from transformer_lib.data.own import found, splits, survey

STREAM = torch.arange(20) % 7
PAIRS = [examples.Pair("One cat.", "一只猫。"), examples.Pair("Two dogs.", "两只狗。"), examples.Pair("Tea.", "茶。")]
SENTENCE = examples.Annotated(
    ("Ada", "wrote", "Winter"),
    (examples.Entity("person", 0, 1), examples.Entity("work", 2, 3)),
    (examples.Relation("wrote", 0, 1),),
)
ASKED = toy_questions.questions(train=3, held_out=2).train
CLAUSE = toy_grammar.Clause("buy", "past", toy_grammar.Phrase("the", "teacher"), toy_grammar.Phrase("two", "book"))
TALK = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "She."}]
SQUAD: dict[str, Any] = {
    "context": "小猫坐",
    "qas": [{"id": "7", "question": "谁?", "answers": [{"text": "猫", "answer_start": 1}]}],
}
RECORDS: list[Any] = [  # a named tuple of each kind, whose fields are its arguments
    *(PAIRS[0], SENTENCE, SENTENCE.entities[0], SENTENCE.relations[0], ASKED[0], examples.Answer("猫", 1)),
    examples.Chat(tuple(TALK), "a.jsonl, line 1"),
    *(examples.ParallelCorpus(tuple(PAIRS), (), ()), examples.Splits((SENTENCE,), (), ())),
    *(corpora.Document("a.py", "pass\n"), corpora.Corpus((), ())),
    *(batching.pad([[1], [2, 3]], 0), packing.LMBatch(torch.ones(1, 2).long(), torch.ones(1, 2).long())),
    toy_languages.speech(2, 2, generator=torch.Generator().manual_seed(0)),
    *(toy.programs(2, 4, generator=torch.Generator().manual_seed(0)), toy_questions.Fact("lives", "Anna", "Oslo")),
    *(toy_questions.QuestionSplits(ASKED, (), (), ()), toy_questions.Library(("a",), ASKED)),
    *(toy_questions.about(ASKED[0]), CLAUSE),
    *(
        toy_grammar.Description(toy_grammar.Phrase("the", "book"), "old"),
        toy_translation.Meanings((CLAUSE,), (), (), ()),
    ),
]


def _lengths() -> dict[str, Any]:
    return {"lengths": [3, 1, 2], "collate": torch.tensor, "token_budget": 6, "seed": 1, "epochs": 2}


def _own_folder() -> dict[str, Any]:
    """A file that stands in the reader's own folder, so that none is fetched from the network."""
    folder = Path(tempfile.mkdtemp(dir="."))
    (folder / "a.txt").write_bytes(b"text")
    file = RemoteFile("a.txt", "https://example.invalid/a.txt", hashlib.sha256(b"text").hexdigest(), 4)
    return {"file": file, "folder": folder, "attempts": 1, "timeout": 1.0, "pause": 0.0, "progress": False}


def _counted() -> ngram.NGram:
    return ngram.NGram(STREAM, order=2, vocab_size=7)


def _small_programs() -> toy.Programs:
    return toy.programs(4, 12, names=2, generator=torch.Generator().manual_seed(0))


def _both() -> dict[str, Any]:
    return {"question": ASKED[0], "train": list(ASKED)}


def _file(name: str) -> Path:
    """A small file in one of the formats of a reader's own data."""
    texts = {
        "pairs.tsv": "a\tb\nc\td\n",
        "columns.conll": "Ada B-person\nwrote O\n",
        "offsets.jsonl": json.dumps({"text": "Ada wrote", "entities": [[0, 3, "person"]]}) + "\n",
        "questions.json": json.dumps({"data": [{"paragraphs": [SQUAD]}]}),
        "chats.jsonl": json.dumps({"messages": TALK}) + "\n",
        "texts.txt": "one\ntwo\n",
    }
    file = Path(tempfile.mkdtemp(dir=".")) / name
    file.write_text(texts[name])
    return file


OWN: dict[str, Callable[[], dict[str, Any]]] = {
    "chats.read_chats": lambda: {"file": _file("chats.jsonl")},
    "chats.chat": lambda: {"record": {"messages": TALK}, "place": "a.jsonl, line 1"},
    "columns.read_columns": lambda: {"file": _file("columns.conll")},
    "columns.scheme_of": lambda: {"sentences": [["O", "B-x"]]},
    "columns.entities_of": lambda: {"tags": ["O", "B-x", "I-x"], "scheme": "IOB2"},
    "found.Fault": lambda: {"file": "a.tsv", "line": 1, "why": "must have a tab"},
    "found.Found": lambda: {"example": PAIRS[0], "file": "a.tsv", "line": 1},
    "found.lines_in": lambda: {"path": _file("texts.txt")},
    "found.json_lines": lambda: {"path": _file("offsets.jsonl")},
    "found.text_of": lambda: {"record": {"text": "a"}, "field": "text"},
    "kind.kind_of": lambda: {"files": [_file("pairs.tsv")]},
    "kind.read_own": lambda: {"files": [_file("pairs.tsv")], "kind": "pairs"},
    "offsets.read_offsets": lambda: {"file": _file("offsets.jsonl")},
    "offsets.annotated": lambda: {"record": {"text": "Ada wrote", "entities": [[0, 3, "person"]]}},
    "offsets.cut_at": lambda: {"text": "Ada wrote", "spans": [(0, 3, "person")]},
    "pairs.read_pairs": lambda: {"files": [_file("pairs.tsv")]},
    "questions.read_questions": lambda: {"file": _file("questions.json")},
    "questions.question": lambda: {"record": SQUAD["qas"][0] | {"context": SQUAD["context"]}, "number": 1},
    "splits.unshared": lambda: {"example": PAIRS[0]},
    "splits.drawn": lambda: {"example": PAIRS[0], "seed": 0},
    "splits.Sides": lambda: {"test": 0.1, "validation": 0.2},
    "splits.Sides.of": lambda: {"self": splits.Sides(0.1, 0.2), "number": 0.5},
    "splits.sides": lambda: {"numbers": [i / 20 for i in range(20)], "validation": True, "test": True},
    "splits.key_of": lambda: {"text": "a"},
    "survey.Survey": dict,
    "survey.Survey.add": lambda: {"self": survey.Survey(), "found": found.Found(PAIRS[0], "a.tsv", 1)},
    "survey.Survey.report": lambda: {"self": survey.Survey()},
    "texts.read_texts": lambda: {"files": [_file("texts.txt")]},
}
HERE = "transformer_lib.data."
SHORTCUTS = ("majority", "without_passage", "without_question", "first_of_kind", "overlap")
CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"{type(record).__module__}.{type(record).__name__}": record._asdict for record in RECORDS},
    f"{HERE}examples.Chat.said": lambda: {"self": examples.Chat(tuple(TALK)), "*roles": ["user"]},
    f"{HERE}batching.pad": lambda: {"sequences": [[1], [2, 3]], "pad_id": 0},
    f"{HERE}batching.PackedBatches": lambda: {"tokens": STREAM, "batch": 2, "context": 4, "seed": 1, "epochs": 2},
    f"{HERE}batching.BucketedBatches": _lengths,
    f"{HERE}corpora.stdlib_source": lambda: {"size": "small"},
    f"{HERE}datasets.remote_files": dict,
    f"{HERE}datasets.lines": lambda: {"text": "a\nb"},
    f"{HERE}datasets.split_by_source": lambda: {"pairs": PAIRS, "validation": 1, "test": 1},
    f"{HERE}datasets.read_conll": lambda: {"text": "Ada\tB-person\n"},
    f"{HERE}datasets.spans": lambda: {"tags": ["O", "B-x", "I-x"]},
    f"{HERE}datasets.read_squad": lambda: {"text": json.dumps({"data": [{"paragraphs": [SQUAD]}]})},
    f"{HERE}download.RemoteFile": lambda: {
        **{"name": "a.txt", "url": "https://example.invalid/a.txt", "sha256": 64 * "0", "size": 4}
    },
    f"{HERE}download.places": dict,
    f"{HERE}download.fetch": _own_folder,
    f"{HERE}examples.parallel": lambda: {"sources": ["a", "b"], "targets": ["c", "d"]},
    f"{HERE}examples.check_annotated": lambda: {"example": SENTENCE},
    f"{HERE}examples.check_question": lambda: {"example": ASKED[0]},
    f"{HERE}examples.normal_form": lambda: {"text": "Zo\u00eb, twice!"},
    **{f"{HERE}own.{name}": call for name, call in OWN.items()},
    f"{HERE}ngram.NGram": lambda: {"tokens": STREAM, "order": 2, "vocab_size": 7},
    f"{HERE}ngram.NGram.log_probs": lambda: {"self": _counted(), "tokens": STREAM[:5]},
    f"{HERE}ngram.NGram.next_probs": lambda: {"self": _counted(), "tokens": STREAM[:5]},
    f"{HERE}packing.pack": lambda: {"documents": [[1, 2], torch.tensor([3])], "separator": 0},
    f"{HERE}packing.held_out_batches": lambda: {"tokens": STREAM, "batch": 2, "context": 4},
    f"{HERE}packing.bits_per_byte": lambda: {"nats_per_token": 2.0, "bytes_per_token": 3.0},
    f"{HERE}packing.integer_tokens": lambda: {"tokens": [1, 2], "field": "tokens"},
    f"{HERE}toy.programs": lambda: {
        **{"batch": 2, "time": 4, "names": 3, "values": 3, "generator": torch.Generator().manual_seed(0)}
    },
    f"{HERE}toy.order_blind_ceiling": lambda: {"batch": _small_programs(), "names": 2, "values": 6},
    f"{HERE}toy.render": lambda: {"tokens": torch.arange(12), "names": 3, "values": 3},
    f"{HERE}toy.tokens_of": lambda: {"program": "a=1 a?", "names": 3, "values": 3},
    f"{HERE}toy_languages.speech": lambda: {
        **{"batch": 2, "sentences": 2, "generator": torch.Generator().manual_seed(0)}
    },
    f"{HERE}toy_languages.floor": dict,
    f"{HERE}toy_languages.said": lambda: {"tokens": torch.arange(12)},
    f"{HERE}toy_extraction.wordings": lambda: {"group": "train"},
    f"{HERE}toy_extraction.sentences": lambda: {"count": 2, "group": "train", "names": "known", "seed": 0},
    f"{HERE}toy_extraction.splits": lambda: {"seed": 0, "train": 2, "validation": 2, "test": 2},
    f"{HERE}toy_meaning.check_meaning": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_grammar.english": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_grammar.chinese": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_grammar.pair": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_grammar.alignment": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_grammar.english_words": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_grammar.chinese_words": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_grammar.adjective_for": lambda: {"english": "old", "noun": "book"},
    f"{HERE}question_forms.about": lambda: {"question": ASKED[0]},
    f"{HERE}toy_questions.questions": lambda: {"seed": 0, "train": 2, "held_out": 2},
    f"{HERE}toy_questions.library": lambda: {"seed": 0, "passages": 2, "held_out": 2},
    f"{HERE}toy_questions.sentences": lambda: {"passage": "Anna sang. Boris slept."},
    f"{HERE}toy_questions.group": lambda: {"subject": ASKED[0].answers[0].text, "object": ASKED[0].answers[0].text},
    f"{HERE}toy_questions.gold": lambda: {"question": ASKED[0]},
    **{f"{HERE}toy_questions.{name}": _both for name in SHORTCUTS},
    f"{HERE}toy_translation.meanings": lambda: {"seed": 0, "train": 2, "validation": 2, "test": 2, "held_out": 1},
    f"{HERE}toy_translation.combinations": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_translation.held_out_combinations": lambda: {"meaning": CLAUSE},
    f"{HERE}toy_translation.majority": lambda: {"train": PAIRS, "test": PAIRS[:1]},
    f"{HERE}toy_translation.word_by_word": lambda: {"train": [CLAUSE], "test": [CLAUSE]},
    f"{HERE}toy_translation.nearest_neighbour": lambda: {"train": PAIRS, "test": PAIRS[:1]},
}

EXCUSED: dict[str, str] = {
    **{
        f"{HERE}{name}": "a row of an authored table, or a word of a sentence made from one: nobody makes others"
        for name in (
            "toy_lexicon.*",
            "question_forms.Wording",
            "question_forms.Form",
            "toy_extraction.Wording",
            "toy_grammar.Word",
        )
    },
    f"{HERE}toy_meaning.Phrase": "it holds clauses, and these hold phrases; whoever says them checks both",
    **{
        f"{HERE}datasets.{name}": "not every machine has its files; tests/data/test_datasets.py reads them where it can"
        for name in ("multi30k", "tatoeba", "conll04", "wnut17", "xquad", "tiny_shakespeare")
    },
}
