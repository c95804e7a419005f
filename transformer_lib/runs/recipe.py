"""Recipes: training runs of real size as Python files, and the record of what one run measured.

A recipe defines `NAME`, which may carry options ("multi30k-{direction}"), `OPTIONS` with the default of each, and
`run(run: Run) -> dict` with the results as JSON values. `execute` runs it and writes `results/<name>-seed<k>.json`
beside it: the results with seed, options, commit, machine, versions and the minutes of training.

Under `torchrun` every process executes the recipe: `Run.train` shares out the micro-batches, so that the run is the
same whatever the number of processes, but for dropout and the order of additions. Every rank has the whole model when
the training is done; rank 0 scores and saves. Several machines must share the folder.

With `--resume`, a job goes on from its newest checkpoint, with more or fewer processes, too, if the recipe's batches do
not depend on their number. With torchrun's `--max-restarts` and `--standalone` (or `--rdzv-backend c10d`) it does so by
itself when a process is lost, but set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1: in torch 2.13 the new processes may else
find the addresses of the old (pytorch issue 135712). Left out: scoring what one process cannot hold.
"""

import dataclasses
import importlib.util
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import distributed, nn

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.device import check_device
from transformer_lib.files import read_text, remove_folder, sole_writer, write_text
from transformer_lib.identity import digest
from transformer_lib.runs.account import PARTS, keep_time, parts_below
from transformer_lib.runs.provenance import commit_of, machine_of, versions
from transformer_lib.training.checkpoint import checkpoint_at, load_weights
from transformer_lib.training.config import MOST_SEED, TrainConfig
from transformer_lib.training.deferred import Deferred
from transformer_lib.training.layout import layout_from, layout_words
from transformer_lib.training.log import read_log
from transformer_lib.training.loop import LOG, LossFunction, evaluate, train
from transformer_lib.training.parallel import call_with_loss, parallelize, place_of, take_back, unwrapped
from transformer_lib.training.share import Share
from transformer_lib.training.state import Batches, model_tensors, set_model_tensors


