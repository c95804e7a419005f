"""The models that the repository hands on: small, licensed, as their records say, and able to translate."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plain import unchecked
from transformer_lib.__main__ import main
from transformer_lib.tasks.evaluation import score_again
from transformer_lib.tasks.question_answering import QuestionAnswerer
from transformer_lib.tasks.saved import read_about
from transformer_lib.tasks.translation import Translator

RECIPES = Path(__file__).parents[2] / "recipes"
MODELS = sorted(path.parent for path in RECIPES.glob("models/*/model.safetensors"))
each_model = pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)


def test_there_are_these() -> None:
    names = ["authored-answers", "authored-extraction", "authored-translation", "shakespeare-small", "tatoeba-en-zh"]
    assert [folder.name for folder in MODELS] == names


@each_model
def test_it_is_small_and_its_licence_is_named(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 6 * 2**20
    [row] = [row for row in (RECIPES / "models/README.md").read_text().split("\n") if f"`{folder.name}`" in row]
    licence = "CC BY 2.0 FR" if folder.name == "tatoeba-en-zh" else "MIT"
    assert row.split(" | ")[-1].startswith(licence)


@each_model
def test_it_is_the_one_of_the_record(folder: Path) -> None:
    record = json.loads((RECIPES / f"results/{folder.name}-seed0.json").read_text())
    assert record["clean"]
    about = read_about(folder)
    results = record["results"].get("test", record["results"])  # a language model's scores stand among the facts
    assert about["record"] == {name: results[name] for name in about["record"] or results}


def test_it_writes_a_scene_and_says_how_well(capsys: pytest.CaptureFixture[str]) -> None:
    folder = RECIPES / "models/shakespeare-small"
    command = ["generate", "ROMEO:\n", "--checkpoint", str(folder), "--max-new-tokens", "60"]
    assert main(command) == 0
    scene = capsys.readouterr().out
    assert len(set(scene.split())) > 15 and main(command) == 0 and capsys.readouterr().out == scene
    scores = read_about(folder)["record"]
    assert 1 < scores["held_out_bits_per_byte"] < 3 < scores["held_out_nats_per_token"] < 4


def test_it_says_sentences_in_chinese() -> None:
    translator = Translator.load(RECIPES / "models/tatoeba-en-zh")
    found = translator(["I love you.", "He is a doctor."])
    assert found == ["我愛你。", "他是个医生。"]


def test_it_answers_and_says_what_it_is_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "passages.txt").write_text("Leo works in Oslo, Rosa in Rome.")
    model = str(RECIPES / "models/authored-answers")
    found = []
    for asked in ("Where does Leo work?", "Where does Rosa work?", "Where does Anna work?"):
        assert main(["answer", asked, "--passages", str(tmp_path / "passages.txt"), "--checkpoint", model]) == 0
        said = capsys.readouterr()
        found.append(said.out.strip())
        assert said.err.count("\n") == 1 and "not for real text" in said.err
    assert found == ["Oslo", "Rome", "(no answer)"]


def test_the_answerer_is_calibrated_as_its_record_says() -> None:
    record = json.loads((RECIPES / "results/calibration-authored-answers-seed0.json").read_text())
    answerer = QuestionAnswerer.load(RECIPES / "models/authored-answers")
    assert record["clean"] and answerer.calibration is not None
    assert answerer.calibration._asdict() == record["results"]["calibration"]
    for name, part in record["results"].items():
        if name != "calibration":
            total = sum(point["examples"] * abs(point["probability"] - point["right"]) for point in part["curve"])
            assert abs(total / part["questions"] - part["expected_calibration_error"]) < 1e-12
    believed, plain = (record["results"][name]["expected_calibration_error"] for name in ("test", "test, plain score"))
    assert believed < plain < 0.05
    sure = answerer("Where does Leo work?", ["Leo works in Oslo, Rosa in Rome."])
    unsure = answerer("Where does Anna work?", ["Leo works in Oslo, Rosa in Rome."])
    assert sure.probability is not None and unsure.probability is not None
    assert sure.probability > 0.9 and unsure.probability < 0.1 and unsure.abstained


def test_the_translator_is_unsure_as_its_record_says() -> None:
    record = json.loads((RECIPES / "results/sureness-tatoeba-en-zh-seed0.json").read_text())
    translator = Translator.load(RECIPES / "models/tatoeba-en-zh")
    assert record["clean"] and translator.unsure_below == record["results"]["threshold"]
    for split in ("validation", "test"):
        told = record["results"][split]
        assert told["wrong where unsure"] > 0.48 and told["wrong elsewhere"] < 0.2 and told["auc"] > 0.7
        assert 0.2 < told["unsure"] < 0.3
    [[sure], [unsure]] = translator.candidates(["I love you.", "The archduke embezzled nine quaint tariffs."])
    assert unsure.per_token < translator.unsure_below < sure.per_token


def test_it_extracts_and_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Ada  Novak, who was taught by Boris Holter, works for Helix Labs."
    assert main(["extract", "--jsonl", "--checkpoint", str(RECIPES / "models/authored-extraction"), text]) == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "not for real text" in said.err
    found = json.loads(said.out)
    assert [text[each["start"] : each["end"]] for each in found["entities"]] == [
        "Ada  Novak",
        "Boris Holter",
        "Helix Labs",
    ]
    assert [(each["kind"], each["head"], each["tail"]) for each in found["relations"]] == [
        ("works_for", 0, 2),
        ("taught", 1, 0),
    ]
    assert all(each["confidence"] > 0.5 for each in (*found["entities"], *found["relations"]))


def test_answers_are_as_good_as_their_record_says() -> None:
    # In a process of its own: the tests' hook checks every one of the million calls that make 2,000 questions.
    command = [sys.executable, "-m", "transformer_lib", "evaluate", str(RECIPES / "models/authored-answers"), "--json"]
    done = subprocess.run(command, cwd=RECIPES.parent, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    recorded, again = (found[name]["all"]["exact_match"] for name in ("recorded", "found"))
    assert recorded > 90 and abs(recorded - again) <= 0.5  # computed in float32: another processor may round otherwise


@unchecked()
def test_authored_sentences_are_translated_as_their_record_says() -> None:
    translator = Translator.load(RECIPES / "models/authored-translation")
    assert translator(["The student is visiting that teacher."], beams=1) == ["学生正在拜访那位老师。"]
    assert score_again(RECIPES / "models/authored-translation")["same"]


@pytest.mark.skipif("TRANSFORMER_DATA" not in os.environ, reason="the real sentences are in $TRANSFORMER_DATA")
def test_its_score_is_found_again_to_the_last_digit() -> None:
    found = score_again(RECIPES / "models/tatoeba-en-zh")
    assert found["same"], found
