"""Each task is trained on own files by one command, scored on others, and used; as a new user would type it."""

import json
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.plain import unchecked
from transformer_lib.__main__ import main
from transformer_lib.tasks.own.material import Material, Rows
from transformer_lib.tasks.own.text import texts_of
from transformer_lib.tasks.own.translation import SIZES, size_for, tokenize_for

NOUNS = ("cat", "dog", "bird", "fish", "horse", "cow", "fox", "bear", "wolf", "mouse")
VERBS = ("sees", "helps", "finds", "likes", "hears")


def _sentences(count: int) -> list[tuple[str, str, str]]:
    rng = random.Random(0)
    return [(rng.choice(NOUNS), rng.choice(VERBS), rng.choice(NOUNS)) for _ in range(count)]


def _pairs(file: Path) -> Path:
    file.write_text(
        "".join(f"the {a} {v} the {b}\tdie {a.upper()} {v.upper()} die {b.upper()}\n" for a, v, b in _sentences(60))
    )
    return file


def _columns(file: Path) -> Path:
    rows = [f"the O\n{a} B-AGENT\n{v} O\nthe O\n{b} B-PATIENT\n" for a, v, b in _sentences(40)]
    file.write_text("\n".join(rows))
    return file


def _questions(file: Path) -> Path:
    rows = []
    for i, (a, v, b) in enumerate(_sentences(40)):
        passage = f"Case {i}. The {a} {v} the {b}."
        answers = {"text": [b], "answer_start": [passage.rindex(b)]} if i % 4 else {"text": [], "answer_start": []}
        rows.append({"id": str(i), "context": passage, "question": f"Whom does the {a} see?", "answers": answers})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _texts(file: Path) -> Path:
    file.write_text("".join(f"the {a} {v} the {b}.\n" for a, v, b in _sentences(1200)))
    return file


