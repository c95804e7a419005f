"""The benchmark runs, compares like with like, and keeps what it measured whatever happens next."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import __main__ as command
from bench.harness import OURS, Candidate, Failed, installed, measure
from bench.ratios import best_of_its_family, compare, lines_of, ratio, spread, target_lines
from bench.seq2seq import RANDOM
from bench.train_step import FAMILIES, OURS_AGAIN, OURS_LLAMA, check_equal_work

ROOT = Path(__file__).parents[2]


def test_a_quick_run_measures_us_and_the_peers(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "bench", "train", "seq2seq", "--quick", "--out", str(tmp_path)]
    line += ["--peers", "torch", "marian", "huggingface-llama"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    records = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("train", "seq2seq")}
    for name, peer in (("train", "huggingface-llama"), ("seq2seq", "marian")):
        row = records[name]["rows"][0]
        candidates, ratios = row["candidates"], row["theirs_over_ours"]
        assert {*candidates} - {OURS, OURS_AGAIN, OURS_LLAMA} == {"torch", peer}
        alike = row["like_for_like"]
        assert {*alike} - {OURS_AGAIN, RANDOM} == {"torch", peer} <= {*ratios}
        assert row["best_peer"]["cpu_time"] == min(alike[p]["cpu_time"]["median"] for p in ("torch", peer))
        assert row["targets"][0]["is"] == row["best_peer"]["cpu_time"]
        for facts in candidates.values():
            assert "failed" not in facts, facts
            assert len(facts["cpu_seconds"]) == len(facts["wall_seconds"]) == records[name]["settings"]["rounds"] == 2
            if sys.platform == "linux":
                weights_gradients_moments = 4 * 4 * facts["parameters"] / 2**20
                assert weights_gradients_moments < facts["memory"]["added_mib"] < 100
        assert candidates[OURS]["values"] == pytest.approx(candidates["torch"]["values"], rel=1e-4)
        text = json.dumps(records[name])
        assert str(ROOT) not in text and sys.prefix not in text
    losses = records["train"]["rows"][0]["candidates"][OURS]["values"]
    assert losses[-1] < losses[0]  # the optimiser did step
    bucketed = records["seq2seq"]["rows"][1]["candidates"]
    assert bucketed[OURS]["real_tokens"] == pytest.approx(bucketed[RANDOM]["real_tokens"])
    assert bucketed[OURS]["real_share"] > bucketed[RANDOM]["real_share"] + 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "at least 1"),
        (["--nanogpt", "/nowhere"], "holds model.py"),
        (["--minbpe", "/nowhere"], "holds minbpe"),
        (["trian"], "SUBJECT must be one of train, "),
    ],
)
def test_bad_options_are_named(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_run_subject", lambda *_: pytest.fail("went on"))
    with pytest.raises(SystemExit) as ended:
        command.main(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


# A subject without models: its rows do what the test asks of them.


class Subject(ModuleType):
    TITLE = "rows that are made up"

    def __init__(self, **what: Any) -> None:
        super().__init__("subject")
        self.what, self.ran = what, []

    def rows(self, options: Namespace) -> list[str]:
        return list(self.what)

    def run(self, row: str, options: Namespace) -> dict[str, Any]:
        self.ran.append(row)
        if isinstance(self.what[row], BaseException):
            raise self.what[row]
        return {"row": row, "is": self.what[row], "rounds": options.rounds}

    def lines(self, record: dict[str, Any]) -> str:
        return f"{record['row']} is {record['is']}"


def run_subject(subject: Subject, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[int, list[Any]]:
    """The exit status of `python -m bench train` with this subject in the place of the real one, and the rows kept."""
    monkeypatch.setattr(command.importlib, "import_module", lambda _: subject)
    monkeypatch.setattr(
        command, "environment", lambda _: dict.fromkeys(("machine", "versions", "commit", "code"), "one")
    )
    options = options if "--allocators" in options else (*options, "--allocators", "usual")
    status = command.main(["train", "--out", str(out), *options])
    path = out / "train.json"
    return status, json.loads(path.read_text())["rows"] if path.exists() else []


def test_an_interrupted_run_keeps_its_rows_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"row": "a", "is": 1, "rounds": 6}
    assert run_subject(Subject(a=1, b=KeyboardInterrupt(), c=3), tmp_path, monkeypatch) == (130, [first])
    later = Subject(a=10, b=2, c=3)
    status, rows = run_subject(later, tmp_path, monkeypatch, "--resume")
    assert (status, later.ran) == (0, ["b", "c"])
    assert [row["is"] for row in rows] == [1, 2, 3]
    with pytest.raises(SystemExit, match="settings"):
        run_subject(later, tmp_path, monkeypatch, "--resume", "--rounds", "3")
    assert [row["is"] for row in run_subject(later, tmp_path, monkeypatch)[1]] == [10, 2, 3]  # all anew
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_a_failed_row_is_recorded_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, rows = run_subject(Subject(a=ValueError("no"), b=2), tmp_path, monkeypatch)
    assert status == 1
    assert rows[0] == {"row": "a", "failed": "ValueError: no"} and rows[1]["is"] == 2
    later = Subject(a=1, b=20)
    assert run_subject(later, tmp_path, monkeypatch, "--resume")[0] == 0
    assert later.ran == ["a"]


def test_a_subject_is_measured_again_with_memory_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the workers inherit differs, and so does the record; what was set before is set again."""
    monkeypatch.setenv(command.TUNABLES, "glibc.malloc.perturb=0")
    seen: list[str] = []

    class Noting(Subject):
        def run(self, row: str, options: Namespace) -> dict[str, Any]:
            seen.append(os.environ[command.TUNABLES])
            return super().run(row, options)

    run_subject(Noting(a=1), tmp_path, monkeypatch, "--allocators", "usual", "kept")
    assert seen == ["glibc.malloc.perturb=0", command.KEPT]
    assert os.environ[command.TUNABLES] == seen[0]
    found = {path.name: json.loads(path.read_text())["settings"]["allocator"] for path in tmp_path.iterdir()}
    assert found == {"train.json": "usual", "train-kept.json": "kept"}


