"""A real run, small enough to be killed twenty times: a tied decoder with dropout, on shuffled windows of tokens."""

import functools
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.data.batching import PackedBatches
from transformer_lib.models import DecoderLM
from transformer_lib.training import LossSum, TrainConfig, TrainState, token_loss, train, warmup_cosine

STEPS = 45
# Imported once, by the server that forks the processes; torch's optimisers import torch._dynamo when first used.
PRELOAD = ["pytest", "torch._dynamo", "transformer_lib.data.batching", "transformer_lib.training"]


def small_model(**changes: Any) -> DecoderLM:
    torch.manual_seed(1)
    parts = {
        "vocab_size": 23,
        "d_model": 8,
        "num_layers": 1,
        "max_length": 8,
        "attention": AttentionConfig(num_heads=2),
        "feedforward": Mlp(d_ff=16),
        "positions": Rope(),
        "dropout": 0.2,
    }
    return DecoderLM(ModelConfig(**(parts | changes)))


def small_batches(seed: int = 3) -> PackedBatches:
    """Windows of 8 tokens, 3 a batch; the 13 windows of an epoch end within an update of 2 batches."""
    tokens = torch.randint(0, 23, (107,), generator=torch.Generator().manual_seed(2))
    return PackedBatches(tokens, batch=3, context=8, seed=seed)


def small_config(**changes: Any) -> TrainConfig:
    schedule = functools.partial(warmup_cosine, warmup=4, total=STEPS, peak=1e-2, floor=1e-3)
    parts = {"steps": STEPS, "learning_rate": schedule, "micro_batches": 2, "checkpoint_every": 1, "eval_every": 5}
    return TrainConfig(**(parts | changes))


def next_token_loss(model: nn.Module, batch: Any) -> LossSum:
    inputs, targets = batch
    return token_loss(model(inputs), targets, ignore=0)


def small_held_out() -> list[Any]:
    tokens = torch.randint(0, 23, (2, 9), generator=torch.Generator().manual_seed(4))
    return [(tokens[:, :-1], tokens[:, 1:])]


def run_to_the_end(folder: Path, **changes: Any) -> TrainState:
    """What a user's script does: start, or take up what is there."""
    config = small_config(**changes)
    return train(
        small_model(), next_token_loss, small_batches(), config, held_out=small_held_out(), folder=folder, resume=True
    )


def start_process(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start `target` in a process forked from a server that has imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_with_one_thread, args=(target, *arguments))
    process.start()
    return process


def run_in_a_process(target: Callable[..., Any], *arguments: Any) -> None:
    process = start_process(target, *arguments)
    process.join()
    assert process.exitcode == 0


def run_together(processes: Sequence[BaseProcess]) -> None:
    """Wait for started processes that wait for one another: when one fails, the others are ended."""
    while running := [process for process in processes if process.is_alive()]:
        wait([process.sentinel for process in running])
        if any(process.exitcode for process in processes):
            for process in running:
                process.kill()
    assert [process.exitcode for process in processes] == [0] * len(processes)


def _with_one_thread(target: Callable[..., Any], *arguments: Any) -> None:
    torch.set_num_threads(1)
    target(*arguments)
