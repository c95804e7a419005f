"""Training: losses as sums, schedules as functions, AdamW and Muon, a loop, and checkpoints that resume bit for bit."""

from transformer_lib.training.checkpoint import latest, load_state, load_weights, read_about, save_latest, save_state
from transformer_lib.training.chunked import chunked_token_loss
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.log import Record, read_log
from transformer_lib.training.loop import accumulate, evaluate, new_state, train, train_step
from transformer_lib.training.loss import LossSum, token_loss
from transformer_lib.training.optim import adamw, muon, parameter_groups
from transformer_lib.training.precision import best_precision
from transformer_lib.training.recompute import keep_blocks, recompute_blocks
from transformer_lib.training.schedule import noam, warmup_cosine, warmup_stable_decay
from transformer_lib.training.state import Batches, TrainState

__all__ = [
    "Batches",
    "LossSum",
    "Record",
    "TrainConfig",
    "TrainState",
    "accumulate",
    "adamw",
    "best_precision",
    "chunked_token_loss",
    "evaluate",
    "keep_blocks",
    "latest",
    "load_state",
    "load_weights",
    "muon",
    "new_state",
    "noam",
    "parameter_groups",
    "read_about",
    "read_log",
    "recompute_blocks",
    "save_latest",
    "save_state",
    "token_loss",
    "train",
    "train_step",
    "warmup_cosine",
    "warmup_stable_decay",
]
