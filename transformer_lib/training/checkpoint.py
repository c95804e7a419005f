"""The whole state of a run on the disk: safetensors and JSON, so that loading one executes nothing.

A checkpoint is a folder of `model.safetensors` (every weight once), `training.safetensors` (the optimiser's moments and
the random generators), `state.json` (step, position in the data, settings) and `SHA256SUMS`. It is written whole or not
at all (`files.py`), and loading checks everything before it changes anything.

If several processes train the model, each writes the part of the tensors that it holds, as safetensors, too
(`sharded.py`), into the one folder, which all must see. Any number of processes can load either kind.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.files import (
    check_folder,
    new_folder,
    recorded_names,
    remove_folder,
    remove_partials,
)
from transformer_lib.training.parallel import first_says, is_shared, place_of
from transformer_lib.training.sharded import is_sharded, read_shards, stored_like, write_shards
from transformer_lib.training.state import (
    Named,
    TrainState,
    check_model_tensors,
    check_training_tensors,
    empty_training_tensors,
    generator_tensors,
    is_of_training,
    model_tensors,
    set_model_tensors,
    set_training_tensors,
    training_tensors,
)

FORMAT, SHARDED = "transformer_lib checkpoint 1", "transformer_lib sharded checkpoint 1"
MODEL, TRAINING, ABOUT = "model.safetensors", "training.safetensors", "state.json"
FIELDS = {"format", "step", "batches", "settings"}


@checked
def save_state(path: str | Path, state: TrainState) -> None:
    """Write the run's state as the new folder `path`, which is there whole or not at all.

    If several processes train the model, all call this, and it returns when the folder is there.
    """
    model, shared = state.model, is_shared(state.model)
    about = {
        "format": SHARDED if shared else FORMAT,
        "step": state.step,
        "batches": state.batches.state_dict(),
        "settings": state.settings,
    }
    with ExitStack() as stack:
        folder = first_says(model, lambda: stack.enter_context(new_folder(Path(path))))
        if shared:
            write_shards(folder, model_tensors(model) | training_tensors(state))
        else:
            save_file(model_tensors(model), folder / MODEL)
            save_file(training_tensors(state), folder / TRAINING)
        if place_of(model)[0] == 0:
            (folder / ABOUT).write_text(json.dumps(about, indent=2, allow_nan=False))
        first_says(model, stack.close)


@checked
def load_state(path: str | Path, state: TrainState) -> None:
    """Take the run up where `save_state` left it: the model, optimiser, batches and generators are set in place.

    Ranks that had no part in the checkpoint keep their random generators as they are. Raises `ValueError`, and changes
    nothing, if the checkpoint is damaged or is that of another run: other settings, names, shapes or types.
    """
    folder = Path(path)
    about = first_says(state.model, lambda: read_about(folder))
    _require_same(about["settings"], json.loads(json.dumps(state.settings)), f"{folder / ABOUT}: settings")
    weights, training = _read_weights(folder, state.model), _read_training(folder, state)
    state.batches.load_state_dict(about["batches"])
    set_model_tensors(weights, state.model)
    set_training_tensors(training, state)
    state.step = about["step"]


@checked
def load_weights(path: str | Path, model: nn.Module) -> None:
    """Only the model of a checkpoint, for evaluation or generation; checked as by `load_state`, settings apart."""
    folder = Path(path)
    first_says(model, lambda: read_about(folder))
    set_model_tensors(_read_weights(folder, model), model)


@checked
def read_about(path: str | Path) -> dict[str, Any]:
    """What `state.json` says, after every file of the checkpoint was checked against its sum."""
    folder = Path(path)
    sharded = is_sharded(folder)
    check_folder(folder, recorded_names(folder) if sharded else (MODEL, TRAINING, ABOUT))
    file = folder / ABOUT
    try:
        about: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} must be JSON text: {error}") from error
    fields = set(about) if isinstance(about, dict) else {type(about).__name__}
    require(fields == FIELDS, f"{file}: fields", f"must be {sorted(FIELDS)}", sorted(fields))
    expected = SHARDED if sharded else FORMAT
    require(about["format"] == expected, f"{file}: format", f"must be {expected!r}", about["format"])
    whole = type(about["step"]) is int and about["step"] >= 0
    require(whole, f"{file}: step", "must be a whole number of at least 0", about["step"])
    return about


@checked
def save_latest(folder: str | Path, state: TrainState, *, keep: int) -> Path:
    """Save the state as `folder/step-00000123`, then remove all but the newest `keep` of its kind."""
    path = Path(folder) / f"step-{state.step:08d}"
    save_state(path, state)
    if place_of(state.model)[0] == 0:
        for old in _checkpoints(path.parent)[:-keep]:
            remove_folder(old)
        remove_partials(path.parent)
    return path


@checked
def latest(folder: str | Path) -> Path | None:
    """The newest checkpoint of `save_latest` in `folder`, if there is any."""
    return max(_checkpoints(Path(folder)), default=None)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-" + "[0-9]" * 8))


def _read_weights(folder: Path, model: nn.Module) -> Named:
    """The model's tensors, checked, in whole or as parts like its own."""
    if not (is_shared(model) or is_sharded(folder)):
        weights = _read_tensors(folder / MODEL)
        check_model_tensors(weights, model, str(folder / MODEL))
        return weights
    stored = {name: tensor for name, tensor in stored_like(folder).items() if not is_of_training(name)}
    check_model_tensors(stored, model, str(folder))
    weights = {name: torch.empty_like(tensor) for name, tensor in model_tensors(model).items()}
    read_shards(folder, weights, alone=not is_shared(model))
    return weights


def _read_training(folder: Path, state: TrainState) -> Named:
    """The tensors of optimiser and generators, checked, in whole or as parts like the model's."""
    if not (is_shared(state.model) or is_sharded(folder)):
        training = _read_tensors(folder / TRAINING)
        check_training_tensors(training, state, str(folder / TRAINING))
        return training
    own = generator_tensors(state.model)
    stored = {name: tensor for name, tensor in stored_like(folder).items() if is_of_training(name)}
    check_training_tensors(own | stored, state, str(folder))
    training = empty_training_tensors(stored, state)
    read_shards(folder, training, alone=not is_shared(state.model))
    return own | training


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} must be a safetensors file: {error}") from error


def _require_same(stored: Any, own: Any, name: str) -> None:
    """Name the first setting in which two runs differ; one that is not there counts as None."""
    if isinstance(stored, dict) and isinstance(own, dict):
        for key in own | stored:
            _require_same(stored.get(key), own.get(key), f"{name}.{key}")
    else:
        require(stored == own, name, f"must equal this run's {own!r}", stored)
