"""Published models that label tokens or find spans, used from their folders: what transformers finds, as typed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

import transformer_lib
from tests.oracles import rejects
from tests.tasks.own.test_own_training import _columns, _questions
from tests.tasks.published_encoders import KINDS, TEXTS, encoder_folder, their_tokenizer
from transformer_lib.__main__ import main
from transformer_lib.tasks.entity_tagger import EntityTagger, tag_of
from transformer_lib.tasks.extraction import EntityRelationExtractor
from transformer_lib.tasks.extraction_model import ExtractionModel
from transformer_lib.tasks.own.adapting import base_of
from transformer_lib.tasks.own.starting import extraction_from, read_start, reader_from
from transformer_lib.tasks.question_answering import QuestionAnswerer

LABELS = ("B-PER", "O", "I-PER", "B-LOC", "I-LOC", "NUMBER")
QUESTION = "Who wrote notes in London?"
every_kind = pytest.mark.parametrize("kind", KINDS)


def tagger_folder(folder: Path, kind: str = "bert", labels: tuple[str, ...] = LABELS) -> Any:
    """A model that labels tokens, each label about as often as the others."""
    names = {str(i): label for i, label in enumerate(labels)}
    ids = {label: int(i) for i, label in names.items()}
    theirs = encoder_folder(folder, kind, "ForTokenClassification", id2label=names, label2id=ids).float().eval()
    with torch.no_grad():
        given = their_tokenizer(folder, kind)(" ".join(TEXTS), return_tensors="pt", truncation=True, max_length=100)
        logits = theirs(**given).logits[0]
        theirs.classifier.weight /= logits.std(0)[:, None]
        theirs.classifier.bias[:] = (theirs.classifier.bias - logits.mean(0)) / logits.std(0)
    theirs.save_pretrained(folder)
    return theirs


def typed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_entities_are_those_of_the_pipeline(kind: str, tmp_path: Path) -> None:
    """By the aggregation "first"; some of transformers' tokens hold the space before them.

    Words that begin with the mark of a space alone are left out, and so is XLM-R, whose words here all do: to them that
    is a word.
    """
    theirs, cutter = tagger_folder(tmp_path / "folder", kind), their_tokenizer(tmp_path / "folder", kind)
    first = hf.pipeline("token-classification", model=theirs, tokenizer=cutter, aggregation_strategy="first")
    mine = transformer_lib.load(tmp_path / "folder")
    assert isinstance(mine, EntityTagger)
    texts = [" ".join(each for each in text.split() if "\u0120" not in cutter.tokenize(f"a {each}")) for text in TEXTS]
    count = 0
    for text, found in zip(texts, mine.find(texts, rows=2), strict=True):
        expected = first(text)
        assert [(each.kind, each.text) for each in found.entities] == [
            (each["entity_group"], text[each["start"] : each["end"]].strip()) for each in expected
        ]
        for each, wanted in zip(found.entities, expected, strict=True):
            assert text[each.start : each.end] == each.text and wanted["start"] <= each.start
            assert each.end <= wanted["end"] and each.confidence == pytest.approx(float(wanted["score"]), abs=1e-5)
        count += len(expected)
    assert count > 9


@every_kind
def test_words_that_are_given_have_the_labels_of_their_first_pieces(kind: str, tmp_path: Path) -> None:
    theirs, words = tagger_folder(tmp_path / "folder", kind), TEXTS[0].split()
    given = their_tokenizer(tmp_path / "folder", kind, words=True)(
        [words], is_split_into_words=True, return_tensors="pt"
    )
    with torch.no_grad():
        best = theirs(**given).logits[0].argmax(-1)
    mine = EntityTagger.from_hf(tmp_path / "folder")
    [found] = mine([words])
    assert found.words == tuple(words)
    firsts = [LABELS[best[given.word_ids(0).index(place)]] for place in range(len(words))]
    covered = [any(each.start <= place < each.end for each in found.entities) for place in range(len(words))]
    assert covered == [label != "O" for label in firsts]
    assert [each.text for each in mine.find([words])[0].entities] == [
        " ".join(words[each.start : each.end]) for each in found.entities
    ]


@pytest.mark.parametrize("kind", KINDS[2:])
def test_a_text_has_the_words_that_spaces_part(kind: str, tmp_path: Path) -> None:
    """What has no pieces that go on with a word by their name."""
    tagger_folder(tmp_path / "folder", kind)
    mine = EntityTagger.from_hf(tmp_path / "folder")
    words = [text.split() for text in TEXTS[:2]]
    assert [[word.strip() for word in found.words] for found in mine(TEXTS[:2])] == words
    if kind == "xlm-roberta":  # whose first word has a space before it, as all have
        for text, found in zip(mine.find(TEXTS[:2]), mine.find(words), strict=True):
            assert [each[:4] for each in text.entities] == [each[:4] for each in found.entities]


def test_long_texts_are_read_in_parts_and_none_is_lost(tmp_path: Path) -> None:
    tagger_folder(tmp_path / "bert")
    mine = EntityTagger.from_hf(tmp_path / "bert")
    text = " ".join(TEXTS[:2] * 4)
    assert len(mine.tokenizer.encode(text)) > 2 * mine.room
    [found], [read] = mine.find([text]), mine([text])
    assert max(each.end for each in found.entities) > len(text) / 2
    assert [each.text for each in found.entities] == [text[each.start : each.end] for each in found.entities]
    assert len(found.entities) == len(read.entities) and " ".join(read.words).split() == " ".join(read.words).split(" ")
    assert mine.find(["", " "]) == [("", (), ()), (" ", (), ())]
    with rejects("sentences[1]", "surrogate"):
        mine.find(["a", "\ud800"])


def test_labels_of_every_scheme() -> None:
    bio, bioes = ("O", "B-PER", "I-PER"), ("O", "B-PER", "I-PER", "E-PER", "S-PER")
    assert [tag_of(label, bio) for label in (*bio, "PER", "E-mail", "B-")] == [*bio, "I-PER", "I-E-mail", "I-B-"]
    assert [tag_of(label, bioes) for label in bioes] == [*bio, "L-PER", "U-PER"]
    assert tag_of("U-PER", ("B-PER", "U-PER")) == "U-PER"


@every_kind
def test_an_answer_is_the_best_span_of_transformers(kind: str, tmp_path: Path) -> None:
    theirs = encoder_folder(tmp_path / "folder", kind, "ForQuestionAnswering").float().eval()
    mine = transformer_lib.load(tmp_path / "folder")
    assert isinstance(mine, QuestionAnswerer)
    for passage in (TEXTS[0], TEXTS[1]):
        pair = their_tokenizer(tmp_path / "folder", kind)(
            QUESTION, passage, return_offsets_mapping=True, return_tensors="pt"
        )
        offsets = pair.pop("offset_mapping")[0].tolist()
        # The mark of a space alone, which they find in the letter behind it.
        offsets = [(i, i) if name == "\u2581" else (i, j) for name, (i, j) in zip(pair.tokens(), offsets, strict=True)]
        with torch.no_grad():
            scores = theirs(**pair)
        start, end = scores.start_logits[0].double(), scores.end_logits[0].double()
        inside = [place for place, side in enumerate(pair.sequence_ids(0)) if side == 1]
        spans = [(i, j) for i in inside for j in inside if i <= j < i + mine.max_answer]
        first, last = max(spans, key=lambda span: float(start[span[0]] + end[span[1]]))
        found = mine(QUESTION, [passage])
        assert found.text == passage[offsets[first][0] : offsets[last][1]].strip()
        assert passage[found.start : found.end] == found.text and not found.abstained
        assert found.score == pytest.approx(float(start[first] + end[last] - start[0] - end[0]), abs=1e-4)


# As typed -------------------------------------------------------------------------------------------------------------


def test_extract_and_evaluate_with_a_folder_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tagger_folder(tmp_path / "ner", labels=("O", "B-AGENT", "I-AGENT", "B-PATIENT", "I-PATIENT", "B-X"))
    for option in ("--checkpoint", "--from-hf"):
        [found] = typed(capsys, "extract", TEXTS[0], option, tmp_path / "ner")
        assert found["text"] == TEXTS[0] and found["entities"] and found["relations"] == []
    scored = typed(capsys, "evaluate", tmp_path / "ner", "--data", _columns(tmp_path / "c.conll"))
    assert scored["task"] == "extraction" and scored["examples"] == 40
    encoder_folder(tmp_path / "bert", "bert")
    assert main(["extract", "a", "--checkpoint", str(tmp_path / "bert")]) == 2
    assert "must hold a ...ForTokenClassification, got 'MaskedLM'" in capsys.readouterr().err


def test_answer_and_evaluate_with_a_folder_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder_folder(tmp_path / "qa", "roberta", "ForQuestionAnswering")
    (tmp_path / "passage.txt").write_text(TEXTS[0])
    assert (
        main(["answer", QUESTION, "--passages", str(tmp_path / "passage.txt"), "--checkpoint", str(tmp_path / "qa")])
        == 0
    )
    printed = capsys.readouterr()
    assert printed.out.strip() in TEXTS[0] and "always answers" in printed.err
    scored = typed(capsys, "evaluate", tmp_path / "qa", "--data", _questions(tmp_path / "q.jsonl"))
    assert scored["task"] == "question answering" and scored["examples"] == 40
    tagger_folder(tmp_path / "ner")
    assert main(["answer", "a", "--passages", str(tmp_path / "passage.txt"), "--from-hf", str(tmp_path / "ner")]) == 2
    assert "must hold a ...ForQuestionAnswering, got 'TokenClassifier'" in capsys.readouterr().err


def test_training_begins_with_a_head_whose_labels_fit(tmp_path: Path) -> None:
    tagger_folder(tmp_path / "ner")
    start = read_start(base_of({"from": str(tmp_path / "ner")}))
    model, new = extraction_from(start, ["LOC", "PER"], [])
    assert isinstance(model, ExtractionModel)
    assert new == ("to_relations",) and model.config.tags == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    head = start.model.get_submodule("head")
    for row, tag in enumerate(model.config.tags):
        for own, theirs in zip(model.to_tags.parameters(), head.parameters(), strict=True):
            assert torch.equal(own[row], theirs[LABELS.index(tag)]), tag
    words = [text.split() for text in TEXTS]
    mine = EntityRelationExtractor(model.eval(), start.tokenizer)
    tagger = EntityTagger.from_hf(tmp_path / "ner")
    known = [[each for each in found.entities if each.kind != "NUMBER"] for found in tagger(words)]
    free = mine(words, constrained=False)
    # where the label that was left out is not the likeliest, nothing changes
    assert sum(each in found.entities for row, found in zip(known, free, strict=True) for each in row) >= 3
    assert extraction_from(start, ["LOC", "PER", "NUMBER"], []).new == ("to_tags", "to_relations")
    encoder_folder(tmp_path / "qa", "bert", "ForQuestionAnswering")
    reader, new = reader_from(read_start(base_of({"from": str(tmp_path / "qa")})))
    asked = QuestionAnswerer(reader.eval(), start.tokenizer, threshold=-1e9)
    assert new == () and asked(QUESTION, TEXTS[:1]) == QuestionAnswerer.from_hf(tmp_path / "qa")(QUESTION, TEXTS[:1])
