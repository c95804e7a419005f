"""What a training run is, as data: the numbers that decide its weights, and a few that only decide what is watched."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from transformer_lib.checks import require, require_numbers, require_positive
from transformer_lib.contract import checked
from transformer_lib.training.optim import check_rates

Precision = Literal["float32", "bfloat16"]
OptimizerName = Literal["adamw", "muon"]
Schedule = Callable[[int], float]

MOST_SEED = 2**32 - 1  # times the number of processes, it must still be a seed of torch's
WATCHING = ("steps", "eval_every", "checkpoint_every", "keep", "patience", "progress")


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A run of `steps` updates, each from the mean over all tokens of `micro_batches` batches.

    `learning_rate` maps the number of the update, from 1, to its rate: a named function, or a `functools.partial` of
    one with keywords (see `schedule.py`). `optimizer` is "adamw" for all weights, or "muon" for the matrices of the
    blocks with AdamW for the rest; `betas` are AdamW's, rate and decay serve both (see `optim.py`). `rates` are factors
    of the learning rate for parameters by the patterns of their names, such as `{"encoder.*": 0.1}`. `clip` bounds the
    norm of the whole gradient, `None` leaves it. `precision` "float32" computes in the weights' own type; "bfloat16"
    runs the model under autocast, with weights, optimiser and loss as they were; a run of real size should give what
    `best_precision(device)` says. `seed` decides the dropout. Every `eval_every` and `checkpoint_every` steps, and
    after the last, the run is evaluated and saved (`None`: after the last only); the newest `keep` checkpoints stay.
    With `patience`, that with the lowest held-out loss stays as well, and the run ends before `steps` once so many
    evaluations have passed without a lower one. `progress` shows a bar (`None`: only on a terminal).
    """

    steps: int
    learning_rate: Schedule
    micro_batches: int = 1
    optimizer: OptimizerName = "adamw"
    clip: float | None = 1.0
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    rates: Mapping[str, float] = field(default_factory=dict)
    precision: Precision = "float32"
    seed: int = 0
    eval_every: int | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    patience: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        require_positive(steps=self.steps, micro_batches=self.micro_batches, keep=self.keep)
        for name in ("eval_every", "checkpoint_every", "patience"):
            if getattr(self, name) is not None:
                require_positive(**{name: getattr(self, name)})
        if self.patience is not None:
            rule = "must be eval_every, a number, where there is a patience, so that the best weights are kept"
            same = self.checkpoint_every == self.eval_every is not None
            require(same, "checkpoint_every", rule, self.checkpoint_every)
        require(self.clip is None or self.clip > 0, "clip", "must be positive or None", self.clip)
        require_numbers(weight_decay=self.weight_decay)
        require(self.weight_decay >= 0, "weight_decay", "must not be negative", self.weight_decay)
        require(all(0 <= beta < 1 for beta in self.betas), "betas", "must be at least 0 and below 1", self.betas)
        require(0 <= self.seed <= MOST_SEED, "seed", f"must be a whole number from 0 to {MOST_SEED}", self.seed)
        check_rates(self.rates)
        describe_schedule(self.learning_rate)

    def settings(self) -> dict[str, Any]:
        """The fields that decide the weights, as JSON values: a checkpoint is resumed only by a run that shares them.

        `steps` is not among them: a longer run begins as the shorter one, if their schedules agree. Nor are
        AdamW, and no factors of the rate: checkpoints from before there was anything else do not name them.
        """
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        deciding = {name: value for name, value in fields.items() if name not in (*WATCHING, *self._unsaid())}
        lists: dict[str, Any] = {"betas": list(self.betas)}
        if self.rates:
            lists["rates"] = [list(pair) for pair in self.rates.items()]  # the first that fits counts
        return deciding | {"learning_rate": describe_schedule(self.learning_rate)} | lists

    def _unsaid(self) -> list[str]:
        usual = {"optimizer": self.optimizer == "adamw", "rates": not self.rates}
        return [name for name, is_usual in usual.items() if is_usual]


@checked
def describe_schedule(schedule: Schedule) -> dict[str, Any]:
    """The schedule's function by name and its keywords, so that a checkpoint can tell one schedule from another."""
    function = schedule.func if isinstance(schedule, functools.partial) else schedule
    keywords = dict(schedule.keywords) if isinstance(schedule, functools.partial) else {}
    name = getattr(function, "__qualname__", "<unnamed>")
    plain = "<" not in name and not getattr(schedule, "args", ())
    require(plain, "learning_rate", "must be a named function, or a partial of one with keywords only", schedule)
    numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in keywords.values())
    require(numbers, "learning_rate", "must have only finite numbers as keywords", keywords)
    return {"function": name} | keywords
