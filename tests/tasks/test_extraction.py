"""The extractor: what it finds, counted as seqeval counts; bad input; and the same answers after saving and loading."""

import functools
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from seqeval.metrics import classification_report

from tests.plain import unchecked
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.data.examples import Annotated, Entity, Relation, check_annotated
from transformer_lib.data.toy_extraction import KINDS, RELATIONS, sentences
from transformer_lib.tasks.extraction import (
    MOST_PIECES,
    EntityRelationExtractor,
    cut_words,
    extraction_batches,
    named_relations,
    scores,
    split_words,
    train_tokenizer,
)
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel, collate, extraction_losses
from transformer_lib.tasks.mentions import disguised
from transformer_lib.tasks.tagging import tags_of
from transformer_lib.training import LossSum, TrainConfig, train, warmup_cosine

FEW = sentences(12, group="train", names="known", seed=1)
TOKENIZER = train_tokenizer(sentences(300, group="train", names="known", seed=2), 320)


def extractor(seed: int = 0, *, max_length: int = 128, weights: float = 1.0) -> EntityRelationExtractor:
    """Untrained; with large weights its tags contradict each other."""
    torch.manual_seed(seed)
    encoder = ModelConfig(
        vocab_size=TOKENIZER.vocab_size,
        d_model=32,
        num_layers=1,
        max_length=max_length,
        attention=AttentionConfig(num_heads=2),
        feedforward=Mlp(d_ff=64),
        positions=Rope(),
        dropout=0.1,
    )
    model = ExtractionModel(ExtractionConfig(encoder=encoder, kinds=KINDS, relations=tuple(RELATIONS), pair_width=16))
    with torch.no_grad():
        model.to_tags.weight.mul_(weights)
    return EntityRelationExtractor(model, TOKENIZER)


def loss(model: torch.nn.Module, batch: Any) -> LossSum:
    return extraction_losses(model, batch).together()


@functools.cache
def trained() -> EntityRelationExtractor:
    """Knows a dozen sentences by heart."""
    reader = extractor()
    batches = extraction_batches(FEW, reader, token_budget=600, seed=0)
    rate = functools.partial(warmup_cosine, warmup=20, total=300, peak=1e-2)
    train(reader.model, loss, batches, TrainConfig(steps=300, learning_rate=rate, weight_decay=0.0, progress=False))
    return reader


@unchecked()
def test_a_dozen_sentences_are_learned_by_heart() -> None:
    reader = trained()
    found = reader([example.words for example in FEW])
    assert [example.words for example in found] == [example.words for example in FEW]
    result = reader.evaluate(FEW)
    assert result["entities"]["f1"] > 0.98 and result["relations"]["f1"] > 0.95
    assert reader.model.training  # as it was before
    text = " ".join(FEW[0].words)
    assert reader([text]) == found[:1]


@pytest.mark.parametrize("constrained", [True, False])
@unchecked()
def test_entities_are_counted_as_by_seqeval(constrained: bool) -> None:
    reader = extractor(3, weights=30.0)
    # Two layers of mistakes: an untrained reader's, and those of one that knows the first dozen of these.
    examples = [*FEW, *sentences(40, group="recombined", names="known", seed=4)]
    for model in (reader, trained()):
        found = model([e.words for e in examples], constrained=constrained)
        result = model.evaluate(examples, constrained=constrained)["entities"]
        tags = [[tags_of(e, "BIO") for e in side] for side in (examples, found)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds that are never predicted
            report = classification_report(*tags, output_dict=True, zero_division=0)
        for name in ("precision", "recall"):
            assert result[name] == pytest.approx(report["micro avg"][name], abs=1e-12)
        assert result["f1"] == pytest.approx(report["micro avg"]["f1-score"], abs=1e-12)
        assert result["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"], abs=1e-12)
        for kind, row in result["kinds"].items():
            assert row["f1"] == pytest.approx(report[kind]["f1-score"], abs=1e-12)
            assert row["gold"] == report[kind]["support"]