@checked
@dataclass(frozen=True)
class Run:
    """What a recipe is told: where to compute, where to keep checkpoints, and its options, all of them set.

    `parallel` says how several processes share a training (`layout_from`). `recipe` is what the recipe is known by
    when the run is resumed, and `change` names what may be otherwise than it was (`load_state`).
    """

    seed: int
    device: torch.device
    folder: Path
    resume: bool = False
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parallel: str = "ddp"
    change: Collection[str] = ()
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that scores and saves."""
        return _place()[0] == 0

    @property
    def processes(self) -> int:
        """How many share the work."""
        return _place()[1]

    def model_folder(self) -> Path:
        """Where to save the trained model; one that an earlier part of the run left there is removed."""
        folder = self.folder / "model"
        if folder.exists():
            remove_folder(folder)
        return folder

    def train(
        self,
        model: nn.Module | Deferred[Any],
        loss_fn: LossFunction,
        batches: Batches,
        config: TrainConfig,
        *,
        held_out: Sequence[Any],
        averages: Sequence[int] = (1,),
        name: str = "training",
    ) -> dict[str, Any]:
        """Train `model` in place with checkpoints in `folder/name`, and give the facts of the training.

        Afterwards the model has the mean weights of the last n checkpoints, for the n of `averages` with the lowest
        loss on `held_out`; with `config.patience`, those of the checkpoint with the lowest loss.
        `config.micro_batches` are those of all processes together. A `Deferred` need fit in no process: its weights
        stay in the checkpoints, which the command `consolidate` makes a file of.
        """
        require(max(averages) <= config.keep, "averages", f"must be at most keep={config.keep}", averages)
        folder, rank = self.folder / name, _place()[0]
        trained: nn.Module
        if not distributed.is_initialized():
            trained, loss = model.whole() if isinstance(model, Deferred) else model, loss_fn
        else:
            trained, loss = parallelize(model, loss_fn, self.parallel), call_with_loss
            batches = Share(batches, *place_of(trained))
            batches.require_whole_rounds(config.micro_batches)
            config = dataclasses.replace(config, progress=config.progress if rank == 0 else False)
        state = train(
            trained,
            loss,
            batches,
            config,
            held_out=held_out,
            folder=folder,
            resume=self.resume,
            change=self.change,
            about={"recipe": dict(self.recipe)} if self.recipe else None,
            on_step=keep_time(folder / PARTS, steps=config.steps, write=rank == 0),
        )
        if config.patience is None:
            losses = _choose_average(trained, loss, held_out, config, folder, averages)
        else:
            losses = {1: _take_best(trained, folder)}
        if not isinstance(model, Deferred):
            take_back(trained, model)
        facts: dict[str, Any] = {
            "steps": state.step,
            "parameters": sum(parameter.numel() for parameter in unwrapped(trained).parameters()),
            "precision": config.precision,
            "held_out_loss": min(losses.values()),
            "held_out_losses_of_averages": {str(count): loss for count, loss in losses.items()},
        }
        return facts | ({"changes": state.changes} if state.changes else {})


@checked
def execute(
    path: str | Path,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    folder: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, str] | None = None,
    parallel: str | None = None,
    change: Collection[str] = (),
    record_file: str | Path | None = None,
) -> dict[str, Any]:
    """Run a recipe, write its record and give it (rank 0); checkpoints go to `folder`, else `runs/<name>-seed<k>`.

    The record goes to `record_file`, else to `results/<name>-seed<k>.json` beside the recipe.

    `parallel`, the words of a layout (`training/layout.py`), is for processes that `torchrun` started; None is "ddp".
    With `resume`, program, options and seed of the recipe must be those that the run began with, and so must whatever
    else decides its numbers, but for what `change` names: "recipe.options.steps", say, and "training.learning_rate" if
    the schedule depends on the steps. The record lists what was changed.

    Raises `FileNotFoundError` without the recipe, and `ValueError` for a file that is none, for an unknown option, for
    `parallel` in a process that `torchrun` did not start, or if another process is at work in the folder.
    """
    shared = _choose_parallel(parallel)
    require(resume or not change, "change", "needs resume", sorted(change))
    require(0 <= seed <= MOST_SEED, "seed", f"must be a whole number from 0 to {MOST_SEED}", seed)
    recipe = load_recipe(path)
    known: dict[str, str] = dict(getattr(recipe, "OPTIONS", {}))
    for key in options or {}:
        require(key in known, "options", f"must be among {sorted(known)} for {recipe.NAME}", key)
    chosen = known | dict(options or {})
    name = f"{_name(recipe, chosen, path)}-seed{seed}"
    known_by = {"program": _program_of(path), "options": chosen, "seed": seed}
    commit = commit_of(Path(path).parent)
    with _processes(check_device(device)) as place, ExitStack() as stack:
        run = Run(seed, place, Path(folder or Path("runs", name)), resume, chosen, shared or "ddp", change, known_by)
        if run.is_first:
            stack.enter_context(sole_writer(run.folder))
            parts_below(run.folder)  # refused now if damaged, not after hours
        results = recipe.run(run)
        record = {
            "recipe": Path(path).name,
            "options": chosen,
            "seed": seed,
            "results": results,
            "minutes": round(sum(part["seconds"] for part in parts_below(run.folder)) / 60, 1),
            "parts": len(parts_below(run.folder)),
            **commit,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine_of(place),
            "processes": run.processes,
            **({"parallel": shared} if shared else {}),
            "versions": versions(),
        }
        if run.is_first:
            file = Path(record_file or Path(path).parent / "results" / f"{name}.json")
            file.parent.mkdir(exist_ok=True)
            write_text(file, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return record if run.is_first else {}


@checked
def load_recipe(path: str | Path) -> ModuleType:
    """The recipe as a module; this executes the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no recipe {path}")
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    require(spec is not None, "recipe", "must be a Python file", str(path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    missing = [name for name in ("NAME", "run") if not hasattr(module, name)]
    require(not missing, str(path), "must define NAME and run(run); missing are", missing)
    return module


def _name(recipe: ModuleType, options: Mapping[str, str], path: str | Path) -> str:
    """The recipe's name with its options filled in."""
    require(isinstance(recipe.NAME, str), f"{path}: NAME", "must be a string", recipe.NAME)
    try:
        return str(recipe.NAME.format(**options))
    except (LookupError, ValueError, AttributeError) as error:
        rule = f"must have only the names of OPTIONS, {sorted(options)}, in its braces"
        raise ValueError(f"{path}: NAME {rule}, got {recipe.NAME!r}") from error


def _program_of(path: str | Path) -> str:
    """The digest of what the recipe's file does: comments and layout do not count."""
    return digest(compile(read_text(path), "recipe", "exec"))


# Several processes ----------------------------------------------------------------------------------------------------


def _choose_parallel(words: str | None) -> str | None:
    """How the processes of `torchrun` are to share a training; None if it started none."""
    chosen, started = layout_words(layout_from(words or "ddp")), distributed.is_torchelastic_launched()
    require(started or words is None, "parallel", "must be left out unless torchrun starts the processes", words)
    return chosen if started else None


@contextmanager
def _processes(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, if it did, and give the device of this one."""
    if not distributed.is_torchelastic_launched():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", distributed.get_node_local_rank())
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        distributed.barrier()  # else the group may end before the thread that exchanged the last gradients: a deadlock
    finally:
        distributed.destroy_process_group()


def _place() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


# Weights --------------------------------------------------------------------------------------------------------------


def _take_best(model: nn.Module, folder: Path) -> float:
    """Set the model to its best checkpoint, by the log, and give the held-out loss of that one."""
    record = min((r for r in read_log(folder / LOG) if r.held_out is not None), key=lambda r: cast("float", r.held_out))
    load_weights(checkpoint_at(folder, record.step), model)
    return cast("float", record.held_out)


def _choose_average(
    model: nn.Module,
    loss_fn: LossFunction,
    held_out: Sequence[Any],
    config: TrainConfig,
    folder: Path,
    counts: Sequence[int],
) -> dict[int, float]:
    """Set the model to the best mean of its last checkpoints; the held-out loss in nats per token of each mean."""
    paths = sorted(folder.glob("step-" + "[0-9]" * 8))

    def average(count: int) -> None:
        sums: dict[str, torch.Tensor] = {}
        for path in paths[-count:]:
            load_weights(path, model)
            for name, tensor in model_tensors(model).items():
                sums[name] = sums.get(name, 0) + tensor.double() / len(paths[-count:])
        set_model_tensors(sums, model)

    losses = {}
    for count in counts:
        average(count)
        losses[count] = evaluate(model, loss_fn, held_out, precision=config.precision)
    average(min(losses, key=losses.__getitem__))
    return losses
