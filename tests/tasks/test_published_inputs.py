"""What encoders of Hugging Face's are given is what transformers gives them, and so are the scores of the heads."""

from pathlib import Path

import pytest
import torch

from tests.interop.wide import Float64
from tests.oracles import close, rejects
from tests.tasks.published_encoders import KINDS, LENGTH, TEXTS, encoder_folder, their_tokenizer, tokenizer_folder
from transformer_lib.data.examples import Answer, Question
from transformer_lib.tasks.encoder import PretrainedEncoder
from transformer_lib.tasks.extraction import EntityRelationExtractor, cut_words
from transformer_lib.tasks.extraction_model import collate_sentences
from transformer_lib.tasks.own.adapting import base_of
from transformer_lib.tasks.own.starting import Start, extraction_from, reader_from
from transformer_lib.tasks.own.starting import read_start as read_base
from transformer_lib.tasks.question_answering import QuestionAnswerer
from transformer_lib.tasks.reading import BEHIND, Example, Layout
from transformer_lib.text.published import read_published

SENTENCES = [text.split() for text in TEXTS]
QUESTION = "Who wrote notes in London?"
PASSAGE = " ".join(TEXTS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def read_start(folder: Path) -> Start:
    return read_base(base_of({"from": str(folder)}))


@every_kind
def test_words_have_the_ids_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "folder", kind)
    mine, theirs = read_published(folder), their_tokenizer(folder, kind, words=True)
    found = collate_sentences([cut_words(words, mine) for words in SENTENCES], mine.frame)
    wanted = theirs(SENTENCES, is_split_into_words=True)
    for row, words in enumerate(SENTENCES):
        assert found.pieces[row][found.valid[row]].tolist() == wanted["input_ids"][row]
        owners = wanted.word_ids(row)
        assert found.first[row][found.real[row]].tolist() == [owners.index(place) for place in range(len(words))]


@every_kind
def test_passages_have_the_ids_segments_and_characters_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "folder", kind)
    mine, theirs = read_published(folder), their_tokenizer(folder, kind)
    layout = Layout(mine, max_length=56, overlap=7)
    pieces = layout.pieces(PASSAGE)
    windows = layout.windows(QUESTION, pieces)
    wanted = theirs(
        QUESTION,
        PASSAGE,
        truncation="only_second",
        max_length=56,
        stride=7,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    assert len(windows) == len(wanted["input_ids"]) > 2
    # Their last window begins where the stride puts it, ours ends with the passage and is full.
    assert [window.tokens for window in windows[:-1]] == wanted["input_ids"][:-1]
    last = wanted["input_ids"][-1]
    kept = len(last) - windows[-1].body
    assert windows[-1].tokens[-kept:] == last[-kept:] and windows[-1].tokens[: windows[-1].body] == last[:-kept]
    for number, window in enumerate(windows[:-1]):
        segments = layout.collate([Example(window, 0, 0)]).segments[0]
        sides = wanted.sequence_ids(number)
        assert [i for i, side in enumerate(sides) if side == 1] == [
            i for i, s in enumerate(segments.tolist()) if s not in (0, BEHIND)
        ]
        if kind == "bert":
            assert segments.masked_fill(segments == BEHIND, 1).tolist() == wanted["token_type_ids"][number]
        for place, (side, name) in enumerate(zip(sides, wanted.tokens(number), strict=True)):
            if side == 1 and name != "\u2581":  # the mark of a space alone, which they find in the letter behind it
                start, end = wanted["offset_mapping"][number][place]
                token = window.first + place - window.body
                assert PASSAGE[slice(*pieces.characters(token, token))] == PASSAGE[start:end].strip()


@every_kind
def test_answers_have_the_tokens_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "folder", kind)
    mine, theirs = read_published(folder), their_tokenizer(folder, kind)
    layout = Layout(mine, max_length=400)
    wanted = theirs(QUESTION, PASSAGE, return_offsets_mapping=True)
    sides, names = wanted.sequence_ids(), wanted.tokens()
    spans = [(i, *span) for i, span in enumerate(wanted["offset_mapping"]) if sides[i] == 1 and names[i] != "\u2581"]
    for text in ("Ada Lovelace", "Zürich", "25,000", "東京", "café", "Zoë", "(all"):
        start = PASSAGE.index(text)
        [example] = layout.examples([Question("1", PASSAGE, QUESTION, (Answer(text, start),))])
        holding = [i for i, first, last in spans if first < start + len(text) and last > start]
        assert [example.start, example.end] == [holding[0], holding[-1]], text
        shift = example.window.first - example.window.body
        pieces = layout.pieces(PASSAGE)
        found = PASSAGE[slice(*pieces.characters(example.start + shift, example.end + shift))]
        assert text in found and len(found) <= len(text) + 2


