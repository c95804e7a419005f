"""Groups of parameters keep their own rates: at every step, for both optimisers, in checkpoints and after resuming."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import next_token_loss, small_batches, small_config, small_model
from torch import Tensor

from tests.oracles import rejects
from transformer_lib.training import TrainConfig, adamw, muon, parameter_groups, train, warmup_cosine

RATES = {"embedding.*": 0.25, "*norm*": 0.5}
STEPS = 6


def config(**changes: Any) -> TrainConfig:
    schedule = functools.partial(warmup_cosine, warmup=2, total=STEPS, peak=1e-2)
    parts: dict[str, Any] = {"steps": STEPS, "learning_rate": schedule, "checkpoint_every": 2, "progress": False}
    return dataclasses.replace(small_config(), eval_every=None, **(parts | changes))


def weights(**changes: Any) -> dict[str, Tensor]:
    model = small_model()
    train(model, next_token_loss, small_batches(), config(**changes))
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("build", [adamw, muon])
def test_each_parameter_has_the_factor_of_the_first_pattern_that_fits(build: Any) -> None:
    model = small_model()
    names = {id(weight): name for name, weight in model.named_parameters()}
    optimizer = build(model, rates=RATES)
    found = {names[id(p)]: group["rate"] for group in optimizer.param_groups for p in group["params"]}
    for name, factor in found.items():
        assert factor == (0.25 if name.startswith("embedding.") else 0.5 if "norm" in name else 1.0)
    assert found.keys() == set(names.values())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found)


def test_without_factors_the_groups_are_as_ever() -> None:
    assert all(
        group.keys() == {"params", "weight_decay"} for group in parameter_groups(small_model(), weight_decay=0.1)
    )
    assert len(parameter_groups(small_model(), weight_decay=0.1)) == 2
    assert "rates" not in config().settings()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_factor_is_a_rate_of_its_own(optimizer: Any) -> None:
    """The first update of a group with the factor f is that of a run whose rate is f times as large."""
    # Clipping and decay aside, AdamW's and Muon's updates are proportional to the rate, and the gradients are the same.
    plain: dict[str, Any] = {"steps": 1, "optimizer": optimizer, "clip": None, "weight_decay": 0.0}
    start = {name: weight.detach() for name, weight in small_model().named_parameters()}
    usual, other = weights(**plain), weights(**plain, rates=RATES)
    for name, first in start.items():
        factor = 0.25 if name.startswith("embedding.") else 0.5 if "norm" in name else 1.0
        torch.testing.assert_close(other[name] - first, factor * (usual[name] - first), atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_factor_of_one_changes_no_bit(optimizer: Any) -> None:
    usual, other = weights(optimizer=optimizer), weights(optimizer=optimizer, rates={"*": 1.0})
    assert all(torch.equal(usual[name], other[name]) for name in usual)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resumed_is_straight_bit_for_bit(optimizer: Any, tmp_path: Path) -> None:
    straight = weights(optimizer=optimizer, rates=RATES)
    for steps, resume in ((3, False), (STEPS, True)):
        model = small_model()
        own = config(optimizer=optimizer, rates=RATES, steps=steps)
        state = train(model, next_token_loss, small_batches(), own, folder=tmp_path / "run", resume=resume)
    assert {group["rate"] for group in state.optimizer.param_groups} == {0.25, 0.5, 1.0}
    assert all(torch.equal(weight, straight[name]) for name, weight in model.named_parameters())


def test_another_factor_is_another_run_unless_it_is_meant(tmp_path: Path) -> None:
    def go(rates: dict[str, float], **options: Any) -> Any:
        own = config(rates=rates, steps=4 if options else 2)
        return train(small_model(), next_token_loss, small_batches(), own, folder=tmp_path / "run", **options)

    go({})
    with rejects("training.rates", "named in change: 'training.rates'"):
        go(RATES, resume=True)
    state = go(RATES, resume=True, change=["training.rates"])
    assert [(each["name"], each["from"]) for each in state.changes] == [("training.rates", None)]
    assert {group["rate"] for group in state.optimizer.param_groups} == {0.25, 0.5, 1.0}
    with rejects("training.rates"):  # the order decides which pattern fits first
        go(dict(reversed(RATES.items())), resume=True)


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"*": 0.0}, "rates['*'] must be above 0 and at most 1, got 0"),
        ({"*": 1.5}, "rates['*'] must be above 0 and at most 1, got 1.5"),
        ({"*": float("inf")}, "rates['*'] must be above 0 and at most 1, got inf"),
    ],
)
def test_factors_that_are_none(rates: dict[str, float], words: str) -> None:
    with rejects(words):
        config(rates=rates)


def test_a_pattern_of_nothing_is_refused() -> None:
    with rejects("rates must be patterns of the names of trained parameters", "encoder"):
        adamw(small_model(), rates={"encoder.*": 0.1, "*": 0.5})
