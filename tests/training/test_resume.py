"""A run that was killed and resumed ends in the very bits of one that never stopped."""

import functools
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import (
    STEPS,
    next_token_loss,
    run_in_a_process,
    run_to_the_end,
    small_batches,
    small_config,
    small_held_out,
    small_model,
    start_process,
)

from transformer_lib.training import latest, load_state, new_state, read_log, train

KILLS = 20


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon"}, {"precision": "bfloat16"}])
def test_a_run_stopped_at_any_step_and_resumed_is_the_straight_run(changes: dict[str, Any], tmp_path: Path) -> None:
    run = functools.partial(run_to_the_end, steps=12, checkpoint_every=None, **changes)
    run(tmp_path / "straight")
    for stop in range(1, 12):
        folder = tmp_path / str(stop)
        stop_after(folder, stop, **changes)
        torch.rand(7)  # what else drew from the generator in between must not matter
        run(folder)
        assert_same_end(folder, tmp_path / "straight", 12)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_twenty_sigkills_at_random_moments_change_nothing(optimizer: str, tmp_path: Path) -> None:
    """Ten kills at any moment, ten while a checkpoint is being written; after each, what is visible is whole."""
    run = functools.partial(run_to_the_end, optimizer=optimizer)
    straight = tmp_path / "straight"
    run_in_a_process(run, straight)
    dice = random.Random(0)
    folder = tmp_path / "killed"
    broken_saves = 0
    for kill in range(KILLS):
        process = start_process(run, folder)
        wait_until(lambda steps=2 * kill + 1: count_steps(folder) >= steps, process)
        if kill % 2:
            stop_in_a_save(folder, process, dice)
        else:
            time.sleep(dice.uniform(0, 0.01))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        broken_saves += is_saving(folder)
        assert_loadable(folder, optimizer)
    assert broken_saves >= 3, "hardly any kill fell into a save, so this tests too little"

    run_in_a_process(run, folder)
    assert_same_end(folder, straight, STEPS)
    assert not is_saving(folder)


def stop_after(folder: Path, stop: int, **changes: Any) -> None:
    """Run `stop` steps with a checkpoint every third, then break off as Ctrl-C does."""

    def break_off(record: Any) -> None:
        if record.step == stop:
            raise KeyboardInterrupt

    model, batches, config = small_model(), small_batches(), small_config(checkpoint_every=3, **changes)
    with pytest.raises(KeyboardInterrupt):
        train(model, next_token_loss, batches, config, held_out=small_held_out(), folder=folder, on_step=break_off)


def assert_same_end(folder: Path, straight: Path, steps: int) -> None:
    """Weights, optimiser, generators, position in the data, step and log: byte for byte."""
    end = f"step-{steps:08d}"
    assert latest(folder) == folder / end
    for name in (f"{end}/model.safetensors", f"{end}/training.safetensors", f"{end}/state.json", "log.jsonl"):
        assert (folder / name).read_bytes() == (straight / name).read_bytes(), name


def assert_loadable(folder: Path, optimizer: str) -> None:
    """Every visible checkpoint loads, and the log has reached the newest."""
    visible = sorted(path for path in folder.glob("step-*") if not path.name.endswith(".partial"))
    assert latest(folder) == max(visible, default=None)
    state = new_state(small_model(), small_batches(), small_config(optimizer=optimizer))
    for path in visible:
        load_state(path, state)
        assert path.name == f"step-{state.step:08d}"
    steps = [record.step for record in read_log(folder / "log.jsonl")]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= state.step


def count_steps(folder: Path) -> int:
    log = folder / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def is_saving(folder: Path) -> bool:
    return any(folder.glob("*.partial"))


def wait_until(holds: Callable[[], bool], process: BaseProcess) -> None:
    """Look often: a save lasts a few milliseconds."""
    while not holds():
        assert process.is_alive(), "the run ended before it could be killed"
        time.sleep(0.0002)


def stop_in_a_save(folder: Path, process: BaseProcess, dice: random.Random) -> None:
    """Halt the process at some moment within a save; if the save was over by then, try the next."""
    while True:
        wait_until(lambda: is_saving(folder), process)
        time.sleep(dice.uniform(0, 0.001))
        os.kill(process.pid, signal.SIGSTOP)
        if is_saving(folder):
            return
        os.kill(process.pid, signal.SIGCONT)
