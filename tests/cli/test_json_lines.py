"""The commands with `--jsonl`: an object for each line, those that cannot be read in their place."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from transformer_lib.__main__ import main
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.tasks.calibration import Platt
from transformer_lib.tasks.extraction import EntityRelationExtractor
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.question_answering import QuestionAnswerer, Reader
from transformer_lib.tasks.reading import SPECIAL_TOKENS
from transformer_lib.tasks.translation import Translator
from transformer_lib.text.tokenizer import Tokenizer

TATOEBA = str(Path(__file__).parents[2] / "recipes" / "models" / "tatoeba-en-zh")
SIDE = ModelConfig(
    vocab_size=258,
    d_model=8,
    num_layers=1,
    max_length=64,
    attention=AttentionConfig(num_heads=2, bias=True),
    feedforward=Mlp(d_ff=16),
    positions=Rope(),
)
BAD = "b\udcff"
UTF8 = {"error": "must be UTF-8, got the byte 0xff after 1 characters"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each kind that has learned nothing."""
    folder = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["a bab ab aba"], 258, ["<|end|>"])
    Writer(DecoderLM(SIDE).eval(), tokenizer).save(folder / "writer")
    config = ExtractionConfig(encoder=replace(SIDE, vocab_size=256), kinds=("x",), relations=("r",), pair_width=8)
    EntityRelationExtractor(ExtractionModel(config), Tokenizer.train(["a a"], 256)).save(folder / "extractor")
    reader = Reader(replace(SIDE, segments=2)).eval()
    answerer = QuestionAnswerer(reader, Tokenizer.train(["a a"], 258, SPECIAL_TOKENS), threshold=-1e9)
    answerer.save(folder / "plain")
    replace(answerer, calibration=Platt(0.5, -1.0)).save(folder / "answerer")
    return folder


