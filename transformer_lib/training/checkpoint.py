"""The whole state of a run on the disk: safetensors and JSON, so that loading one executes nothing.

A checkpoint is a folder of `model.safetensors` (every weight once), `training.safetensors` (the optimiser's moments and
the random generators), `state.json` (step, position in the data, settings) and `SHA256SUMS`. It is written whole or not
at all (`files.py`), and loading checks everything before it changes anything.

The settings are what decides the run's numbers: a run goes on from a checkpoint only if they are its own. Whoever wants
to change one all the same, say to a lower learning rate, names it; the checkpoints from then on say what was changed.

If several processes train the model, each writes the part of the tensors that it holds, as safetensors, too
(`sharded.py`), into the one folder, which all must see. Any number of processes can load either kind.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transformer_lib.checks import require, wrong_kind
from transformer_lib.contract import checked
from transformer_lib.files import (
    check_folder,
    new_folder,
    read_json,
    recorded_names,
    remove_folder,
    remove_partials,
)
from transformer_lib.tensor_files import Named, check_finite, load_tensors, save_tensors
from transformer_lib.training.parallel import first_says, is_first, is_shared
from transformer_lib.training.sharded import is_sharded, read_shards, stored_like, write_shards
from transformer_lib.training.state import (
    Batches,
    TrainState,
    check_generators,
    check_model_tensors,
    check_training_tensors,
    empty_training_tensors,
    generator_tensors,
    is_of_training,
    model_tensors,
    set_model_tensors,
    set_training_tensors,
    slots_of,
    training_tensors,
)

FORMAT, SHARDED = "transformer_lib checkpoint 1", "transformer_lib sharded checkpoint 1"
MODEL, TRAINING, ABOUT = "model.safetensors", "training.safetensors", "state.json"
FIELDS = {"format", "step", "batches", "settings"}
LATER_FIELDS = {"changes", "slots"}  # that older checkpoints lack
CHANGEABLE = ("training", "loss", "recipe", "device", "sharding")  # a part of the settings, or all of them below it
FIXED = "training.optimizer"  # the moments of one are none for another


@checked
def save_state(path: str | Path, state: TrainState) -> None:
    """Write the run's state as the new folder `path`, which is there whole or not at all.

    If several processes train the model, all call this, and it returns when the folder is there.
    """
    model, shared = state.model, is_shared(state.model)
    training = training_tensors(state)
    batches = _batches_of(state)

    def about() -> dict[str, Any]:
        return {
            "format": SHARDED if shared else FORMAT,
            "step": state.step,
            "batches": batches.state_dict(),  # which may read all data for its digest: one rank is enough
            "settings": state.settings,
            "changes": state.changes,
            "slots": slots_of(training),
        }

    with ExitStack() as stack:
        folder = first_says(model, lambda: stack.enter_context(new_folder(Path(path))))
        if shared:
            write_shards(folder, model_tensors(model) | training)
        else:
            save_tensors(folder / MODEL, model_tensors(model))
            save_tensors(folder / TRAINING, training)
        first_says(model, lambda: (folder / ABOUT).write_text(json.dumps(about(), indent=2, allow_nan=False)))
        first_says(model, stack.close)


@checked
def load_state(path: str | Path, state: TrainState, *, change: Collection[str] = ()) -> None:
    """Take the run up where `save_state` left it: the model, optimiser, batches and generators are set in place.

    `change` names the settings that this run has otherwise on purpose, such as "training.learning_rate", or "recipe"
    for all below it. Ranks that had no part in the checkpoint keep their random generators as they are. Raises
    `ValueError`, and changes nothing, if the checkpoint is damaged or is that of another run: other settings, data,
    names, shapes or types.
    """
    folder, batches = Path(path), _batches_of(state)
    _check_change(change)
    about = first_says(state.model, lambda: read_about(folder))
    own = json.loads(json.dumps(state.settings))
    changes = _changed(about, own, change, f"{folder / ABOUT}: settings")
    weights, training = _read_weights(folder, state.model), _read_training(folder, state)
    slots = about.get("slots", slots_of(training))
    rule = f"must hold the optimiser's {len(slots)} tensors that {ABOUT} lists"
    require(slots_of(training) == slots, str(folder), rule, sorted(set(slots) ^ set(slots_of(training)))[:3])
    batches.load_state_dict(about["batches"])
    set_model_tensors(weights, state.model)
    set_training_tensors(training, state)
    unsaid = {name: value for name, value in about["settings"].items() if name not in own}
    state.settings, state.step, state.changes = state.settings | unsaid, about["step"], changes


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
    about: Any = read_json(file)
    fields = set(about) - LATER_FIELDS if isinstance(about, dict) else {type(about).__name__}
    require(fields == FIELDS, f"{file}: fields", f"must be {sorted(FIELDS)}", sorted(fields))
    expected = SHARDED if sharded else FORMAT
    require(about["format"] == expected, f"{file}: format", f"must be {expected!r}", about["format"])
    whole = type(about["step"]) is int and about["step"] >= 0
    require(whole, f"{file}: step", "must be a whole number of at least 0", about["step"])
    for name, kind, what in (("batches", dict, "object"), ("changes", list, "list"), ("slots", list, "list")):
        value = about.get(name, kind())
        require(isinstance(value, kind), f"{file}: {name}", f"must be a JSON {what}", value)
    slots = about.get("slots", [])
    require(all(isinstance(slot, str) for slot in slots), f"{file}: slots", "must be strings", slots)
    return about


@checked
def save_latest(folder: str | Path, state: TrainState, *, keep: int, best: int | None = None) -> Path:
    """Save the state as `folder/step-00000123`, then remove all but the newest `keep` of its kind, and that of `best`.

    `best` is the number of a step.
    """
    path = checkpoint_at(folder, state.step)
    save_state(path, state)
    if is_first(state.model):
        spared = None if best is None else checkpoint_at(folder, best)
        for old in _checkpoints(path.parent)[:-keep]:
            if old != spared:
                remove_folder(old)
        remove_partials(path.parent)
    return path


@checked
def checkpoint_at(folder: str | Path, step: int) -> Path:
    """Where `save_latest` saves the state of this step."""
    return Path(folder) / f"step-{step:08d}"


@checked
def latest(folder: str | Path) -> Path | None:
    """The newest checkpoint of `save_latest` in `folder`, if there is any."""
    return max(_checkpoints(Path(folder)), default=None)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-" + "[0-9]" * 8))


def _read_weights(folder: Path, model: nn.Module) -> Named:
    """The model's tensors, checked, in whole or as parts like its own."""
    if not (is_shared(model) or is_sharded(folder)):
        weights = load_tensors(folder / MODEL)
        check_model_tensors(weights, model, str(folder / MODEL))
        return weights
    stored = {name: tensor for name, tensor in stored_like(folder).items() if not is_of_training(name)}
    check_model_tensors(stored, model, str(folder))
    weights = {name: torch.empty_like(tensor) for name, tensor in model_tensors(model).items()}
    read_shards(folder, weights, alone=not is_shared(model))
    check_finite(weights, str(folder))
    return weights


