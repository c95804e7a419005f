"""Recipes: training runs of real size as Python files, and the record of what one run measured.

A recipe defines `NAME`, which may carry options ("multi30k-{direction}"), `OPTIONS` with the default of each, and
`run(run: Run) -> dict` with the results as JSON values. `execute` runs it and writes `results/<name>-seed<k>.json`
beside it: the results with seed, options, commit, machine, versions and the minutes of training.

Under `torchrun` every process executes the recipe: `Run.train` shares out the micro-batches, so that the run is the
same whatever the number of processes, but for dropout and the order of additions. Rank 0 scores, saves and writes the
record.
Left out: sharded models, searching over settings.
"""

import dataclasses
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from transformer_lib.config import require
from transformer_lib.tasks.provenance import commit_of, machine_of, versions
from transformer_lib.text.bpe import write_text
from transformer_lib.training.checkpoint import load_weights
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.files import remove_folder
from transformer_lib.training.log import Record
from transformer_lib.training.loop import LossFunction, evaluate, train
from transformer_lib.training.loss import LossSum
from transformer_lib.training.state import Batches, model_tensors, set_model_tensors

PARTS = "parts.json"


@dataclass(frozen=True)
class Run:
    """What a recipe is told: where to compute, where to keep checkpoints, and its options, all of them set."""

    seed: int
    device: torch.device
    folder: Path
    resume: bool = False
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

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
        model: nn.Module,
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
        loss on `held_out`. `config.micro_batches` are those of all processes together.
        """
        require(max(averages) <= config.keep, "averages", f"must be at most keep={config.keep}", averages)
        folder, rank, ranks = self.folder / name, *_place()
        trained, loss, own = model, loss_fn, folder
        if ranks > 1:
            shared = config.micro_batches % ranks == 0
            require(shared, "micro_batches", f"must share out over {ranks} processes", config.micro_batches)
            trained = DistributedDataParallel(_WithLoss(model, loss_fn))
            vars(trained)["config"] = getattr(model, "config", None)  # of the settings that must stay
            loss, batches, own = _call, _Share(batches, rank, ranks), folder / f"rank-{rank}"
            config = dataclasses.replace(
                config,
                micro_batches=config.micro_batches // ranks,
                seed=config.seed * ranks + rank,  # dropout must not be the same on all
                progress=config.progress if rank == 0 else False,
            )
        with _timed(folder / PARTS, config, rank) as on_step:
            train(trained, loss, batches, config, held_out=held_out, folder=own, resume=self.resume, on_step=on_step)
        losses = _choose_average(trained, loss, held_out, config, own, averages)
        return {
            "steps": config.steps,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "precision": config.precision,
            "held_out_loss": min(losses.values()),
            "held_out_losses_of_averages": {str(count): loss for count, loss in losses.items()},
        }


def execute(
    path: str | Path,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    folder: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a recipe, write its record and give it (rank 0); checkpoints go to `folder`, else `runs/<name>-seed<k>`.

    Raises `FileNotFoundError` without the recipe, and `ValueError` for a file that is none or for an unknown option.
    """
    recipe = load_recipe(path)
    known: dict[str, str] = dict(getattr(recipe, "OPTIONS", {}))
    for key in options or {}:
        require(key in known, "options", f"must be among {sorted(known)} for {recipe.NAME}", key)
    chosen = known | dict(options or {})
    name = f"{recipe.NAME.format(**chosen)}-seed{seed}"
    commit = commit_of(Path(path).parent)
    with _processes(torch.device(device)) as place:
        run = Run(seed, place, Path(folder or Path("runs", name)), resume, chosen)
        run.folder.mkdir(parents=True, exist_ok=True)
        results = recipe.run(run)
        record = {
            "recipe": Path(path).name,
            "options": chosen,
            "seed": seed,
            "results": results,
            "minutes": round(sum(part["seconds"] for part in _parts(run.folder)) / 60, 1),
            "parts": len(_parts(run.folder)),
            **commit,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine_of(place),
            "processes": run.processes,
            "versions": versions(),
        }
        if run.is_first:
            file = Path(path).parent / "results" / f"{name}.json"
            file.parent.mkdir(exist_ok=True)
            write_text(file, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return record if run.is_first else {}


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


# Several processes ----------------------------------------------------------------------------------------------------


class _WithLoss(nn.Module):
    """Model and loss as one module, because `DistributedDataParallel` must see the whole forward pass."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, batch: Any) -> LossSum:
        return self.loss_fn(self.model, batch)


def _call(model: nn.Module, batch: Any) -> LossSum:
    return model(batch)


class _Share:
    """Of every `ranks` batches the one for this rank; the position is counted in whole such rounds."""

    def __init__(self, batches: Batches, rank: int, ranks: int) -> None:
        self.batches, self.rank, self.ranks = batches, rank, ranks

    def __iter__(self) -> Iterator[Any]:
        stream = iter(self.batches)
        while len(group := list(islice(stream, self.ranks))) == self.ranks:
            yield group[self.rank]

    def state_dict(self) -> dict[str, Any]:
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.batches.load_state_dict(state)


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
    joined = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if joined else (0, 1)


# Weights and time -----------------------------------------------------------------------------------------------------


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


@contextmanager
def _timed(file: Path, config: TrainConfig, rank: int) -> Iterator[Callable[[Record], None]]:
    """Keep account of the seconds of this part of the training, so that a killed part is counted too."""
    before = list(_parts(file.parent)) if file.exists() else []
    begin = written = time.monotonic()

    def on_step(record: Record) -> None:
        nonlocal written
        now = time.monotonic()
        if rank == 0 and (now - written > 5 or record.step == config.steps):
            written = now
            write_text(file, json.dumps([*before, {"until_step": record.step, "seconds": round(now - begin, 1)}]))

    file.parent.mkdir(parents=True, exist_ok=True)
    yield on_step


def _parts(folder: Path) -> list[dict[str, Any]]:
    return [part for file in sorted(folder.rglob(PARTS)) for part in json.loads(file.read_text())]