def told(text: str) -> list[Any]:
    """The value of each line."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("command", "field"),
    [
        ("extract --checkpoint @extractor", "text"),
        ("generate --max-new-tokens 2 --checkpoint @writer", "prompt"),
    ],
)
def test_a_line_is_what_the_list_has(command: str, field: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.replace("@", f"{place}/").split()
    texts = ["ab", BAD, "a b", "bab"]
    assert main([*words, "--json", *texts]) == 1
    wanted = json.loads(capsys.readouterr().out)
    assert main([*words, "--jsonl", *texts]) == 1
    printed = capsys.readouterr()
    assert told(printed.out) == wanted and wanted[1] == UTF8 and wanted[2][field] == "a b"
    assert printed.err == f"line 2: {UTF8['error']}\n"
    assert main([*words, "--jsonl", "--json", "a"]) == 2
    assert "--jsonl must be given without --json" in capsys.readouterr().err


# Questions ------------------------------------------------------------------------------------------------------------

GOOD = [
    {"id": 7, "question": "who?", "context": "It is Ada.", "answers": {"text": [], "answer_start": []}},
    {"question": "who?", "context": ["It is Ada.", "Bob ran."]},
]
ODD = [
    ("", "must be JSON"),
    ("[1]", "must be a JSON object with a question and a context"),
    ('{"question": "who?"}', "context must be a text, or a list of at least one, got None"),
    ('{"question": 3, "context": "a"}', "question must be a text, got 3"),
    ('{"question": "", "context": "a"}', "question must not be empty"),
    ('{"question": "who?", "context": " "}', "context must not be empty"),
    ('{"question": "who?", "context": []}', "context must be a text, or a list of at least one"),
    ('{"question": "who?", "context": "\\ud800"}', "context must not hold a lone surrogate"),
    ('{"question": "\\ud800", "context": "a"}', "question must not hold a lone surrogate"),
    (json.dumps({"question": "x" * 60, "context": "a"}), "question must leave half"),
    ("[" * 9999, "must be JSON"),
]


def test_questions_are_answered_line_by_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = [json.dumps(GOOD[0]), *(line for line, _ in ODD), json.dumps(GOOD[1])]
    answerer = QuestionAnswerer.load(place / "answerer")
    data = "\n".join(lines).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["answer", "--checkpoint", str(place / "answerer"), "--jsonl"]) == 1
    printed = capsys.readouterr()
    first, *errors, last = told(printed.out)
    assert first == {"id": 7, "question": "who?"} | first and "id" not in last
    for found, context in ((first, ["It is Ada."]), (last, ["It is Ada.", "Bob ran."])):
        wanted = answerer("who?", context)
        assert wanted.probability is not None and wanted.text
        assert {name: found[name] for name in wanted._fields} == wanted._asdict() and found["abstained"] is False
        assert context[found["passage"]][found["start"] : found["end"]] == found["text"]
    for found, (_, words) in zip(errors, ODD, strict=True):
        assert found.keys() == {"error"} and words in found["error"]
    assert len(printed.err.splitlines()) == len(ODD) and printed.err.startswith("line 2: must be JSON")

    (tmp_path / "asked").write_bytes(data)
    assert main(["answer", "--checkpoint", str(place / "answerer"), "--questions", str(tmp_path / "asked")]) == 1
    texts = capsys.readouterr().out.split("\n")
    assert (texts[0], texts[-2]) == (first["text"], last["text"]) and set(texts[1:-2]) == {""}


def test_one_question_is_one_line(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "passages").write_text("It is Ada.")
    command = ["answer", "who?", "--passages", str(tmp_path / "passages"), "--checkpoint"]
    assert main([*command, str(place / "answerer"), "--jsonl"]) == 0
    printed = capsys.readouterr()
    [found] = told(printed.out)
    assert 0 < found["probability"] < 1 and printed.err == ""
    assert main([*command, str(place / "plain"), "--jsonl"]) == 0
    printed = capsys.readouterr()
    assert told(printed.out) == [found | {"probability": None}]
    assert printed.err == "this model is not calibrated: it has scores, and no probabilities\n"


def test_what_goes_together(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["answer", "--checkpoint", str(place / "answerer")]
    for more, words in (
        ([], "question must be given, or --questions"),
        (["--jsonl", "--passages", "x"], "--passages must come with a question"),
        (["who?", "--questions", "x"], "--questions must be given without a question"),
        (["--questions", "nowhere"], "No such file"),
        (["--questions", "x", "--batch", "0"], "argument --batch: must be a whole number from 1"),
    ):
        assert main([*command, *more]) == 2
        assert words in capsys.readouterr().err


# Translations ---------------------------------------------------------------------------------------------------------


def test_translations_come_with_their_scores(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["I am here.", BAD, "", "Where do you live?"]
    command = ["translate", "--checkpoint", TATOEBA, "--beams", "3", "--jsonl"]
    assert main([*command, "--n-best", "2", *texts]) == 1
    printed = capsys.readouterr()
    rows = told(printed.out)
    translator = Translator.load(TATOEBA)
    assert rows[1] == UTF8 and rows[2]["target"] == "" and rows[2]["tokens"] == 0
    for row, text in ((rows[0], texts[0]), (rows[3], texts[3])):
        [wanted] = translator.candidates([text], beams=3, n_best=2)
        assert row["source"] == text and row["target"] == wanted[0].text == row["n_best"][0]["target"]
        assert [each["target"] for each in row["n_best"]] == [each.text for each in wanted]
        for each, found in zip(row["n_best"], wanted, strict=True):
            assert each["tokens"] == found.tokens and abs(each["log_prob"] - found.log_prob) < 1e-4
            assert abs(each["log_prob_per_token"] - found.per_token) < 1e-4
    assert main(["translate", "--checkpoint", TATOEBA, "--beams", "3", "--n-best", "2", texts[0]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1] for line in lines] == [each["target"] for each in rows[0]["n_best"]]


def test_what_is_unsure_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    translator = Translator.load(TATOEBA)
    for threshold, unsure in ((0.0, True), (-99.0, False), (None, None)):
        folder = tmp_path / str(threshold)
        replace(translator, unsure_below=threshold).save(folder)
        assert main(["translate", "--checkpoint", str(folder), "--beams", "1", "--jsonl", "I am here."]) == 0
        printed = capsys.readouterr()
        assert told(printed.out)[0]["unsure"] is unsure
        assert ("line 1: unsure, this may be a wrong translation: -" in printed.err) is bool(unsure)


def test_options_of_translation_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["translate", "--checkpoint", "nowhere", "a"]
    for more, words in (
        (["--n-best", "6"], "--n-best must be at most --beams=5, got 6"),
        (["--n-best", "2", "--split", "en"], "--n-best must be 1 with --split"),
        (["--split", "English"], "argument --split: must be the code of a language"),
        (["--script", "both"], "argument --script: invalid choice: 'both'"),
        (["--batch", "x"], "argument --batch: must be a whole number from 1 to 4096, got 'x'"),
    ):
        assert main([*command, *more]) == 2
        printed = capsys.readouterr()
        assert words in printed.err and printed.err.count("\n") == 1
