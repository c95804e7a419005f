"""Offsets of what is found, and that they are read again as training data."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_lib.config import AttentionConfig, ModelConfig, Rope, SwiGlu
from transformer_lib.data.examples import Annotated, Entity, Relation
from transformer_lib.data.own.found import Found
from transformer_lib.data.own.offsets import read_offsets
from transformer_lib.tasks.extraction import EntityRelationExtractor, split_words
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel, collate_sentences, collate_spans
from transformer_lib.tasks.found import Sure, placed
from transformer_lib.tasks.tagging import tags_of
from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import Tokenizer

ENCODER = ModelConfig(
    vocab_size=256,
    d_model=16,
    num_layers=1,
    max_length=24,
    attention=AttentionConfig(num_heads=2),
    feedforward=SwiGlu(d_ff=32),
    positions=Rope(),
)
TEXT = " Zoë  Novak,\twho (née Li) lives in 東京 .\n"


def extractor(scheme: str = "BILOU", seed: int = 3) -> EntityRelationExtractor:
    """One that has learned nothing, and finds very much."""
    torch.manual_seed(seed)
    config = ExtractionConfig(encoder=ENCODER, kinds=("x", "y"), relations=("r", "s"), pair_width=4)
    config = replace(config, scheme=scheme)  # type: ignore[arg-type]
    model = ExtractionModel(config)
    with torch.no_grad():
        model.to_relations.single.bias[0] -= 5  # so that there are relations
    return EntityRelationExtractor(model, Tokenizer.from_bpe(BPE([], ())))


def test_the_text_of_an_entity_is_a_slice_of_what_was_given() -> None:
    found = extractor().find([TEXT])[0]
    assert found.text == TEXT and len(found.entities) > 2 and found.relations
    for entity in found.entities:
        assert TEXT[entity.start : entity.end] == entity.text == entity.text.strip() != ""
        assert 0 < entity.confidence <= 1
    assert all(0 < relation.confidence <= 1 for relation in found.relations)


def test_it_is_what_a_call_finds() -> None:
    model = extractor()
    sentences = [TEXT, "", ["Ada", "wrote", "it"], "a b c " * 20]
    for sentence, plain, full in zip(sentences, model(sentences), model.find(sentences), strict=True):
        words = split_words(sentence) if isinstance(sentence, str) else tuple(sentence)
        assert plain.words == words
        wanted = [(e.kind, "".join(words[e.start : e.end])) for e in plain.entities]
        assert [(e.kind, "".join(e.text.split())) for e in full.entities] == wanted
        assert [tuple(relation[:3]) for relation in full.relations] == [tuple(r) for r in plain.relations]
    assert model.find(sentences)[2].text == "Ada wrote it"


def test_the_confidence_of_a_relation_is_the_softmax_given_the_entities() -> None:
    model = extractor()
    text = "Zoë saw Li"  # short enough to be read at once
    found, plain = model.find([text])[0], model([text])[0]
    assert found.relations
    pieces = [model.tokenizer.encode_batch([" " + word for word in plain.words])]
    double = model.model.double().eval()
    with torch.no_grad():
        words = double.read(collate_sentences(pieces))
        spans = collate_spans([[(e.start, e.end, "xy".index(e.kind)) for e in plain.entities]])
        wanted = double.to_relations(words, spans).softmax(-1)[0]
    for kind, head, tail, confidence in found.relations:
        assert abs(confidence - float(wanted[head, tail, 1 + "rs".index(kind)])) < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["BIO", "BILOU"]))
def test_any_text_has_its_slices(text: str, scheme: str) -> None:
    model = extractor(scheme)
    if model.unreadable([text]):
        return
    found = model.find([text])[0]
    assert all(text[e.start : e.end] == e.text for e in found.entities)


def test_what_is_found_is_read_as_examples(tmp_path: Path) -> None:
    model = extractor()
    found = model.find([TEXT, "Ada wrote it ."])
    file = tmp_path / "found.jsonl"
    file.write_text("".join(json.dumps(each.as_json()) + "\n" for each in found))
    again = list(read_offsets(file))
    for each, plain in zip(again, model([TEXT, "Ada wrote it ."]), strict=True):
        assert isinstance(each, Found) and each.example == plain


def test_words_that_are_not_those_of_the_text() -> None:
    sure = Sure(Annotated(("a", "b"), (Entity("x", 0, 2),), (Relation("r", 0, 0),)), (0.5,), (0.5,))
    with pytest.raises(ValueError, match="sentence must have the 2 words found, got 1"):
        placed("ab", sure)
    assert placed(["a", "b"], sure).entities[0].text == "a b"


def test_offsets_are_those_that_transformers_gathers() -> None:
    from transformers.pipelines.token_classification import TokenClassificationPipeline

    pipeline = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
    pipeline.tokenizer = SimpleNamespace(convert_tokens_to_string=" ".join)
    for scheme in ("BIO", "BILOU"):
        model = extractor(scheme)
        plain, end, rows = model([TEXT])[0], 0, []
        for index, (word, tag) in enumerate(zip(plain.words, tags_of(plain, "BIO"), strict=True)):
            start = TEXT.index(word, end)
            end = start + len(word)
            rows.append({"entity": tag, "score": 1.0, "index": index, "word": word, "start": start, "end": end})
        wanted = [group for group in pipeline.group_entities(rows) if group["entity_group"] != "O"]
        found = model.find([TEXT])[0].entities
        assert [(e.kind, e.start, e.end) for e in found] == [
            (group["entity_group"], group["start"], group["end"]) for group in wanted
        ]
        assert found
