"""The whole state of a run on the disk: safetensors and JSON, so that loading one executes nothing.

A checkpoint is a folder of `model.safetensors` (every weight once), `training.safetensors` (the optimiser's moments and
the random generators), `state.json` (step, position in the data, settings) and `SHA256SUMS`. It is written whole or not
at all (`files.py`), and loading checks everything before it changes anything. Left out: sharded checkpoints.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from transformer_lib.config import require
from transformer_lib.training.files import check_folder, new_folder, remove_folder, remove_partials
from transformer_lib.training.state import (
    TrainState,
    check_model_tensors,
    check_training_tensors,
    model_tensors,
    set_model_tensors,
    set_training_tensors,
    training_tensors,
)

FORMAT = "transformer_lib checkpoint 1"
MODEL, TRAINING, ABOUT = "model.safetensors", "training.safetensors", "state.json"
FIELDS = {"format", "step", "batches", "settings"}


def save_state(path: str | Path, state: TrainState) -> None:
    """Write the run's state as the new folder `path`, which is there whole or not at all."""
    about = {
        "format": FORMAT,
        "step": state.step,
        "batches": state.batches.state_dict(),
        "settings": state.settings,
    }
    with new_folder(Path(path)) as folder:
        save_file(model_tensors(state.model), folder / MODEL)
        save_file(training_tensors(state), folder / TRAINING)
        (folder / ABOUT).write_text(json.dumps(about, indent=2, allow_nan=False))


def load_state(path: str | Path, state: TrainState) -> None:
    """Take the run up where `save_state` left it: the model, optimiser, batches and generators are set in place.

    Raises `ValueError`, and changes nothing, if the checkpoint is damaged or is that of another run: other settings,
    names, shapes or types.
    """
    folder = Path(path)
    about = read_about(folder)
    _require_same(about["settings"], json.loads(json.dumps(state.settings)), f"{folder / ABOUT}: settings")
    weights, training = _read_tensors(folder / MODEL), _read_tensors(folder / TRAINING)
    check_model_tensors(weights, state.model, str(folder / MODEL))
    check_training_tensors(training, state, str(folder / TRAINING))
    state.batches.load_state_dict(about["batches"])
    set_model_tensors(weights, state.model)
    set_training_tensors(training, state)
    state.step = about["step"]


def load_weights(path: str | Path, model: nn.Module) -> None:
    """Only the model of a checkpoint, for evaluation or generation; checked as by `load_state`, settings apart."""
    folder = Path(path)
    read_about(folder)
    weights = _read_tensors(folder / MODEL)
    check_model_tensors(weights, model, str(folder / MODEL))
    set_model_tensors(weights, model)


def read_about(path: str | Path) -> dict[str, Any]:
    """What `state.json` says, after every file of the checkpoint was checked against its sum."""
    check_folder(Path(path), (MODEL, TRAINING, ABOUT))
    file = Path(path) / ABOUT
    try:
        about: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} must be JSON text: {error}") from error
    fields = set(about) if isinstance(about, dict) else {type(about).__name__}
    require(fields == FIELDS, f"{file}: fields", f"must be {sorted(FIELDS)}", sorted(fields))
    require(about["format"] == FORMAT, f"{file}: format", f"must be {FORMAT!r}", about["format"])
    whole = type(about["step"]) is int and about["step"] >= 0
    require(whole, f"{file}: step", "must be a whole number of at least 0", about["step"])
    return about


def save_latest(folder: str | Path, state: TrainState, *, keep: int) -> Path:
    """Save the state as `folder/step-00000123`, then remove all but the newest `keep` of its kind."""
    path = Path(folder) / f"step-{state.step:08d}"
    save_state(path, state)
    for old in _checkpoints(path.parent)[:-keep]:
        remove_folder(old)
    remove_partials(path.parent)
    return path


def latest(folder: str | Path) -> Path | None:
    """The newest checkpoint of `save_latest` in `folder`, if there is any."""
    return max(_checkpoints(Path(folder)), default=None)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-" + "[0-9]" * 8))


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
