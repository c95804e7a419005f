"""The training loop: the gradient of a mean over many batches, an update, a record, now and then a checkpoint.

The model and the loss are the caller's; compilation (`model.compile()`) and the move to a device are done before.
"""

import dataclasses
import functools
import json
import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from transformer_lib.config import require, to_json
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.files import sole_writer
from transformer_lib.identity import describe
from transformer_lib.training.checkpoint import latest, load_state, save_latest
from transformer_lib.training.config import Precision, TrainConfig
from transformer_lib.training.gradient import clip_, divide_, gradients_of
from transformer_lib.training.log import Record, StepLog, read_log
from transformer_lib.training.loss import LossSum
from transformer_lib.training.optim import adamw, muon, set_rate
from transformer_lib.training.parallel import (
    first_says,
    given_loss,
    is_first,
    let_go,
    place_of,
    sum_over_ranks,
    unwrapped,
    without_exchange,
)
from transformer_lib.training.patience import Patience
from transformer_lib.training.share import endless
from transformer_lib.training.state import Batches, TrainState

with needed():
    from tqdm import tqdm

LossFunction = Callable[[nn.Module, Any], LossSum]
LOG = "log.jsonl"


@checked
def train(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Batches,
    config: TrainConfig,
    *,
    held_out: Iterable[Any] | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    change: Collection[str] = (),
    about: Mapping[str, Any] | None = None,
    on_step: Callable[[Record], None] | None = None,
) -> TrainState:
    """Train `model` in place for `config.steps` updates and return the state it ends in.

    `loss_fn(model, batch)` moves a batch to the model's device if need be. `held_out`, a list of batches, is gone
    through whole at each evaluation. `folder` receives `log.jsonl` and the checkpoints; with `resume=True` the run
    goes on from the newest one there, bit for bit as if it had never stopped, or begins if there is none. It must be
    the same run: the same model, settings, loss, data, and JSON values of `about`. `change` names what is otherwise on
    purpose, such as "training.learning_rate" (see `load_state`); more steps alone need no mention. `on_step` is called
    with each `Record`. Torch's global random generators are seeded by `config.seed`. With `config.patience` the run may
    end early, with its last weights; the best are in a checkpoint (`Patience`).

    If several processes train the model (see `parallel.py`), each calls this with its share of the batches, and
    `config` is the same for all: its `micro_batches` are those of all together. Rank 0 writes the log; a checkpoint is
    written by all, and any number of ranks can go on from it.

    Raises `FloatingPointError`, before the weights are touched, if a loss or a gradient is not finite; `ValueError` if
    `batches` runs out, the checkpoint is of another run, `folder` holds an earlier run and `resume` is False, or
    another process is writing there.
    """
    require(folder is not None or not (resume or change), "resume", "needs a folder to go on from", resume)
    kept = not config.patience or (held_out is not None and folder is not None)
    require(kept, "patience", "needs held-out batches, and a folder", config.patience)
    state = new_state(model, batches, config)
    state.settings |= {"loss": describe(given_loss(model, loss_fn))} | dict(about or {})
    _, ranks = place_of(model)
    with ExitStack() as stack:
        if folder is not None:
            first_says(model, lambda: stack.enter_context(sole_writer(Path(folder))))
            _take_up(Path(folder), state, resume, change)
        require(state.step <= config.steps, "steps", f"must not be below the checkpoint's {state.step}", config.steps)
        stream = endless(batches)
        log = stack.enter_context(_open_log(folder if is_first(model) else None, state))
        bar = stack.enter_context(_progress_bar(config, state))
        watch = Patience(_records_before(folder, state.step), config.patience)
        while state.step < config.steps and not watch.over:
            record = train_step(state, loss_fn, islice(stream, config.micro_batches // ranks), config)
            if held_out is not None and _is_due(state.step, config.eval_every, config):
                nats = evaluate(model, loss_fn, held_out, precision=config.precision)
                record = dataclasses.replace(record, held_out=nats)
            if log is not None:
                log.write(record)
            watch.add(record)
            if folder is not None and _is_due(state.step, config.checkpoint_every, config):
                _save(folder, state, log, config.keep, watch.best if config.patience else None)
            bar.show(record)
            if on_step is not None:
                on_step(record)
    return state


@checked
def train_step(state: TrainState, loss_fn: LossFunction, batches: Iterable[Any], config: TrainConfig) -> Record:
    """One update from the mean loss over all tokens of all the batches."""
    model, optimizer, step = state.model, state.optimizer, state.step + 1
    model.train()
    optimizer.zero_grad()
    loss = accumulate(model, loss_fn, batches, precision=config.precision)
    gradient_norm = clip_(gradients_of(model.parameters()), config.clip)
    # The one place where a step waits for the device: from here on all is computed, and nothing is changed yet.
    norm, mean, tokens = float(gradient_norm), float(loss.mean()), int(loss.count)
    _require_finite(mean, f"loss over {tokens} tokens", step)
    _require_finite(norm, "norm of the gradient", step)
    rate = config.learning_rate(step)
    set_rate(optimizer, rate)
    optimizer.step()
    state.step = step
    return Record(step=step, loss=mean, tokens=tokens, learning_rate=rate, gradient_norm=norm)


@checked
def accumulate(
    model: nn.Module, loss_fn: LossFunction, batches: Iterable[Any], *, precision: Precision = "float32"
) -> LossSum:
    """Leave in `.grad` the gradient of the mean over all tokens, `(sum_b dL_b) / (sum_b n_b)`, and return both sums.

    The batches may hold unequal numbers of tokens: one division at the end weighs every token the same. If several
    processes train the model, the sums go over all ranks; under DDP gradients are exchanged once, with the last batch.
    """
    batches = list(batches)
    require(bool(batches), "batches", "must not be empty", batches)

    def add_gradient(batch: Any) -> LossSum:
        with _autocast(model, precision):
            loss = loss_fn(model, batch)
        loss.total.backward()
        return loss.detach()

    with without_exchange(model):
        losses = [add_gradient(batch) for batch in batches[:-1]]
    losses.append(add_gradient(batches[-1]))
    whole, count = sum_over_ranks(functools.reduce(operator.add, losses), model)
    divide_(gradients_of(model.parameters()), count)
    return whole


@checked
@torch.no_grad()
def evaluate(
    model: nn.Module, loss_fn: LossFunction, batches: Iterable[Any], *, precision: Precision = "float32"
) -> float:
    """The mean loss over all tokens of the batches, in nats per token, with dropout off."""
    was_training = model.training
    model.eval()
    with _autocast(model, precision):
        losses = [loss_fn(model, batch) for batch in batches]
    let_go(model)
    model.train(was_training)
    require(bool(losses), "batches", "must not be empty", losses)
    return float(functools.reduce(operator.add, losses).mean())


@checked
def new_state(model: nn.Module, batches: Batches | None, config: TrainConfig) -> TrainState:
    """The state before the first step, with the random generators seeded: dropout must differ from rank to rank.

    Raises `ValueError` for Muon on a sharded model (`parallel.py` says why).
    """
    rank, ranks = place_of(model)
    torch.manual_seed(config.seed * ranks + rank)
    rule = "must not be Muon under fsdp2, which multiplies whole matrices by each other"
    require(not (config.optimizer == "muon" and isinstance(model, FSDPModule)), "optimizer", rule, config.optimizer)
    shape = getattr(unwrapped(model), "config", None)
    settings = {
        "model": json.loads(to_json(shape)) if dataclasses.is_dataclass(shape) else None,
        "training": config.settings(),
        "device": _device(model),
    }
    if rounding := getattr(model, "rounding", None):
        settings["sharding"] = rounding
    build = muon if config.optimizer == "muon" else adamw
    optimizer = build(model, weight_decay=config.weight_decay, betas=config.betas, rates=config.rates)
    return TrainState(model=model, optimizer=optimizer, batches=batches, settings=settings)


def _take_up(folder: Path, state: TrainState, resume: bool, change: Collection[str]) -> None:
    """Take up the newest checkpoint, or see to it that no earlier run is written over."""

    def look() -> Path | None:
        newest = latest(folder)
        used = newest is not None or (folder / LOG).exists()
        require(resume or not used, "folder", "must not hold an earlier run unless resume=True (--resume)", str(folder))
        return newest

    newest = first_says(state.model, look)  # two ranks might see a folder in two states
    if newest is not None:
        load_state(newest, state, change=change)


def _open_log(folder: str | Path | None, state: TrainState) -> StepLog | nullcontext[None]:
    return nullcontext() if folder is None else StepLog(Path(folder) / LOG, step=state.step)


def _save(folder: str | Path, state: TrainState, log: StepLog | None, keep: int, best: int | None) -> None:
    if log is not None:
        log.flush_to_disk()
    save_latest(folder, state, keep=keep, best=best)


def _records_before(folder: str | Path | None, step: int) -> list[Record]:
    """What the log says of the steps up to this one."""
    return [] if folder is None or step == 0 else read_log(Path(folder) / LOG, most=step)


class _Bar(tqdm):  # type: ignore[misc]  # which has no types
    """A progress bar that also says the loss, and how many tokens are learned from in a second."""

    tokens = 0

    def show(self, record: Record) -> None:
        self.tokens += record.tokens
        if not self.disable:
            speed = f"{self.tokens / max(self.format_dict['elapsed'], 1e-9):,.0f}/s"
            self.set_postfix(loss=f"{record.loss:.3f}", tokens=speed, refresh=False)
            self.update()


def _progress_bar(config: TrainConfig, state: TrainState) -> _Bar:
    hidden = None if config.progress is None else not config.progress  # tqdm's None: hidden unless on a terminal
    return _Bar(total=config.steps, initial=state.step, unit="step", disable=hidden)


def _is_due(step: int, every: int | None, config: TrainConfig) -> bool:
    return step == config.steps or (every is not None and step % every == 0)


def _autocast(model: nn.Module, precision: Precision) -> torch.autocast:
    return torch.autocast(_device(model), torch.bfloat16, enabled=precision == "bfloat16")


def _device(model: nn.Module) -> str:
    return next(model.parameters()).device.type


def _require_finite(value: float, what: str, step: int) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(f"{what} must be finite, got {value} at step {step}")
