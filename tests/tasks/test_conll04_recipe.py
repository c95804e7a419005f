"""The recipe from end to end, on authored sentences in place of the real ones; and the real ones, where they are."""

import dataclasses
import json
import os
from pathlib import Path
from types import ModuleType

import pytest
import torch

from transformer_lib.data.examples import Annotated
from transformer_lib.data.toy_extraction import splits
from transformer_lib.runs.recipe import Run, load_recipe
from transformer_lib.tasks.evaluation import load_examples, load_task
from transformer_lib.tasks.saved import read_about

AUTHORED = splits(train=60, validation=8, test=8)


@pytest.fixture
def recipe() -> ModuleType:
    return load_recipe(Path(__file__).parents[2] / "recipes" / "conll04.py")


def test_a_run_scores_what_it_saves(recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def examples(data: str, split: str) -> tuple[Annotated, ...]:
        assert data == "conll04"
        return getattr(AUTHORED, split)

    monkeypatch.setattr(recipe, "load_examples", examples)
    monkeypatch.setattr(
        recipe, "ENCODER", dataclasses.replace(recipe.ENCODER, vocab_size=300, d_model=16, num_layers=1)
    )
    results = recipe.run(Run(0, torch.device("cpu"), tmp_path, options={"epochs": "2"}))
    json.dumps(results, allow_nan=False)
    assert results["epochs"] == 2 and results["test"]["entities"]["gold"] == sum(len(e.entities) for e in AUTHORED.test)
    folder = tmp_path / "model"
    about = read_about(folder)
    settings = {key: value for key, value in about["evaluation"].items() if key not in ("data", "split")}
    assert load_task(folder).evaluate(AUTHORED.test, **settings) == about["record"] == results["test"]


def test_unknown_words_by_hand(recipe: ModuleType) -> None:
    train, test = (Annotated(tuple(text.split()), (), ()) for text in ("a b c", "a x c x"))
    both = (test, train)
    found = recipe.unknown_words(AUTHORED._replace(train=(train,), test=both))
    assert found == {"words": 2 / 7, "sentences": 1 / 2}


@pytest.mark.skipif("TRANSFORMER_DATA" not in os.environ, reason="needs real data in TRANSFORMER_DATA")
def test_the_real_sentences_can_all_be_trained_on(recipe: ModuleType, tmp_path: Path) -> None:
    train = tuple(load_examples("conll04", "train"))
    extractor = recipe.new_extractor(train, Run(0, torch.device("cpu"), tmp_path))
    config = extractor.model.config
    assert config.kinds == ("Loc", "Org", "Other", "Peop")
    assert config.relations == ("Kill", "Live_In", "Located_In", "OrgBased_In", "Work_For")
    batches = recipe.extraction_batches(train, extractor, token_budget=1024, seed=0, epochs=1)
    assert sum(len(batch.tags) for batch in batches) == 922
