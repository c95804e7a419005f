"""The training that all recipes on own data share: how long, how often it looks at held-out examples, when it stops."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from transformer_lib.checks import require
from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.contract import checked
from transformer_lib.data.batching import BucketedBatches, PackedBatches
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.own.material import number_of
from transformer_lib.training.config import OptimizerName, TrainConfig
from transformer_lib.training.loop import LossFunction
from transformer_lib.training.optim import NO_RATES
from transformer_lib.training.precision import best_precision
from transformer_lib.training.schedule import warmup_cosine

LEAST_STEPS = 300  # of a run; twenty examples make one batch, and are gone through as often as that
EVALUATIONS = 40  # of a run, about
PATIENCE = 10  # of them without a lower loss, and the run ends


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
    least_steps: int = LEAST_STEPS,
) -> dict[str, Any]:
    """Train until the held-out loss falls no more, at most for `epochs` (or what the option says), and keep the best.

    The rate rises for a twentieth of the steps and falls along a cosine; `rates` are factors of it by the names of
    parameters. The result are the facts of the training.
    """
    require(len(held_out) > 0, "validation", "must hold examples", held_out)
    chosen = number_of(run.options, "epochs", 0)
    steps = max(1, chosen * steps_per_epoch) if chosen else max(least_steps, epochs * steps_per_epoch)
    every = max(1, steps // EVALUATIONS)
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
        patience=PATIENCE,
    )
    facts = run.train(model, loss, batches, config, held_out=held_out)
    return facts | {"steps_at_most": steps, "epochs": facts["steps"] / steps_per_epoch}
