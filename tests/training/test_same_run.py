"""A run goes on only as the run it was: one writer, the same data, loss and settings, unless one says otherwise."""

import functools
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_run import (
    next_token_loss,
    run_in_a_process,
    run_to_the_end,
    small_batches,
    small_config,
    small_held_out,
    small_model,
    start_process,
)
from test_checkpoint import assert_refused, reseal
from torch import nn

from transformer_lib.data.batching import BucketedBatches, pad
from transformer_lib.files import LOCK, sole_writer
from transformer_lib.training import (
    LossSum,
    TrainState,
    latest,
    load_state,
    load_weights,
    new_state,
    save_state,
    token_loss,
    train,
    warmup_cosine,
)


def smoothed_loss(model: nn.Module, batch: Any, *, smoothing: float = 0.1) -> LossSum:
    return token_loss(model(batch[0]), batch[1], smoothing=smoothing)


def go_on(
    folder: Path, loss: Any = next_token_loss, batches: Any = None, change: Any = (), **changes: Any
) -> TrainState:
    """Train on to `steps`, whatever is in the folder."""
    batches = batches or small_batches()
    config = small_config(**({"steps": 4, "checkpoint_every": 2} | changes))
    return train(small_model(), loss, batches, config, folder=folder, resume=True, change=change)


def test_resuming_without_a_folder_is_refused() -> None:
    for settings in ({"resume": True}, {"change": ["loss"]}):
        with pytest.raises(ValueError, match="resume needs a folder to go on from"):
            train(small_model(), next_token_loss, small_batches(), small_config(), **settings)


# The loss, the data, the settings -----------------------------------------------------------------------------------


def test_another_loss_is_refused_and_named(tmp_path: Path) -> None:
    go_on(tmp_path, functools.partial(smoothed_loss, smoothing=0.1))
    go_on(tmp_path, functools.partial(smoothed_loss, smoothing=0.1), steps=5)
    with pytest.raises(ValueError, match=r"settings.loss.smoothing must equal this run's 0.3 .*'loss.smoothing'.* 0.1"):
        go_on(tmp_path, functools.partial(smoothed_loss, smoothing=0.3), steps=6)
    with pytest.raises(ValueError, match=r"settings.loss.function must equal this run's 'next_token_loss'"):
        go_on(tmp_path, next_token_loss, steps=6)

    def weighing(weight: float) -> Any:
        return lambda model, batch: next_token_loss(model, batch) if weight else smoothed_loss(model, batch)

    other = tmp_path / "closure"
    go_on(other, weighing(0.25))
    go_on(other, weighing(0.25), steps=5)
    with pytest.raises(ValueError, match=r"settings.loss.weight must equal this run's 0.5 .* got 0.25"):
        go_on(other, weighing(0.5), steps=6)


def test_what_is_changed_on_purpose_is_named_and_written_down(tmp_path: Path) -> None:
    go_on(tmp_path, functools.partial(smoothed_loss, smoothing=0.1))
    lower = functools.partial(warmup_cosine, warmup=4, total=45, peak=1e-3, floor=1e-4)
    loss = functools.partial(smoothed_loss, smoothing=0.0)
    with pytest.raises(ValueError, match=r"settings.training.learning_rate.peak must equal this run's 0.001"):
        go_on(tmp_path, loss, change=["loss"], learning_rate=lower, steps=6)
    state = go_on(tmp_path, loss, change=["loss", "training.learning_rate"], learning_rate=lower, steps=6)
    assert state.changes == [
        {"step": 4, "name": "training.learning_rate.peak", "from": 0.01, "to": 0.001},
        {"step": 4, "name": "training.learning_rate.floor", "from": 0.001, "to": 0.0001},
        {"step": 4, "name": "loss.smoothing", "from": 0.1, "to": 0.0},
    ]
    newest = latest(tmp_path)
    assert newest is not None
    assert json.loads((newest / "state.json").read_text())["changes"] == state.changes
    assert go_on(tmp_path, loss, learning_rate=lower, steps=7).changes == state.changes, "they are the run's own now"


@pytest.mark.parametrize("name", ["model", "training.optimizer", "batches", "steps", "", "losses"])
def test_what_cannot_be_changed_is_said(name: str, tmp_path: Path) -> None:
    go_on(tmp_path)
    with pytest.raises(ValueError, match=rf"change must name a part of .*, got '{name}'"):
        go_on(tmp_path, change=[name], steps=6)


def test_the_whole_training_may_change_but_not_the_optimiser(tmp_path: Path) -> None:
    go_on(tmp_path)
    assert go_on(tmp_path, change=["training"], weight_decay=0.3, clip=None, steps=5).step == 5
    with pytest.raises(ValueError, match=r"settings.training.optimizer must equal this run's 'muon', got None"):
        go_on(tmp_path, change=["training"], optimizer="muon", steps=6)


def test_data_of_equal_lengths_and_other_content_is_refused(tmp_path: Path) -> None:
    def batches(shift: int) -> BucketedBatches[Any]:
        texts = [torch.arange(length) + shift for length in (3, 4, 5, 6)]
        make = lambda rows: tuple(pad([texts[i][a:b] for i in rows], 0).tokens for a, b in ((0, -1), (1, None)))  # noqa: E731
        return BucketedBatches([len(text) for text in texts], make, token_budget=12, seed=0)

    go_on(tmp_path, batches=batches(0))
    go_on(tmp_path, batches=batches(0), steps=5)
    with pytest.raises(ValueError, match=r"state\['data'\] must be '\w+' to continue here, got '\w+'"):
        go_on(tmp_path, batches=batches(1), steps=6)


