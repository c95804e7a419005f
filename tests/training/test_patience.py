"""A run with patience ends when its held-out loss falls no more, keeps its best weights, and resumes exactly."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from transformer_lib.data.batching import PackedBatches
from transformer_lib.training import LossSum, TrainConfig, train
from transformer_lib.training.checkpoint import checkpoint_at, load_weights
from transformer_lib.training.log import Record, read_log
from transformer_lib.training.patience import Patience
from transformer_lib.training.schedule import warmup_cosine


def _record(step: int, held_out: float | None) -> Record:
    return Record(step=step, loss=1.0, tokens=1, learning_rate=0.1, gradient_norm=1.0, held_out=held_out)


def test_the_first_of_the_lowest_is_the_best() -> None:
    watch = Patience([], 2)
    seen = []
    for step, held_out in enumerate([3.0, None, 2.0, 2.0, None, 2.5], start=1):
        watch.add(_record(step, held_out))
        seen.append((watch.best, watch.over))
    assert seen == [(1, False), (1, False), (3, False), (3, False), (3, False), (3, True)]
    assert not Patience([_record(s, 1.0) for s in range(1, 9)], None).over


def _loss(model: nn.Module, batch: object) -> LossSum:
    """A weight that moves away from where the held-out loss is least: this falls, and then rises."""
    weight = next(model.parameters())
    target = 1.0 if model.training else 0.3
    return LossSum(((weight - target) ** 2).sum(), torch.tensor(1))


def _train(folder: Path, *, steps: int = 60, resume: bool = False, stop_at: int | None = None) -> float:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    config = TrainConfig(
        steps=steps,
        learning_rate=partial(warmup_cosine, warmup=1, total=60, peak=0.05),
        weight_decay=0.0,
        eval_every=2,
        checkpoint_every=2,
        keep=1,
        patience=3,
    )

    def stop(record: Record) -> None:
        if record.step == stop_at:
            raise KeyboardInterrupt

    batches = PackedBatches(torch.arange(100), batch=1, context=4, seed=0)
    try:
        train(model, _loss, batches, config, held_out=[0], folder=folder, resume=resume, on_step=stop)
    except KeyboardInterrupt:
        assert stop_at is not None
    return model.weight.item()


def test_a_run_ends_early_and_keeps_the_best(tmp_path: Path) -> None:
    _train(tmp_path)
    records = read_log(tmp_path / "log.jsonl")
    measured = {record.step: record.held_out for record in records if record.held_out is not None}
    best = min(measured, key=lambda step: (measured[step], step))
    assert 2 < best < len(records) < 60 and len(records) == best + 3 * 2
    kept = sorted(path.name for path in tmp_path.glob("step-*"))
    assert kept == [checkpoint_at(tmp_path, step).name for step in (best, len(records))]
    model = nn.Linear(1, 1, bias=False)
    load_weights(checkpoint_at(tmp_path, best), model)
    assert (model.weight.item() - 0.3) ** 2 == pytest.approx(measured[best], abs=1e-6)


def test_resumed_it_ends_where_it_would_have(tmp_path: Path) -> None:
    straight = _train(tmp_path / "straight")
    length = len(read_log(tmp_path / "straight" / "log.jsonl"))
    for stop in (1, length - 5, length - 1):
        folder = tmp_path / str(stop)
        _train(folder, stop_at=stop)
        assert _train(folder, resume=True) == straight
        assert (folder / "log.jsonl").read_bytes() == (tmp_path / "straight" / "log.jsonl").read_bytes()
        names = [sorted(path.name for path in place.glob("step-*")) for place in (folder, tmp_path / "straight")]
        assert names[0] == names[1]
        assert _train(folder, resume=True) == straight  # what is over stays over


def test_patience_needs_what_it_rests_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="checkpoint_every must be eval_every"):
        TrainConfig(steps=1, learning_rate=partial(warmup_cosine, warmup=1, total=60, peak=0.05), patience=1)
    config = TrainConfig(
        steps=1,
        learning_rate=partial(warmup_cosine, warmup=1, total=60, peak=0.05),
        eval_every=1,
        checkpoint_every=1,
        patience=1,
    )
    batches = PackedBatches(torch.arange(100), batch=1, context=4, seed=0)
    with pytest.raises(ValueError, match="patience needs held-out batches"):
        train(nn.Linear(1, 1), _loss, batches, config, folder=tmp_path)
