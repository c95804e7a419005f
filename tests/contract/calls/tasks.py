"""How each public callable of `transformer_lib.tasks` is called validly."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.contract.calls.config import SMALL
from tests.contract.calls.encoders import OF_ENCODERS
from tests.contract.calls.task_models import OF_ANSWERS, OF_EXTRACTION, OF_RUNS, OF_TRANSLATION, OF_WRITERS, ON_ENGINES
from transformer_lib.data.examples import Annotated, Answer, Entity, Question
from transformer_lib.models import Encoder
from transformer_lib.tasks import calibration, found, metrics, reading, retrieval, sureness, tagging
from transformer_lib.tasks.candidates import Translation
from transformer_lib.tasks.own.adapting import Base
from transformer_lib.tasks.own.material import Material, Rows
from transformer_lib.tasks.own.translation import SIZES
from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import Tokenizer

HERE = "transformer_lib.tasks."

# Reading, retrieval, tagging, mentions, metrics -----------------------------------------------------------------------

SENTENCE = Annotated(("Ada", "wrote", "Winter"), (Entity("person", 0, 1), Entity("work", 2, 3)), ())
QUESTION = Question("1", "Anna sang. Boris slept.", "Who?", (Answer("Anna", 0),))
BYTES = Tokenizer.from_bpe(BPE([], reading.SPECIAL_TOKENS))
LAYOUT = reading.Layout(BYTES, max_length=30)
EXAMPLES = LAYOUT.examples([QUESTION])
STEPS = tagging.allowed_steps(["O", "B-x", "I-x"])
RECORDS: list[Any] = [  # a named tuple of each kind, whose fields are its arguments
    *(EXAMPLES[0].window, EXAMPLES[0], LAYOUT.collate(EXAMPLES), STEPS),
    *(calibration.Platt(1.0, 0.5), calibration.Bin(0.0, 0.5, 2, 0.25, 0.5), sureness.Judged(-1.0, 20.0, True)),
    *(found.EntityFound("x", 0, 1, "a", 0.5), found.RelationFound("r", 0, 1, 0.5), Translation("a", -1.0, 2)),
    *(found.Extracted("a", (), ()), found.Sure(SENTENCE, (0.5, 0.5), ())),
    *(metrics.Score(1.0, "x"), metrics.Resampled(1.0, 0.5, None), metrics.strict_f1([["a"]], [["a"]])),
]


def _vectors(texts: Any) -> torch.Tensor:
    return torch.ones(len(texts), 2)


def _texts() -> dict[str, Any]:
    return {"hypotheses": ["a cat sat", "it ran"], "references": ["a cat sat", "it runs"], "lowercase": True}


def _tuples() -> dict[str, Any]:
    return {"predicted": [[("x", 0, 1)], []], "gold": [[("x", 0, 1)], [("y", 1, 2)]]}


def _answer() -> dict[str, Any]:
    return {"predicted": "the cat", "answers": ["cat", "a dog"], "language": "en"}


def _material() -> Material:
    file = Path(tempfile.mkdtemp(dir=".")) / "pairs.tsv"
    file.write_text("".join(f"a {i}\tb {i}\n" for i in range(20)))
    return Material((file,), (), (), ("pairs",), seed=0)


OF_OWN: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}own.material.Material": lambda: {**vars(_material())},
    f"{HERE}own.material.Material.examples": lambda: {"self": _material(), "split": "train"},
    f"{HERE}own.material.Material.whole": lambda: {"self": _material(), "split": "train"},
    f"{HERE}own.material.Rows": dict,
    f"{HERE}own.material.Rows.append": lambda: {"self": Rows(), "ids": [1, 2]},
    f"{HERE}own.material.number_of": lambda: {"options": {"vocab": "7"}, "name": "vocab", "default": 3},
    f"{HERE}own.material.size_named": lambda: {"options": {"size": ""}, "sizes": ["tiny", "small"], "default": "tiny"},
    f"{HERE}own.material.has_chats": lambda: {"files": list(_material().data)},
    f"{HERE}own.training.Pace": lambda: {"least_steps": 3, "evaluations": 2, "patience": 1},
    f"{HERE}own.training.budget_for": lambda: {"lengths": [3, 4], "processes": 1},
    f"{HERE}own.training.layers_of": lambda: {
        **{"vocab_size": 300, "width": 64, "layers": 2, "d_ff": 128, "max_length": 32, "dropout": 0.1, "segments": 3}
    },
    f"{HERE}own.translation.Size": lambda: SIZES["tiny"]._asdict(),
    f"{HERE}own.translation.size_for": lambda: {"pairs": 20},
    f"{HERE}own.translation.tokenize_for": lambda: {"texts": ["they work"]},
    f"{HERE}own.text.stream": lambda: {
        "tokenizer": Tokenizer.from_bpe(BPE([], ["<|end|>"])),
        "texts": ["a", "b"],
        "end": 256,
    },
    f"{HERE}own.text.texts_of": lambda: {"material": replace(_material(), kinds=("texts",))},
    f"{HERE}own.adapting.Tuning": lambda: {"peak": 0.1, "rates": {"*": 0.5}, "targets": ["a"]},
    f"{HERE}own.adapting.Base": lambda: {"folder": Path("."), "published": True, "model_type": "gpt2"},
    f"{HERE}own.adapting.require_family": lambda: {
        **{"base": Base(Path("."), True, "gpt2"), "kind": "DecoderLM", "wanted": "a language model"}
    },
}
OF_TEXTS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"{type(record).__module__}.{type(record).__name__}": record._asdict for record in RECORDS},
    **OF_OWN,
    f"{HERE}mentions.swapped": lambda: {"examples": [SENTENCE], "probability": 0.5},
    f"{HERE}mentions.disguised": lambda: {"probability": 0.5},
    f"{HERE}mentions.rename": lambda: {"example": SENTENCE, "new": lambda kind, words: words},
    f"{HERE}metrics.bleu": lambda: _texts() | {"tokenize": "zh"},
    f"{HERE}metrics.bleu_resampled": lambda: {
        "systems": {"first": ["a cat sat", "it ran"], "second": ["a cat", "it runs"]},
        **{"references": ["a cat sat", "it runs"], "lowercase": True, "tokenize": "zh", "samples": 20},
    },
    f"{HERE}metrics.chrf": lambda: _texts() | {"word_order": 2},
    f"{HERE}metrics.strict_f1": _tuples,
    f"{HERE}metrics.f1_by_kind": _tuples,
    f"{HERE}metrics.macro_f1": lambda: {"by_kind": metrics.f1_by_kind(**_tuples())},
    f"{HERE}metrics.exact_match": _answer,
    f"{HERE}answer_rules.answer_by_rules": lambda: {"question": QUESTION, "ask": False},
    f"{HERE}answer_errors.question_kind": lambda: {"question": "Who?"},
    f"{HERE}answer_errors.answer_error": lambda: {"found": "Boris", "question": QUESTION},
    f"{HERE}intervals.bootstrap": lambda: {
        **{"rows": torch.ones(3, 1), "score": lambda sums: sums[:, 0], "draws": 10, "seed": 0, "share": 0.9}
    },
    f"{HERE}intervals.mean_interval": lambda: {"values": [1.0, 2.0], "draws": 10, "seed": 0},
    f"{HERE}intervals.f1_interval": lambda: {
        **{"right": [1.0], "given": [1.0], "wanted": [2.0], "draws": 10, "seed": 0}
    },
    f"{HERE}metrics.token_f1": _answer,
    f"{HERE}calibration.Platt.probability": lambda: {"self": calibration.Platt(1.0, 0.5), "score": 0.5},
    f"{HERE}calibration.fit_platt": lambda: {"scores": [0.5, 1.5], "right": [False, True]},
    f"{HERE}calibration.read_platt": lambda: {"value": {"slope": 1.0, "intercept": 0.5}},
    f"{HERE}calibration.calibration_curve": lambda: {"probabilities": [0.5, 1.0], "right": [False, True], "bins": 4},
    f"{HERE}calibration.expected_calibration_error": lambda: {"curve": [calibration.Bin(0.0, 0.5, 2, 0.25, 0.5)]},
    f"{HERE}found.Extracted.as_json": lambda: {"self": found.Extracted("a", (), ())},
    f"{HERE}found.placed": lambda: {
        "sentence": "Ada wrote Winter",
        "sure": found.Sure(SENTENCE, (0.5, 0.5), ()),
    },
    f"{HERE}tag_marginals.entity_shares": lambda: {
        **{"scores": torch.rand(4, 3), "tags": ["O", "B-x", "I-x"], "entities": [Entity("x", 1, 3)], "scheme": "BIO"}
    },
    f"{HERE}sureness.unsure_below": lambda: {
        "judged": [sureness.Judged(-1.0, 2.0, True), sureness.Judged(-0.5, 20.0, False)]
    },
    f"{HERE}sureness.sureness": lambda: {"judged": [sureness.Judged(-1.0, 2.0, True)], "threshold": -0.7},
    f"{HERE}reading.Layout": lambda: {"tokenizer": BYTES, "max_length": 30, "overlap": 2},
    f"{HERE}reading.Layout.pieces": lambda: {"self": LAYOUT, "text": "Anna"},
    f"{HERE}reading.Layout.windows": lambda: {
        "self": LAYOUT,
        "question": "Who?",
        "passage": LAYOUT.pieces("Anna sang"),
    },
    f"{HERE}reading.Layout.examples": lambda: {"self": LAYOUT, "questions": [QUESTION]},
    f"{HERE}reading.Layout.collate": lambda: {"self": LAYOUT, "examples": list(EXAMPLES)},
    f"{HERE}retrieval.words": lambda: {"text": "Anna sang"},
    f"{HERE}retrieval.BM25": lambda: {"passages": ["Anna sang", "Boris slept"], "k1": 1.0, "b": 0.5},
    f"{HERE}retrieval.BM25.scores": lambda: {"self": retrieval.BM25(["Anna sang", "Boris"]), "question": "Anna?"},
    f"{HERE}retrieval.DenseIndex": lambda: {"passages": ["Anna sang", "Boris slept"], "embed": _vectors},
    f"{HERE}retrieval.DenseIndex.scores": lambda: {
        "self": retrieval.DenseIndex(["Anna"], _vectors),
        "question": "Who?",
    },
    f"{HERE}retrieval.mean_vectors": lambda: {
        **{"encoder": Encoder(SMALL).eval(), "texts": [[1, 2], [3]], "token_budget": 8}
    },
    f"{HERE}retrieval.ranked": lambda: {"scores": torch.rand(3), "k": 2},
    f"{HERE}retrieval.recall_at": lambda: {"k": 1, "rankings": [[0, 1], [1, 0]], "relevant": [0, 0]},
    f"{HERE}retrieval.mean_reciprocal_rank": lambda: {"rankings": [[0, 1], [1, 0]], "relevant": [0, 0]},
    f"{HERE}tagging.tag_names": lambda: {"kinds": ["x", "y"], "scheme": "BIO"},
    f"{HERE}tagging.tags_of": lambda: {"example": SENTENCE, "scheme": "BILOU"},
    f"{HERE}tagging.entities_of": lambda: {"tags": ["O", "B-x", "I-x"]},
    f"{HERE}tagging.allowed_steps": lambda: {"tags": ["O", "B-x", "I-x"]},
    f"{HERE}tagging.best_tags": lambda: {
        **{"scores": torch.rand(2, 4, 3), "valid": torch.ones(2, 4, dtype=torch.bool), "steps": STEPS}
    },
}

CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    **OF_TEXTS,
    **OF_TRANSLATION,
    **OF_EXTRACTION,
    **OF_ENCODERS,
    **OF_ANSWERS,
    **OF_WRITERS,
    **ON_ENGINES,
    **OF_RUNS,
}

EXCUSED: dict[str, str] = {
    **{
        f"{HERE}own.{name}": "it trains, or needs what was trained; tests/tasks/own tries it"
        for name in (
            *("translation.train_on_pairs", "extraction.train_on_sentences", "answers.train_on_questions"),
            *("further_text.go_on_with_texts", "further_translation.go_on_with_pairs", "adapting.conclude"),
            *("encoder.train_on_texts", "text.train_on_texts", "material.Material.of"),
            *("training.train_own", "scoring.score_own"),
        )
    },
    f"{HERE}evaluation.load_examples": "it downloads; tests/tasks/test_translation_run.py reads what it refuses",
    f"{HERE}evaluation.score_again": "it scores the examples of load_examples; tests/test_main.py tries it",
    f"{HERE}translation_run.train_translator": "it trains on the examples of load_examples",
}