@every_kind
def test_scores_of_tags_are_transformers(kind: str, tmp_path: Path) -> None:
    labels = {"id2label": {str(i): f"L{i}" for i in range(9)}}
    theirs = encoder_folder(tmp_path / "folder", kind, "ForTokenClassification", **labels)
    start = read_start(tmp_path / "folder")
    model, new = extraction_from(start, ["PER", "LOC"], ["Lives_In"])
    assert new == ("to_tags", "to_relations")
    model.double().eval().to_tags.load_state_dict(theirs.classifier.state_dict())
    wanted = their_tokenizer(tmp_path / "folder", kind, words=True)(
        SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt"
    )
    with torch.no_grad(), Float64():
        expected = theirs(**wanted).logits
    pieces = [cut_words(words, start.tokenizer) for words in SENTENCES]
    sentences = collate_sentences(pieces, start.tokenizer.frame)
    with torch.no_grad():
        found = model.to_tags(model.read(sentences))
    for row, words in enumerate(SENTENCES):
        owners = wanted.word_ids(row)
        places = [owners.index(place) for place in range(len(words))]
        close(found[row, : len(words)], expected[row, places])


@every_kind
def test_scores_of_spans_are_transformers(kind: str, tmp_path: Path) -> None:
    theirs = encoder_folder(tmp_path / "folder", kind, "ForQuestionAnswering")
    start = read_start(tmp_path / "folder")
    reader, new = reader_from(start)
    assert new == ()
    reader.double().eval()
    layout = QuestionAnswerer(reader, start.tokenizer).layout
    passages = [TEXTS[0][:30], TEXTS[1][:12]]
    windows = [layout.windows("Who is it?", layout.pieces(text))[0] for text in passages]
    wanted = their_tokenizer(tmp_path / "folder", kind)(["Who is it?"] * 2, passages, padding=True, return_tensors="pt")
    with torch.no_grad(), Float64():
        expected = theirs(**wanted)
    batch = layout.collate([Example(window, 0, 0) for window in windows])
    with torch.no_grad():
        found = reader(batch)
    assert torch.equal(batch.tokens[batch.valid], wanted["input_ids"][wanted["attention_mask"].bool()])
    allowed = torch.zeros_like(batch.valid)
    for row in range(2):
        allowed[row, [0, *(i for i, side in enumerate(wanted.sequence_ids(row)) if side == 1)]] = True
    for ours, logits in zip(found, (expected.start_logits, expected.end_logits), strict=True):
        close(ours[allowed], logits[allowed])
        assert bool((ours[~allowed] == -torch.inf).all())


@every_kind
def test_a_saved_extractor_and_answerer_keep_their_tokenizer(kind: str, tmp_path: Path) -> None:
    encoder_folder(tmp_path / "folder", kind)
    start = read_start(tmp_path / "folder")
    extractor = EntityRelationExtractor(extraction_from(start, ["PER"], ["Lives_In"]).model.eval(), start.tokenizer)
    reader = reader_from(start).model.eval()
    answerer = QuestionAnswerer(reader, start.tokenizer, threshold=-1e9)
    extractor.save(tmp_path / "extractor")
    answerer.save(tmp_path / "answerer")
    again = EntityRelationExtractor.load(tmp_path / "extractor")
    assert again(TEXTS) == extractor(TEXTS) and again.room == LENGTH - 2
    asked = QuestionAnswerer.load(tmp_path / "answerer")
    assert asked("Who?", TEXTS) == answerer("Who?", TEXTS)
    # and such a model is one to start from
    kept = read_start(tmp_path / "extractor")
    assert kept.tokenizer.encode_batch(TEXTS, special=True) == start.tokenizer.encode_batch(TEXTS, special=True)
    assert extraction_from(kept, ["PER"], ["Lives_In"]).new == ()
    assert extraction_from(kept, ["PER"], ["Kill"]).new == ("to_relations",)
    assert extraction_from(kept, ["LOC"], ["Lives_In"]).new == ("to_tags", "to_relations")
    assert reader_from(read_start(tmp_path / "answerer")).new == ()


def test_words_and_passages_in_which_a_tokenizer_sees_nothing(tmp_path: Path) -> None:
    mine = read_published(tokenizer_folder(tmp_path / "bert", "bert"))
    unknown = mine.special_tokens["[UNK]"]
    assert cut_words(["\u200b", "Ada"], mine)[0] == [unknown]
    layout = Layout(mine, max_length=40)
    pieces = layout.pieces("\u200b\ufffd")
    assert pieces.ids == [unknown] and pieces.tokens(0, 2) == (0, 0)
    pieces = layout.pieces("Ada  read")
    assert (
        pieces.tokens(4, 5) == pieces.tokens(5, 6) == (pieces.tokens(5, 6)[0],) * 2
    )  # a space goes with the next word


def test_what_cannot_be_started_from(tmp_path: Path) -> None:
    encoder_folder(tmp_path / "bert", "bert", max_position_embeddings=2)
    start = read_start(tmp_path / "bert")
    with rejects("tokenizer", "must leave room"):
        EntityRelationExtractor(extraction_from(start, ["PER"], []).model, start.tokenizer)
    tokenizer = read_published(tokenizer_folder(tmp_path / "other", "roberta"))
    with rejects("tokenizer", "must have at most"):
        PretrainedEncoder(start.model, tokenizer)