def test_rows_are_chosen_by_the_words_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject(**{"small float32": 1, "small bfloat16": 2, "slice float32": 3})
    run_subject(subject, tmp_path, monkeypatch, "--rows", "float32", "small")
    assert subject.ran == ["small float32"]


def working() -> Any:
    return lambda: (lambda: 1.0, {"parameters": 1})


def failing(when: str) -> Any:
    def step() -> float:
        if when == "dies":
            os._exit(3)
        raise ValueError(f"this is what was raised:\n\nat the {when}\nand more")

    if when == "import":
        step()
    return lambda: (step, {"parameters": 1})


def test_a_peer_that_fails_is_recorded_and_the_others_go_on() -> None:
    peers = {when: Candidate(failing, (when,)) for when in ("import", "step", "dies")}
    candidates = {OURS: Candidate(working, ()), **peers, "peer": Candidate(working, ())}
    record = measure(candidates, rounds=2, steps=1, warmup=1, threads=1)
    assert record["import"] == {"failed": "ValueError: at the import"}
    assert record["step"] == {"failed": "ValueError: at the step"}
    assert record["dies"] == {"failed": "the process ended with status 3"}
    row = compare(record, threads=1)
    assert [*row["theirs_over_ours"]] == ["peer"]
    assert row["best_peer"]["name"] == "peer"
    assert "failed: ValueError: at the step" in lines_of(row, 1)
    with pytest.raises(Failed, match="at the step"):
        compare({OURS: record["step"], "peer": record["peer"]}, threads=1)


