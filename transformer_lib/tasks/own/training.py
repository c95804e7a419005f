"""The training that all recipes on own data share: how long, how often it looks at held-out examples, when it stops."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from transformer_lib.checks import require, require_positive
from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.contract import checked
from transformer_lib.data.batching import BucketedBatches, PackedBatches
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.own.material import number_of
from transformer_lib.training.config import OptimizerName, TrainConfig
from transformer_lib.training.layout import Copies, layout_from
from transformer_lib.training.loop import LossFunction
from transformer_lib.training.optim import NO_RATES
from transformer_lib.training.precision import best_precision
from transformer_lib.training.schedule import warmup_cosine

ADAMW = 0.003  # the highest rate of AdamW for weights that nobody trained before
BUDGET, BATCHES = 4096, 16  # tokens of a batch of a trained model at most, and batches of a pass at least


@checked
class Pace(NamedTuple):
    """The least steps of a run, about how often it is evaluated, and after how many such without a lower loss it ends.

    Twenty examples make one batch, and are gone through in the least steps.
    """

    least_steps: int
    evaluations: int
    patience: int


FROM_SCRATCH = Pace(300, 40, 10)
GOING_ON = Pace(100, 10, 3)  # a trained model learns fast, and its checkpoints may be large


@checked
def budget_for(lengths: Sequence[int], processes: int = 1) -> int:
    """The tokens of a batch with which a trained model goes on: of few examples fewer, or a pass would be few steps.

    The batch is one of so many processes; the longest example has room in it.
    """
    require(len(lengths) > 0, "lengths", "must not be empty", lengths)
    require_positive(processes=processes)
    return max(*lengths, 1, min(BUDGET, sum(lengths) // BATCHES) // processes)


@checked
def layers_of(
    vocab_size: int, *, width: int, layers: int, d_ff: int, max_length: int, dropout: float, segments: int = 0
) -> ModelConfig:
    """The stack that all of them train: heads of 32, rotations, RMSNorm and a gated feed-forward network."""
    return ModelConfig(
        vocab_size=vocab_size,
        d_model=width,
        num_layers=layers,
        max_length=max_length,
        attention=AttentionConfig(num_heads=width // 32),
        feedforward=SwiGlu(d_ff=d_ff),
        positions=Rope(),
        norm=Norm(kind="rms"),
        dropout=dropout,
        segments=segments,
    )


@checked
def train_own(
    run: Run,
    model: nn.Module,
    loss: LossFunction,
    batches: BucketedBatches[Any] | PackedBatches,
    held_out: Sequence[Any],
    *,
    steps_per_epoch: int,
    epochs: int,
    peak: float,
    optimizer: OptimizerName = "adamw",
    rates: Mapping[str, float] = NO_RATES,
    pace: Pace = FROM_SCRATCH,
) -> dict[str, Any]:
    """Train until the held-out loss falls no more, at most for `epochs` (or what the option says), and keep the best.

    The rate rises for a twentieth of the steps and falls along a cosine; `rates` are factors of it by the names of
    parameters. Where `--parallel fsdp2` cuts the weights into parts, AdamW takes the place of Muon, at a lower rate,
    and a line on standard error says so. The result are the facts of the training.
    """
    require(len(held_out) > 0, "validation", "must hold examples", held_out)
    optimizer, peak = _possible(run, optimizer, peak)
    chosen = number_of(run.options, "epochs", 0)
    steps = max(1, chosen * steps_per_epoch) if chosen else max(pace.least_steps, epochs * steps_per_epoch)
    every = max(1, steps // pace.evaluations)
    config = TrainConfig(
        steps=steps,
        learning_rate=partial(warmup_cosine, warmup=steps // 20, total=steps, peak=peak),
        micro_batches=run.processes,
        optimizer=optimizer,
        betas=(0.9, 0.98),
        rates=rates,
        precision=best_precision(run.device),
        seed=run.seed,
        eval_every=every,
        checkpoint_every=every,
        patience=pace.patience,
    )
    facts = run.train(model, loss, batches, config, held_out=held_out)
    return facts | {"steps_at_most": steps, "epochs": facts["steps"] / steps_per_epoch}


def _possible(run: Run, optimizer: OptimizerName, peak: float) -> tuple[OptimizerName, float]:
    """The optimiser and its rate, or AdamW and a rate for it: Muon needs whole matrices (`training/parallel.py`)."""
    if optimizer != "muon" or isinstance(layout_from(run.parallel), Copies):
        return optimizer, peak
    if run.is_first:
        print("under fsdp2 this trains with AdamW: Muon needs whole matrices, as ddp has them", file=sys.stderr)
    return "adamw", min(peak, ADAMW)
