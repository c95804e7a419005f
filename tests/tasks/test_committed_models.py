"""The models that the repository hands on: small, licensed, as their records say, and able to translate."""

import json
import os
from pathlib import Path

import pytest

from transformer_lib.tasks.evaluation import score_again
from transformer_lib.tasks.saved import read_about
from transformer_lib.tasks.translation import TASK, Translator

RECIPES = Path(__file__).parents[2] / "recipes"
MODELS = sorted(path.parent for path in RECIPES.glob("models/*/model.safetensors"))
each_model = pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)


def test_there_is_one() -> None:
    assert [folder.name for folder in MODELS] == ["tatoeba-en-zh"]


@each_model
def test_it_is_small_and_its_licence_is_named(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 6 * 2**20
    assert "CC BY 2.0 FR" in (RECIPES / "models/README.md").read_text()


@each_model
def test_it_is_the_one_of_the_record(folder: Path) -> None:
    record = json.loads((RECIPES / f"results/{folder.name}-seed0.json").read_text())
    assert record["clean"]
    about = read_about(folder, task=TASK, own_fields=["lowercase"])
    assert about["record"] == record["results"]["test"]


def test_it_says_sentences_in_chinese() -> None:
    translator = Translator.load(RECIPES / "models/tatoeba-en-zh")
    found = translator(["I love you.", "He is a doctor."])
    assert found == ["我愛你。", "他是个医生。"]


@pytest.mark.skipif("TRANSFORMER_DATA" not in os.environ, reason="the real sentences are in $TRANSFORMER_DATA")
@each_model
def test_its_score_is_found_again_to_the_last_digit(folder: Path) -> None:
    found = score_again(folder)
    assert found["same"], found