def test_the_ratio_is_taken_within_rounds() -> None:
    assert ratio([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]) == {"median": 2.0, "lower_quartile": 2.0, "upper_quartile": 2.0}
    assert spread([3.0]) == {"median": 3.0, "lower_quartile": 3.0, "upper_quartile": 3.0}
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == {"median": 3.0, "lower_quartile": 2.0, "upper_quartile": 4.0}


def test_the_best_peer_is_the_fastest_by_the_clock_that_counts_and_not_one_of_ours() -> None:
    def facts(cpu: float, wall: float, mib: float) -> dict[str, Any]:
        return {"cpu_seconds": [cpu], "wall_seconds": [wall], "memory": {"added_mib": mib}}

    record = {OURS: facts(2, 2, 10), OURS_LLAMA: facts(1, 1, 1), "lean": facts(4, 3, 5), "fast": facts(3, 4, 20)}
    row = compare(record, threads=1)
    assert row["best_peer"] == {"name": "fast", "cpu_time": 1.5}
    assert row["leanest_peer"] == {"name": "lean", "memory": 0.5}
    assert compare(record, threads=2)["best_peer"] == {"name": "lean", "wall_time": 1.5}


def test_a_peer_is_compared_with_the_one_of_ours_that_does_its_work() -> None:
    def facts(cpu: float) -> dict[str, Any]:
        return {"cpu_seconds": [cpu], "wall_seconds": [cpu], "memory": None}

    record = {OURS: facts(2), OURS_LLAMA: facts(4), "llama": facts(3), "gpt": facts(5), "other": facts(0.1)}
    like = {"llama": OURS_LLAMA, "gpt": OURS, "other": None}
    row = compare(record, threads=1, like=like)
    assert row["theirs_over_ours"]["llama"]["cpu_time"]["median"] == 1.5
    ratios = {name: (over["ours"], over["cpu_time"]["median"]) for name, over in row["like_for_like"].items()}
    assert ratios == {"llama": (OURS_LLAMA, 0.75), "gpt": (OURS, 2.5)}
    assert row["best_peer"] == {"name": "llama", "cpu_time": 0.75}
    (target,) = best_of_its_family(row, 1)
    assert target["is"] == 0.75 and "0.750" in target_lines([target])[0]
    assert f"0.750 of {OURS_LLAMA}" in lines_of(row, 1)
    assert compare(record | {OURS_LLAMA: {"failed": "x"}}, threads=1, like=like)["best_peer"]["name"] == "gpt"


@pytest.mark.parametrize(
    ("peer", "theirs", "reason"),
    [
        (FAMILIES[0][1], {"parameters": 1001}, "1,001 parameters, not 1,000"),
        (FAMILIES[0][1], {"values": [6.1, 5.0]}, "first loss"),
        (FAMILIES[0][1], {"values": [6.0, 5.1]}, "last loss"),
        (FAMILIES[0][1], {"values": [6.0, float("nan")]}, "last loss"),
        (FAMILIES[1][1], {"values": [6.0, 5.1]}, "last loss"),
        ("x-transformers", {"parameters": 1021}, "1,021 parameters"),
        ("x-transformers", {"parameters": 1019, "values": [7.0, 6.0]}, None),
    ],
)
def test_unequal_work_is_a_failure(peer: str, theirs: dict[str, Any], reason: str | None) -> None:
    ours = {"parameters": 1000, "values": [6.0, 5.0]}
    record = {OURS: ours, OURS_LLAMA: ours, peer: ours | theirs}
    check_equal_work(record, 1e-4)
    assert record[OURS] is record[OURS_LLAMA] is ours
    assert reason in record[peer]["failed"] if reason else record[peer] == ours | theirs


def test_peers_that_are_not_installed_are_left_out() -> None:
    packages = {"a": "torch", "b": None, "c": "no-such-package"}
    assert installed(packages, None) == (["a", "b"], ["c"])
    assert installed(packages, ["b"]) == (["b"], [])