def _read_training(folder: Path, state: TrainState) -> Named:
    """The tensors of optimiser and generators, checked, in whole or as parts like the model's."""
    if not (is_shared(state.model) or is_sharded(folder)):
        training = load_tensors(folder / TRAINING)
        check_training_tensors(training, state, str(folder / TRAINING))
        return training
    own = generator_tensors(state.model)
    stored = {name: tensor for name, tensor in stored_like(folder).items() if is_of_training(name)}
    check_training_tensors(own | stored, state, str(folder))
    training = empty_training_tensors(stored, state)
    read_shards(folder, training, alone=not is_shared(state.model))
    check_finite(training, str(folder))
    check_generators(own | training, state, str(folder))
    return own | training


def _batches_of(state: TrainState) -> Batches:
    if state.batches is None:
        raise wrong_kind("batches", "those of the run, to save or to take up their position", None)
    return state.batches


# Settings -------------------------------------------------------------------------------------------------------------


def _check_change(change: Collection[str]) -> None:
    for name in change:
        known = any(name == part or name.startswith(f"{part}.") for part in CHANGEABLE) and name != FIXED
        require(known, "change", f"must name a part of {CHANGEABLE} other than {FIXED}, such as 'loss'", name)


def _changed(about: dict[str, Any], own: dict[str, Any], change: Collection[str], source: str) -> list[dict[str, Any]]:
    """The changes so far and the new ones; `ValueError` naming the first difference that `change` does not name."""
    stored = about["settings"]
    require(isinstance(stored, dict), source, f"must equal this run's {own!r}", stored)
    # Of a state that does not say its loss or its recipe, as older checkpoints do not, nothing can be compared.
    silent = {name for name in ("loss", "recipe") if name not in stored or name not in own}
    changes = []
    for name, was, now in _differences(stored, own, ""):
        if name.partition(".")[0] in silent:
            continue
        meant = name != FIXED and any(name == part or name.startswith(f"{part}.") for part in change)
        way = "" if name == FIXED or name.partition(".")[0] not in CHANGEABLE else f" (or be named in change: {name!r})"
        require(meant, f"{source}.{name}", f"must equal this run's {now!r}{way}", was)
        changes.append({"step": about["step"], "name": name, "from": was, "to": now})
    return [*about.get("changes", []), *changes]


def _differences(stored: Any, own: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two settings differ, by name; one that is not there counts as None."""
    if isinstance(stored, dict) and isinstance(own, dict):
        for key in own | stored:
            yield from _differences(stored.get(key), own.get(key), f"{name}.{key}" if name else key)
    elif stored != own:
        yield name, stored, own