WRITE = {"translation": _pairs, "extraction": _columns, "answers": _questions, "text": _texts}
NAMES = {"translation": "p.tsv", "extraction": "c.conll", "answers": "q.jsonl", "text": "t.txt"}
SMALL = {"translation": ["--size", "tiny"], "text": ["--size", "tiny"]}
USE = {
    "translation": ["translate", "the cat sees the dog"],
    "extraction": ["extract", "the cat sees the dog"],
    "answers": ["answer", "Whom does the cat see?"],
    "text": ["generate", "the cat"],
}


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("task", sorted(WRITE))
@unchecked()
def test_train_evaluate_and_use(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = WRITE[task](tmp_path / NAMES[task]), tmp_path / "out"
    train = ["train", task, "--data", str(data), "--out", str(out), "--epochs", "1", *SMALL.get(task, [])]
    record = _json(capsys, *train)
    assert record == json.loads((out / "record.json").read_text())
    counts = record["results"].get("examples", record["results"].get("tokens"))
    assert counts["train"] > counts["test"] > 0 and counts["validation"] > 0
    assert record["results"]["steps"] == record["results"]["steps_at_most"]
    found = _json(capsys, "evaluate", str(out), "--data", str(data))
    assert found["examples"] == (
        1
        if task == "text"
        else len(data.read_text().split("\n\n"))
        if task == "extraction"
        else len(data.read_text().splitlines())
    )
    for ends in found["intervals"].values():
        assert ends[0] <= ends[1]
    assert main(["evaluate", str(out)]) == 2
    assert "evaluate --data" in capsys.readouterr().err or task == "text"
    if task == "answers":
        (tmp_path / "passage.txt").write_text("The cat sees the dog.")
        USE[task][2:] = ["--passages", str(tmp_path / "passage.txt")]
    assert _json(capsys, *USE[task], "--checkpoint", str(out)) is not None
    # the same command again is refused, and with --resume finds nothing left to do
    assert main(train) == 2
    assert "resume" in capsys.readouterr().err
    assert _json(capsys, *train, "--resume")["results"]["held_out_loss"] == record["results"]["held_out_loss"]


@unchecked()
def test_it_learns_what_is_in_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = _columns(tmp_path / "c.conll"), tmp_path / "out"
    record = _json(capsys, "train", "extraction", "--data", str(data), "--out", str(out), "--epochs", "60")
    assert record["results"]["test"]["entities"]["f1"] > 0.9  # the words before and after tell the two kinds apart
    assert "relations" not in record["results"]["test"]
    assert main(["evaluate", str(out), "--data", str(data)]) == 0
    shown = capsys.readouterr().out
    assert "entities f1: " in shown and "(95 %: " in shown


def test_bad_lines_are_refused_or_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _pairs(tmp_path / "p.tsv")
    data.write_text("no tab\n" + data.read_text() + "nor here\n")
    train = ["train", "translation", "--data", str(data), "--out", str(tmp_path / "out"), "--epochs", "1"]
    assert main(train) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "line 1: must have a tab" in said and "1 more" in said and "--skip-bad" in said
    record = _json(capsys, *train, "--skip-bad")
    assert sum(record["results"]["examples"].values()) == 60
    assert main(["check-data", str(data)]) == 1
    assert "line 62" in capsys.readouterr().out


def test_given_splits_are_used_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, held, test = (_columns(tmp_path / name) for name in ("a.conll", "b.conll", "c.conll"))
    test.write_text("\n".join(test.read_text().split("\n")[:12]))
    options = ["--validation", str(held), "--test", str(test), "--out", str(tmp_path / "out"), "--epochs", "1"]
    record = _json(capsys, "train", "extraction", "--data", str(data), *options)
    assert record["results"]["examples"] == {"train": 40, "validation": 40, "test": 2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "translation"], "--data must name the files"),
        (["train", "translation", "--data", "x.tsv"], "--out must name the folder"),
        (["train", "recipe.py", "--data", "x.tsv"], "--data must come after one of"),
        (["train", "text", "--data", "x", "--out", "y", "--lowercase"], "--lowercase must be left out"),
        (["train", "text", "--data", "x", "--out", "y", "--set", "a=b"], "--set must be left out"),
        (["train", "text", "--data", "x", "--out", "y", "--epochs", "0"], "whole number from 1"),
        (["check-data", "nowhere.tsv"], "nowhere.tsv"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said
    assert list(tmp_path.iterdir()) == []


def test_check_data_names_what_two_files_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, test = _pairs(tmp_path / "p.tsv"), tmp_path / "t.tsv"
    first = data.read_text().split("\n")[0]
    test.write_text(f"{first.upper()}\nnew words\tneue Worte\n")
    found = _json(capsys, "check-data", str(data), "--test", str(test))
    assert found["kind"] == "pairs" and found["shared_with_data"] == {"test": 1}
    assert found["test"]["examples"] == 2


def test_rows_are_the_lists_that_went_in() -> None:
    rows = Rows()
    for row in ([1, 2, 3], [], [4]):
        rows.append(row)
    assert list(rows) == [[1, 2, 3], [], [4]] and rows[-1] == [4] and rows[1:] == [[], [4]] and len(rows) == 3
    with pytest.raises(IndexError):
        rows[3]


def test_settings_follow_the_data() -> None:
    widths = [SIZES[size_for(count)].width for count in (20, 2_000, 60_000, 2_000_000)]
    assert widths == sorted(widths) and widths[0] < widths[-1]
    assert (tokenize_for(["\u4ed6\u4eec\u5de5\u4f5c"]), tokenize_for(["they work"])) == ("zh", "13a")


def test_each_of_a_few_documents_is_cut(tmp_path: Path) -> None:
    """Of three documents, not of the first alone, a part is held out for the validation and a part for the test."""
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name * 100)
    train, validation, test = texts_of(Material((tmp_path,), (), (), ("texts",), seed=0))
    assert train == [name * 90 for name in "abc"]
    assert validation == test == [name * 5 for name in "abc"]
    given = texts_of(Material((tmp_path,), (tmp_path / "a.txt",), (), ("texts",), seed=0))
    assert given == [[name * 95 for name in "abc"], ["a" * 100], [name * 5 for name in "abc"]]


def test_sharded_weights_are_trained_by_adamw_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `torchrun --nproc-per-node 1` starts it; Muon would be refused when all data are read."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    for name, value in (
        place | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "x"}
    ).items():
        monkeypatch.setenv(name, value)
    train = ["train", "translation", "--data", str(_pairs(tmp_path / "p.tsv")), "--out", str(tmp_path / "out")]
    assert main([*train, "--epochs", "1", "--size", "tiny", "--json", "--parallel", "fsdp2"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["parallel"] == "fsdp2"
    assert printed.err.count("under fsdp2 this trains with AdamW") == 1
