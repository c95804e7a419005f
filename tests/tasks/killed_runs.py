"""A real training through the command line, killed again and again and taken up again, beside one that never stopped.

The suite kills it 20 times. For longer, and with a new interpreter for every part:

    python -m tests.tasks.killed_runs --kills 200 --interpreters
"""

import argparse
import functools
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Protocol

from tests.training.small_run import PRELOAD

STEPS = 60
CRASHED = 70
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Interrupted before the program begins, an interpreter ends by the signal, and a forked process with 1.
ENDS = {signal.SIGKILL: (-9,), signal.SIGTERM: (-15,), signal.SIGINT: (130, -2, 1)}
RECIPE = f"""
from functools import partial

import torch

from transformer_lib import DecoderLM, ModelConfig
from transformer_lib.config import AttentionConfig, Mlp, Rope
from transformer_lib.data.batching import PackedBatches
from transformer_lib.training import TrainConfig, token_loss, warmup_cosine

NAME = "killed"
OPTIONS = {{"steps": "{STEPS}"}}
MODEL = ModelConfig(
    vocab_size=2000, d_model=128, num_layers=1, max_length=16, attention=AttentionConfig(num_heads=2),
    feedforward=Mlp(d_ff=64), positions=Rope(), dropout=0.2,
)


def loss(model, batch):
    return token_loss(model(batch.inputs), batch.targets, smoothing=0.1)


def run(run):
    tokens = torch.randint(0, 2000, (400,), generator=torch.Generator().manual_seed(2))
    steps = int(run.options["steps"])
    config = TrainConfig(
        steps=steps, learning_rate=partial(warmup_cosine, warmup=4, total=steps, peak=1e-2),
        checkpoint_every=2, eval_every=10, seed=run.seed, keep=2,
    )
    torch.manual_seed(run.seed)
    model = DecoderLM(MODEL)
    batches = PackedBatches(tokens, batch=3, context=16, seed=run.seed)
    held_out = [next(iter(PackedBatches(tokens, batch=3, context=16, seed=9)))]
    return run.train(model, loss, batches, config, held_out=held_out, averages=(1, 2))
"""


class Process(Protocol):
    """What a part of the run is, whoever started it."""

    pid: Any

    def end(self) -> int: ...

    def is_running(self) -> bool: ...


class Forked:
    """Forked from a server that has imported torch already: a part begins in a fraction of a second."""

    def __init__(self, arguments: list[str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*PRELOAD, "tests.tasks.killed_runs", "transformer_lib.runs.recipe"])
        self.process = context.Process(target=command_line, args=(arguments,))
        self.process.start()
        self.pid = self.process.pid

    def end(self) -> int:
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def is_running(self) -> bool:
        return self.process.is_alive()


class Interpreter:
    """A new interpreter, as a shell starts it."""

    def __init__(self, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "transformer_lib", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid

    def end(self) -> int:
        return self.process.wait()

    def is_running(self) -> bool:
        return self.process.poll() is None


def command_line(arguments: list[str]) -> None:
    """What `python -m transformer_lib` does, silently."""
    try:
        import torch

        from transformer_lib.__main__ import main

        torch.set_num_threads(1)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            code = main(arguments)
    except KeyboardInterrupt:  # before the program began
        code = 130
    except BaseException:
        code = CRASHED  # which no signal explains; 1 stays for what happens before this function
    os._exit(code)


def kill_again_and_again(
    folder: Path, *, kills: int, seed: int, start: Callable[[list[str]], Process] = Forked
) -> dict[str, int]:
    """Run the recipe straight and killed; how many kills fell into a save, by signal. The ends are compared by bytes.

    Half of the kills aim at a moment after a step, half at one within the save that follows. The steps are spread over
    the whole run.
    """
    recipe = folder / "recipe.py"
    recipe.write_text(RECIPE)
    arguments = ["train", str(recipe), "--seed", "3", "--resume", "--folder"]
    assert start([*arguments, str(folder / "straight")]).end() == 0
    record = (recipe.parent / "results" / "killed-seed3.json").read_text()
    dice = random.Random(seed)
    targets = sorted(dice.randrange(STEPS - 1) for _ in range(kills))
    training = folder / "killed" / "training"
    in_saves = dict.fromkeys((signal.name for signal in SIGNALS), 0)
    number = 0
    while number < kills:
        process = start([*arguments, str(folder / "killed")])
        wait_until(functools.partial(has_steps, training, targets[number]), process)
        if number % 2:
            wait_until(functools.partial(is_saving, training), process)
        time.sleep(dice.uniform(0, 0.002 if number % 2 else 0.05))
        chosen = SIGNALS[number // 2 % len(SIGNALS)]
        saving = names_being_saved(training)
        if process.is_running():
            os.kill(process.pid, chosen)
        code = process.end()
        if code == 0:  # on a busy machine it may come to its end first: then this kill is tried on a run from the start
            shutil.rmtree(folder / "killed")
            continue
        assert code in ENDS[chosen], f"the run ended with {code} and not by {chosen.name}"
        in_saves[chosen.name] += any(not (training / name).exists() for name in saving)
        number += 1
    assert start([*arguments, str(folder / "killed")]).end() == 0
    compare(folder / "straight" / "training", training)
    again = (recipe.parent / "results" / "killed-seed3.json").read_text()
    assert results_of(record) == results_of(again)
    return in_saves


def compare(straight: Path, killed: Path) -> None:
    """Weights, moments, generators, position, settings and log: byte for byte, and nothing else is left."""
    for name in (f"step-{STEPS:08d}/{file}" for file in ("model.safetensors", "training.safetensors", "state.json")):
        assert (straight / name).read_bytes() == (killed / name).read_bytes(), name
    assert (straight / "log.jsonl").read_bytes() == (killed / "log.jsonl").read_bytes()
    assert {path.name for path in straight.iterdir()} == {path.name for path in killed.iterdir()}


def results_of(record: str) -> Any:
    return json.loads(record)["results"]


def has_steps(training: Path, steps: int) -> bool:
    log = training / "log.jsonl"
    return (log.read_bytes().count(b"\n") if log.exists() else 0) >= steps


def names_being_saved(training: Path) -> list[str]:
    return [path.name.removesuffix(".partial") for path in training.glob("step-*.partial")]


def is_saving(training: Path) -> bool:
    return bool(names_being_saved(training))


def wait_until(holds: Callable[[], bool], process: Process) -> None:
    """Look often, since a save lasts a few milliseconds, and no longer than the process runs."""
    while process.is_running() and not holds():
        time.sleep(0.0002)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--interpreters", action="store_true", help="a new interpreter for every part")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        chosen_start = Interpreter if options.interpreters else Forked
        found = kill_again_and_again(Path(place), kills=options.kills, seed=options.seed, start=chosen_start)
    print(f"{options.kills} kills, of which within a save {sum(found.values())} {found}: the ends are the same bytes")
