"""The command line: what each command prints, where its texts come from, and how it ends when something is wrong."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from transformer_lib.__main__ import main
from transformer_lib.config import AttentionConfig, ModelConfig, Rope, Seq2SeqConfig, SwiGlu
from transformer_lib.data import datasets
from transformer_lib.data.examples import Pair, ParallelCorpus
from transformer_lib.models import DecoderLM, Seq2Seq
from transformer_lib.tasks.extraction import EntityRelationExtractor
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.question_answering import QuestionAnswerer, Reader
from transformer_lib.tasks.reading import SPECIAL_TOKENS
from transformer_lib.tasks.translation import Translator, train_tokenizer
from transformer_lib.text.tokenizer import Tokenizer

PAIRS = [Pair("Ein Hund bellt .", "A dog barks ."), Pair("Zwei Katzen schlafen .", "Two cats sleep .")]
SIDE = ModelConfig(
    vocab_size=262,
    d_model=8,
    num_layers=1,
    max_length=32,
    attention=AttentionConfig(num_heads=2),
    feedforward=SwiGlu(d_ff=16),
    positions=Rope(),
)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    torch.manual_seed(0)
    config = Seq2SeqConfig(encoder=SIDE, decoder=SIDE)
    return Translator(Seq2Seq(config).eval(), train_tokenizer(PAIRS, 262))


@pytest.fixture(scope="module")
def checkpoint(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "translator"
    settings = {"beams": 2, "lowercase": True}
    record = translator.evaluate([PAIRS[1]], **settings)
    translator.save(folder, evaluation={"data": "multi30k de-en", "split": "test", **settings}, record=record)
    return str(folder)


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ParallelCorpus(train=(PAIRS[0],), validation=(PAIRS[0],), test=(PAIRS[1],))
    monkeypatch.setattr(datasets, "multi30k", lambda: whole)


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_texts_come_from_arguments_a_file_or_standard_input(
    translator: Translator,
    checkpoint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["Ein Hund .", "", "Zwei Katzen ."]
    wanted = "\n".join(translator(texts, beams=2)) + "\n"
    command = ["translate", "--checkpoint", checkpoint, "--beams", "2"]
    assert main([*command, *texts]) == 0 and capsys.readouterr().out == wanted
    file = tmp_path / "texts"
    for text in ("\n".join(texts), "\n".join(texts) + "\n", "\r\n".join(texts) + "\r\n"):
        file.write_bytes(text.encode())
        assert main([*command, "--file", str(file)]) == 0 and capsys.readouterr().out == wanted
        say(monkeypatch, text)
        assert main(command) == 0 and capsys.readouterr().out == wanted
    assert main([*command, "--json", *texts]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["source"] for row in found] == texts and "\n".join(row["target"] for row in found) + "\n" == wanted
    say(monkeypatch, "")
    assert main([*command, "--json"]) == 0 and json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["translate", "--checkpoint", "nowhere", "a"], "path must be a folder, got 'nowhere'"),
        (["translate", "--checkpoint", "CHECKPOINT", "--file", "nowhere.txt"], "nowhere.txt"),
        (["translate", "--checkpoint", "CHECKPOINT", "--file", "nowhere.txt", "a"], "got both"),
        (["translate", "--checkpoint", "CHECKPOINT", "--beams", "0", "a"], "--beams: must be a whole number"),
        (["generate", "--checkpoint", "CHECKPOINT", "a"], "task must be 'language model', got 'translation'"),
        (["extract", "--checkpoint", "CHECKPOINT", "a"], "task must be 'extraction', got 'translation'"),
        (["answer", "--checkpoint", "CHECKPOINT", "a"], "task must be 'question answering', got 'translation'"),
        (["train", "nowhere.py"], "no recipe nowhere.py"),
        (["evaluate", "nowhere"], "path must be a folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    words: str,
    checkpoint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    say(monkeypatch, "a passage")
    assert main([checkpoint if argument == "CHECKPOINT" else argument for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert words in printed.err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["translate", "a"], ["train", "x.py", "--set", "direction"]])
def test_a_wrong_use_names_the_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "python -m transformer_lib" in err and err.endswith("--help explains)\n")


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    whole = capsys.readouterr().out
    for name in ("train", "evaluate", "translate", "extract", "answer", "generate"):
        assert name in whole
        assert main([name, "--help"]) == 0 and "--json" in capsys.readouterr().out


def test_help_loads_no_task() -> None:
    probe = "import sys; from transformer_lib.__main__ import main; main(['--help'])\n"
    names = "print([n for n in sys.modules if n in ('sacrebleu', 'safetensors', 'tokenizers') or 'lib.tasks' in n])"
    done = subprocess.run([sys.executable, "-c", probe + names], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_evaluate_finds_the_record_exactly(
    checkpoint: str, corpus: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, translator: Translator
) -> None:
    assert main(["evaluate", checkpoint]) == 0
    assert "exactly the record" in capsys.readouterr().out
    assert main(["evaluate", checkpoint, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["same"] and result["recorded"] == result["found"] and "case:lc" in result["found"]["bleu_signature"]

    evaluation = {"data": "multi30k de-en", "split": "test", "beams": 2, "lowercase": True}
    close = result["recorded"] | {"chrf": result["recorded"]["chrf"] + 1e-9}
    translator.save(tmp_path / "other", evaluation=evaluation, record=close)
    assert main(["evaluate", str(tmp_path / "other")]) == 1
    assert "NOT the record" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        ({}, "evaluation must name data and split"),
        ({"data": "../../etc/passwd", "split": "test"}, "data must be one of"),
        ({"data": "multi30k de-en", "split": "__class__"}, "split must be one of"),
        ({"data": "multi30k de-en", "split": "test", "code": 1}, "arguments of the task's evaluate"),
    ],
)
def test_settings_of_an_evaluation_that_make_no_sense(
    evaluation: dict[str, object],
    words: str,
    corpus: None,
    translator: Translator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    translator.save(tmp_path / "model", evaluation=evaluation)
    assert main(["evaluate", str(tmp_path / "model")]) == 2
    assert words in capsys.readouterr().err


def test_generate_continues_a_text_and_a_seed_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["a bab ab aba"], 259, ["<|end|>"])
    writer = Writer(DecoderLM(replace(SIDE, vocab_size=259)).eval(), tokenizer)
    writer.save(tmp_path / "model")
    command = ["generate", "--checkpoint", str(tmp_path / "model"), "--max-new-tokens", "9", "ab"]
    printed = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]
    assert printed[0] == "ab" + writer("ab", max_new_tokens=9, seed=1) + "\n"
    assert main([*command, "", "--json"]) == 1
    printed_now = capsys.readouterr()
    assert printed_now.err == "line 2: must not be empty, got ''\n"
    assert [*json.loads(printed_now.out)[1]] == ["error"]


def test_train_runs_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "toy.py"
    recipe.write_text("NAME = 'toy'\nOPTIONS = {'x': '1'}\ndef run(run): return {'x': run.options['x']}\n")
    command = ["train", str(recipe), "--folder", str(tmp_path / "run"), "--seed", "4"]
    assert main([*command, "--set", "x=a=b", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["results"] == {"x": "a=b"} == record["options"] and record["seed"] == 4
    assert (tmp_path / "results" / "toy-seed4.json").is_file()
    assert main([*command, "--set", "y=2"]) == 2
    assert "options must be among ['x'] for toy, got 'y'" in capsys.readouterr().err


def test_extract_names_entities_and_relations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["Ada lives in Bonn Bonn"], 258)
    config = ExtractionConfig(
        encoder=replace(SIDE, vocab_size=258), kinds=("Place", "Person"), relations=("Lives_In",), pair_width=8
    )
    extractor = EntityRelationExtractor(ExtractionModel(config), tokenizer)
    with torch.no_grad():
        extractor.model.to_tags.weight.mul_(100)  # so that it finds something
    extractor.save(tmp_path / "model")
    texts = ["Ada lives in Bonn", "Bonn"]
    assert main(["extract", "--checkpoint", str(tmp_path / "model"), "--json", *texts]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["text"] for row in rows] == texts
    for row, found in zip(rows, extractor.find(texts), strict=True):
        assert [tuple(entity.values()) for entity in row["entities"]] == list(found.entities)
        assert [tuple(relation.values()) for relation in row["relations"]] == list(found.relations)
    assert rows[0]["entities"]
    assert main(["extract", "--checkpoint", str(tmp_path / "model"), *texts]) == 0
    first = rows[0]["entities"][0]
    words = texts[0][first["start"] : first["end"]]
    assert f"  {first['kind']}: {words} ({first['confidence']:.2f})\n" in capsys.readouterr().out


def test_answer_reads_passages_apart_by_empty_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["who is it it is Ada Ada"], 261, SPECIAL_TOKENS)
    answerer = QuestionAnswerer(Reader(replace(SIDE, vocab_size=261, segments=2)).eval(), tokenizer, threshold=-1e9)
    answerer.save(tmp_path / "model")
    passages = ["It is Ada.", "Bob is\nnot it."]
    text = "\n\n\n".join(passages) + "\n"
    command = ["answer", "--checkpoint", str(tmp_path / "model"), "who is it?"]
    (tmp_path / "passages").write_bytes(text.replace("\n", "\r\n").encode())
    wanted = answerer("who is it?", passages)
    assert wanted.text
    assert main([*command, "--passages", str(tmp_path / "passages")]) == 0
    assert capsys.readouterr().out == wanted.text + "\n"
    say(monkeypatch, text)
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == wanted._asdict() | {"abstained": False}
    replace(answerer, threshold=1e9).save(tmp_path / "silent")
    say(monkeypatch, text)
    assert main(["answer", "--checkpoint", str(tmp_path / "silent"), "who is it?"]) == 0
    assert capsys.readouterr().out == "(no answer)\n"
    say(monkeypatch, " \n")
    assert main(command) == 2 and "passages must not be empty" in capsys.readouterr().err