def test_a_relation_counts_only_with_both_its_entities_and_its_direction() -> None:
    entities = (Entity("person", 0, 1), Entity("person", 2, 3), Entity("work", 4, 6))
    gold = Annotated(tuple("abcdef"), entities, (Relation("taught", 0, 1), Relation("wrote", 1, 2)))
    assert named_relations(gold)[0] == ("taught", entities[0], entities[1])
    turned = gold._replace(relations=(Relation("taught", 1, 0), Relation("wrote", 1, 2)))
    assert scores([turned], [gold])["relations"]["true_positives"] == 1
    shorter = gold._replace(entities=(*entities[:2], Entity("work", 4, 5)))
    assert scores([shorter], [gold])["relations"]["true_positives"] == 1
    # Numbered otherwise, but the same.
    same = Annotated(gold.words, entities[::-1], (Relation("taught", 2, 1), Relation("wrote", 1, 0)))
    assert scores([same], [gold])["relations"]["f1"] == 1.0
    result = scores([turned], [gold])["relations"]
    assert result["f1"] == 0.5 and result["macro_f1"] == 0.5 and result["kinds"]["wrote"]["f1"] == 1.0


def test_neither_the_order_nor_the_company_of_sentences_matters() -> None:
    reader = trained()
    words = [e.words for e in sentences(20, group="recombined", names="held out", seed=5)]
    together = reader(words, rows=7)
    assert together == [reader([one])[0] for one in words]
    assert reader(words[::-1], rows=3) == together[::-1]


def test_constrained_tags_are_those_some_sentence_could_have() -> None:
    reader = extractor(1, weights=30.0)
    words = [e.words for e in sentences(20, group="train", names="known", seed=6)]
    bound, free = reader(words), reader(words, constrained=False)
    assert bound != free
    for example in (*bound, *free):
        check_annotated(example)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada's well-known U.S. friend, 3.5 km.", "Ada's well-known U.S . friend , 3.5 km ."),
        ("  ", ""),
        ("a\r\nb\tc\u2028d", "a b c d"),
        ("\u201cAda\u201d (née Holt)", "\u201c Ada \u201d ( née Holt )"),
        ("她写了一本书。", "她写了一本书 。"),
    ],
)
def test_a_text_is_cut_into_words(text: str, words: str) -> None:
    assert split_words(text) == tuple(words.split())


def test_nothing_is_found_in_nothing() -> None:
    reader = trained()
    assert reader([]) == []
    assert reader(["", [], " \n"]) == [Annotated((), (), ())] * 3
    assert reader(["", FEW[0].words])[1] == reader([FEW[0].words])[0]


@pytest.mark.parametrize(
    "text", ["Ада Новак написала Красный сад .", "她 写了 一本 书", "🙂 👩‍🚀 \u0000 \u202e", "a" * 5000]
)
def test_no_script_is_unknown(text: str) -> None:
    [found] = trained()([text])
    check_annotated(found)
    assert "".join(found.words) == "".join(text.split()) or "🙂" in text
    assert all(1 <= len(pieces) <= MOST_PIECES for pieces in cut_words(found.words, TOKENIZER))


@unchecked()
def test_a_long_sentence_is_read_in_parts() -> None:
    reader, short = extractor(2, weights=30.0), extractor(2, weights=30.0, max_length=16)
    words = sentences(1, group="train", names="known", seed=7)[0].words * 12
    lengths = [len(pieces) for pieces in cut_words(words, TOKENIZER)]
    [found] = short([words])
    check_annotated(found)
    assert found.words == words
    start = 0
    joined: list[Entity] = []
    while start < len(words):
        end = start + 1
        while end < len(words) and sum(lengths[start : end + 1]) <= 16:
            end += 1
        [part] = reader([words[start:end]])
        joined += [Entity(e.kind, e.start + start, e.end + start) for e in part.entities]
        for kind, head, tail in named_relations(part):
            moved = [Entity(e.kind, e.start + start, e.end + start) for e in (head, tail)]
            assert (kind, *moved) in named_relations(found)
        start = end
    assert list(found.entities) == joined and len(joined) > 20
    check_annotated(reader([words * 20])[0])


