"""The recipes' run from end to end on a corpus of a few sentences: what it scores is what its saved model scores."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Rope, Seq2SeqConfig, SwiGlu
from transformer_lib.data import datasets
from transformer_lib.data.examples import Pair, ParallelCorpus
from transformer_lib.models import Seq2Seq
from transformer_lib.runs.recipe import Run, load_recipe
from transformer_lib.tasks.evaluation import load_examples, score_again
from transformer_lib.tasks.saved import read_about
from transformer_lib.tasks.translation import Translator
from transformer_lib.tasks.translation_run import Plan, train_translator

WORDS = {"Hund": "dog", "Katze": "cat", "Baum": "tree", "Haus": "house", "Kind": "child"}
PAIRS = tuple(Pair(f"{a} und {b}", f"{WORDS[a]} and {WORDS[b]}") for a in WORDS for b in WORDS)


@pytest.fixture(autouse=True)
def corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ParallelCorpus(train=PAIRS[:15], validation=PAIRS[15:20], test=PAIRS[20:])
    monkeypatch.setattr(datasets, "multi30k", lambda: whole)


def small_plan(epochs: int = 4) -> Plan:
    side = ModelConfig(
        vocab_size=285,
        d_model=16,
        num_layers=1,
        max_length=32,
        attention=AttentionConfig(num_heads=2),
        feedforward=SwiGlu(d_ff=16),
        positions=Rope(),
        dropout=0.1,
    )
    return Plan(
        data="multi30k de-en",
        model=Seq2SeqConfig(encoder=side, decoder=side),
        epochs=epochs,
        token_budget=100,
        peak=0.02,
        warmup=2,
        decay=0.5,
        lowercase=True,
        scoring={"beams": 2, "lowercase": True},
        averages=(1, 2),
    )


def test_what_is_scored_is_what_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score, rounded = Translator.evaluate, []

    def evaluate(self: Translator, pairs: Sequence[Pair], **settings: Any) -> dict[str, Any]:
        rounded.append(all(torch.equal(p, p.half().float()) for p in self.model.parameters()))
        return score(self, pairs, **settings)

    monkeypatch.setattr(Translator, "evaluate", evaluate)
    run = Run(0, torch.device("cpu"), tmp_path)
    results = train_translator(run, small_plan())
    assert rounded == [True] * 3, "in the half precision of the file"
    json.dumps(results, allow_nan=False)
    about = read_about(tmp_path / "model")
    assert about["record"] == results["test"] and about["evaluation"]["data"] == "multi30k de-en"
    assert about["record"]["pairs"] == 5 and results["validation_greedy"]["pairs"] == 5
    assert score_again(tmp_path / "model")["same"]
    assert results["bytes"] == sum(file.stat().st_size for file in (tmp_path / "model").iterdir())
    assert {"steps", "parameters", "held_out_loss", "test_greedy"} <= results.keys()


def test_a_run_that_was_done_is_scored_again_without_training(tmp_path: Path) -> None:
    results = train_translator(Run(0, torch.device("cpu"), tmp_path), small_plan())
    before = Translator.load(tmp_path / "model").model.state_dict()
    log = (tmp_path / "training" / "log.jsonl").read_bytes()
    assert train_translator(Run(0, torch.device("cpu"), tmp_path, resume=True), small_plan()) == results
    after = Translator.load(tmp_path / "model").model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "training" / "log.jsonl").read_bytes() == log


def test_the_other_direction_is_the_pairs_turned_round() -> None:
    assert load_examples("multi30k en-de") == [Pair(target, source) for source, target in PAIRS[20:]]
    assert load_examples("multi30k de-en", "train") == PAIRS[:15]
    with pytest.raises(ValueError, match=r"split must be one of \('test',\) for xquad zh, got 'train'"):
        load_examples("xquad zh", "train")


@pytest.mark.parametrize(
    ("name", "data", "most"), [("multi30k", "multi30k en-de", 10e6), ("tatoeba", "tatoeba en-zh", 3e6)]
)
def test_the_recipes_models_are_as_small_as_they_should_be(
    name: str, data: str, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / f"{name}.py")
    plans: list[Plan] = []
    monkeypatch.setattr(recipe, "train_translator", lambda run, plan: plans.append(plan) or {})
    recipe.run(Run(0, torch.device("cpu"), tmp_path, options=getattr(recipe, "OPTIONS", {}) | {"direction": "en-de"}))
    [plan] = plans
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Seq2Seq(plan.model).parameters()) < most
    assert plan.data == data


def test_multi30k_has_two_directions(tmp_path: Path) -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "multi30k.py")
    with pytest.raises(ValueError, match="direction must be 'de-en' or 'en-de', got 'de-fr'"):
        recipe.run(Run(0, torch.device("cpu"), tmp_path, options={"direction": "de-fr"}))


def test_shortcuts_are_scored_like_models(tmp_path: Path) -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "translation_baselines.py")
    results = recipe.run(Run(0, torch.device("cpu"), tmp_path, options={"data": "multi30k-de-en"}))
    json.dumps(results, allow_nan=False)
    assert (results["pairs"], results["train"]) == (5, 15)
    systems = results["systems"]
    # Its pairs say the same words in the same order, so a dictionary is all that one needs.
    assert systems["dictionary"]["exact"] == 1 and systems["dictionary"]["chrf"] == pytest.approx(100)
    assert systems["nearest source"]["targets of training"] == 1 > systems["nearest source"]["exact"] == 0
    assert systems["copied source"]["exact"] == 0 and "signs" not in systems["copied source"]
    # No reference stands in training, so all pairs are fresh and the scores are the same once more.
    assert results["fresh"] == 5 and systems["references"]["targets of training"] == 0
    assert systems["dictionary"]["fresh"]["chrf"] == systems["dictionary"]["chrf"]
    assert recipe.only([1], {"a": ["x", "y"]}, ["z", "y"]) == ({"a": ["y"]}, ["y"])
    with pytest.raises(ValueError, match="data must be one of"):
        recipe.run(Run(0, torch.device("cpu"), tmp_path, options={"data": "multi30k de-en"}))


def test_the_records_of_shortcuts_are_of_their_models_tests() -> None:
    results = Path(__file__).parents[2] / "recipes" / "results"
    found = {path.stem.removeprefix("baselines-"): path for path in results.glob("baselines-*.json")}
    assert found, "there are records"
    for name, path in found.items():
        record, trained = (json.loads(file.read_text()) for file in (path, results / f"{name}.json"))
        assert record["clean"] and record["results"]["pairs"] == trained["results"]["test"]["pairs"]
        if model := record["results"]["systems"].get("model"):
            scores = trained["results"]["test"]
            assert (model["bleu"], model["chrf"]) == (scores["bleu"], scores["chrf"]), "translated as it was scored"