# One writer ---------------------------------------------------------------------------------------------------------


def hold(folder: Path) -> None:
    with sole_writer(folder):
        (folder / "held").touch()
        time.sleep(600)


def test_a_second_writer_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    other = start_process(hold, tmp_path)
    while not (tmp_path / "held").exists():
        assert other.is_alive()
    with pytest.raises(ValueError, match="folder must not be in use by another run, which holds its lock, got"):
        run_to_the_end(tmp_path)
    assert not (tmp_path / "log.jsonl").exists()
    other.kill()
    other.join()
    assert (tmp_path / LOCK).exists()
    go_on(tmp_path)
    go_on(tmp_path, steps=5)


def test_the_lock_is_released_when_a_run_fails(tmp_path: Path) -> None:
    def failing(model: nn.Module, batch: Any) -> LossSum:
        raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            go_on(tmp_path, failing)


# What a checkpoint may hold -----------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    train(small_model(), next_token_loss, small_batches(), small_config(steps=3), folder=tmp_path / "run")
    return shutil.copytree(tmp_path / "run" / "step-00000003", tmp_path / "copy")


WEIGHT = "embedding.tokens.weight"


def zero_generator(tensors: dict[str, torch.Tensor]) -> None:
    tensors["generator/cpu"] = torch.zeros_like(tensors["generator/cpu"])


def rename_slot(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if name.endswith("exp_avg_sq")]:
        tensors[name.replace("exp_avg_sq", "other")] = tensors.pop(name)


def drop_moments_of_one(tensors: dict[str, torch.Tensor]) -> None:
    for slot in ("step", "exp_avg", "exp_avg_sq"):
        del tensors[f"optimizer/{WEIGHT}/{slot}"]


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("model", lambda t: t[WEIGHT][3].fill_(math.nan), [WEIGHT, "must be finite", "inf or nan"]),
        ("training", lambda t: t[f"optimizer/{WEIGHT}/exp_avg"][0].fill_(math.inf), [f"{WEIGHT}/exp_avg", "finite"]),
        ("training", lambda t: t[f"optimizer/{WEIGHT}/step"].fill_(math.nan), [f"{WEIGHT}/step", "finite"]),
        (
            "training",
            drop_moments_of_one,
            ["tensors that state.json lists", f"{WEIGHT}/exp_avg"],
        ),
        ("training", rename_slot, ["optimizer must hold the slots ['exp_avg', 'exp_avg_sq', 'step']", "'other'"]),
        ("training", zero_generator, ["generator/cpu must be the state of a random generator"]),
    ],
    ids=["weights", "moments", "steps", "missing", "renamed", "generator"],
)
def test_tensors_that_no_run_had_are_refused_and_change_nothing(
    file: str, change: Any, words: list[str], copy: Path
) -> None:
    path = copy / f"{file}.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)
    reseal(copy)
    assert_refused(copy, *words)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("batches", None, ["batches must be a JSON object", "None"]),
        ("batches", [3], ["batches must be a JSON object", "[3]"]),
        ("changes", {}, ["changes must be a JSON list", "{}"]),
        ("slots", "x", ["slots must be a JSON list", "'x'"]),
        ("slots", [], ["optimiser's 0 tensors"]),
        ("slots", [{}], ["slots must be strings", "[{}]"]),
        ("step", 1e3, ["step must be a whole number", "1000.0"]),
        ("settings", 3, ["settings must equal this run's", "3"]),
        ("settings", {"model": math.nan}, ["must be JSON: NaN is no JSON"]),
    ],
)
def test_fields_of_another_kind_are_refused_and_change_nothing(
    field: str, value: Any, words: list[str], copy: Path
) -> None:
    about = json.loads((copy / "state.json").read_text())
    (copy / "state.json").write_text(json.dumps(about | {field: value}))
    reseal(copy)
    assert_refused(copy, *words)


def test_a_checkpoint_from_before_there_were_changes_slots_and_a_loss_is_taken_up(copy: Path) -> None:
    about = json.loads((copy / "state.json").read_text())
    del about["changes"], about["slots"], about["settings"]["loss"]
    (copy / "state.json").write_text(json.dumps(about))
    reseal(copy)
    state = new_state(small_model(), small_batches(), small_config())
    load_state(copy, state)
    assert state.step == 3 and state.changes == []


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    state = new_state(small_model(), small_batches(), small_config())
    with torch.no_grad():
        state.model.get_parameter(WEIGHT)[0, 0] = math.nan
    with pytest.raises(ValueError, match=rf"{WEIGHT} must be finite in torch.float32, got 'inf or nan'"):
        save_state(tmp_path / "bad", state)
    assert list(tmp_path.iterdir()) == []


def test_a_wrapped_model_is_saved_under_the_names_of_the_model_alone(tmp_path: Path) -> None:
    run_in_a_process(train_wrapped, tmp_path)  # free of the tests' type checker, which dynamo cannot trace


def train_wrapped(tmp_path: Path) -> None:
    wrapped = torch.compile(small_model(), backend="eager")
    config = small_config(steps=2)
    assert isinstance(wrapped, nn.Module)
    train(wrapped, next_token_loss, small_batches(), config, held_out=small_held_out(), folder=tmp_path)
    plain = small_model()
    load_weights(tmp_path / "step-00000002", plain)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True))
    load_state(tmp_path / "step-00000002", new_state(plain, small_batches(), config))
    model = json.loads((tmp_path / "step-00000002" / "state.json").read_text())["settings"]["model"]
    assert model["d_model"] == 8