def test_words_and_sentences_that_are_none() -> None:
    reader = trained()
    with pytest.raises(ValueError, match=r"sentences\[1\] must not hold an empty word, got one at index 1"):
        reader([["a"], ["a", ""]])
    with pytest.raises(TypeError, match=r"sentences must be a list, got 'Ada wrote Emma .' of type str"):
        reader("Ada wrote Emma .")
    with pytest.raises(ValueError, match="rows must be a whole number of at least 1"):
        reader([], rows=0)
    with pytest.raises(ValueError, match="lone surrogate"):
        reader([["\ud800"]])
    assert sorted(reader.unreadable(["a", "\ud800", ["\ud800"], [""], "", [], "a" * 10**6])) == [1, 2, 3]
    with pytest.raises(ValueError, match="predicted must be 2"):
        scores(FEW[:1], FEW[:2])


def test_examples_that_cannot_be_trained_on() -> None:
    empty = Annotated((), (), ())
    with pytest.raises(ValueError, match=r"examples\[1\] must have 1 to 128 pieces, got 0"):
        extraction_batches([FEW[0], empty], extractor(), token_budget=600, seed=0)
    with pytest.raises(ValueError, match=r"examples\[0\] must have 1 to 4 pieces"):
        extraction_batches(FEW, extractor(max_length=4), token_budget=600, seed=0)
    overlapping = FEW[0]._replace(entities=(Entity("person", 0, 2), Entity("person", 1, 3)), relations=())
    batches = extraction_batches([overlapping], extractor(), token_budget=600, seed=0)
    with pytest.raises(ValueError, match="entities must not overlap"):
        next(iter(batches))


def test_changed_examples_are_new_each_time_and_resume_exactly() -> None:
    def pieces(count: int, seen: int) -> list[list[list[int]]]:
        batches = extraction_batches(FEW, extractor(), token_budget=200, seed=0, change=disguised(0.5))
        batches.load_state_dict(batches.state_dict() | {"seen": seen})
        torch.manual_seed(seen)
        return [batch.sentences.pieces.tolist() for _, batch in zip(range(count), batches, strict=False)]

    epochs = pieces(40, 0)
    assert len({str(row) for batch in epochs for row in batch}) > 40
    assert pieces(3, 5) == pieces(3, 5)


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    reader, words = trained(), [e.words for e in FEW]
    result = reader.evaluate(FEW)
    reader.save(tmp_path / "whole", evaluation={"constrained": True}, record={"scores": result})
    again = EntityRelationExtractor.load(tmp_path / "whole")
    assert again(words) == reader(words) and again.evaluate(FEW) == result
    about = json.loads((tmp_path / "whole" / "about.json").read_text())
    assert about["task"] == "extraction" and about["record"] == {"scores": result}
    reader.save(tmp_path / "half", dtype=torch.float16)
    assert EntityRelationExtractor.load(tmp_path / "half").evaluate(FEW)["entities"]["f1"] > 0.98


def test_a_folder_that_was_changed_is_not_loaded(tmp_path: Path) -> None:
    extractor().save(tmp_path / "model")
    (tmp_path / "model" / "about.json").write_text("{}")
    with pytest.raises(ValueError, match="must have the sha256"):
        EntityRelationExtractor.load(tmp_path / "model")


def test_a_tokeniser_that_does_not_fit() -> None:
    larger = train_tokenizer(sentences(300, group="train", names="known", seed=2), 330)
    with pytest.raises(ValueError, match="tokenizer must have at most 320 pieces, got 330"):
        EntityRelationExtractor(extractor().model, larger)


def test_relations_between_given_entities_are_those_that_the_model_scores_highest() -> None:
    reader = extractor()
    found = reader.relate(FEW, rows=5)
    assert [x.entities for x in found] == [x.entities for x in FEW] and [x.words for x in found] == [
        x.words for x in FEW
    ]
    for example, each in zip(FEW, found, strict=True):
        alone = collate([example], [cut_words(example.words, TOKENIZER)], reader.model.config)
        best = reader.model.eval()(alone.sentences, alone.spans)[1][0].argmax(-1)
        expected = {(int(best[r.head, r.tail]) - 1, r.head, r.tail) for r in each.relations}
        assert {(tuple(RELATIONS).index(r.kind), r.head, r.tail) for r in each.relations} == expected
        count = len(example.entities)
        assert len(each.relations) == sum(int(best[i, j]) > 0 for i in range(count) for j in range(count) if i != j)
    with pytest.raises(ValueError, match=r"examples\[0\] must have 1 to 128 pieces"):
        reader.relate([Annotated((), (), ())])
