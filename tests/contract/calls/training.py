"""How each public callable of `transformer_lib.training` is called validly."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.contract.calls.config import SMALL
from transformer_lib.checks import require_kind
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.packing import LMBatch
from transformer_lib.models import DecoderLM
from transformer_lib.nn.router import Load
from transformer_lib.training import (
    checkpoint,
    config,
    costs,
    counts,
    deferred,
    grid,
    layout,
    log,
    loop,
    loss,
    optim,
    parallel,
    patience,
    plan,
    recompute,
    schedule,
    share,
    state,
    traffic,
)

FLAT = partial(schedule.warmup_cosine, warmup=1, total=9, peak=1e-3)
RECORD = log.Record(step=1, loss=2.0, tokens=8, learning_rate=1e-3, gradient_norm=1.0)
GPU = plan.Gpu(name="a", peak=1e15, memory=8e10, price=2.0)
LINK = grid.Link(bandwidth=1e9, latency=1e-6)
NETWORK = grid.Network(machine=8, inside=LINK, between=LINK)
EXCHANGE = costs.Exchange(name="a", collective="all-gather", size=8.0, calls=2, members=2)
LOGITS, TARGETS = torch.linspace(-1, 1, 2 * 3 * 5).reshape(2, 3, 5), torch.tensor([[0, 1, 2], [3, 4, -100]])


def _model() -> DecoderLM:
    torch.manual_seed(0)
    return DecoderLM(SMALL)


def _model_without_seed() -> DecoderLM:
    return DecoderLM(SMALL)


def _batches() -> PackedBatches:
    return PackedBatches(torch.arange(60) % 11, batch=2, context=4, seed=0)


def own_loss(model: nn.Module, batch: Any) -> loss.LossSum:
    require_kind(batch, LMBatch, "batch", "an LMBatch")
    return loss.token_loss(model(batch[0]), batch[1])


def _config(**changes: Any) -> config.TrainConfig:
    return config.TrainConfig(**({"steps": 2, "learning_rate": FLAT, "progress": False} | changes))


def _state(steps: int = 1) -> state.TrainState:
    fresh = loop.new_state(_model(), _batches(), _config())
    for _ in range(steps):
        loop.train_step(fresh, own_loss, [next(iter(fresh.batches or ()))], _config())
    return fresh


def _place(name: str = "new") -> Path:
    return Path(tempfile.mkdtemp(dir=".")) / name


def _saved() -> Path:
    path = _place()
    checkpoint.save_state(path, _state())
    return path


def _run() -> Path:
    folder = _place()
    loop.train(_model(), own_loss, _batches(), _config(), folder=folder)
    return folder


def _muon() -> optim.MuonAndAdamW:
    return optim.muon(_model())


def _recomputed() -> DecoderLM:
    model = _model()
    recompute.recompute_blocks(model)
    return model


def _example() -> Any:
    return next(iter(_batches()))


def _config_and(**others: Any) -> dict[str, Any]:
    return {"config": SMALL, **others}


_VALID: dict[str, Callable[[], dict[str, Any]]] = {
    "checkpoint.save_state": lambda: {"path": _place(), "state": _state()},
    "checkpoint.load_state": lambda: {"path": _saved(), "state": _state(0), "change": ["training.clip"]},
    "checkpoint.load_weights": lambda: {"path": _saved(), "model": _model()},
    "checkpoint.read_about": lambda: {"path": _saved()},
    "checkpoint.checkpoint_at": lambda: {"folder": _place(), "step": 3},
    "patience.Patience": lambda: {"records": [RECORD], "patience": 2},
    "patience.Patience.add": lambda: {"self": patience.Patience([], None), "record": RECORD},
    "checkpoint.save_latest": lambda: {"folder": _place(), "state": _state(), "keep": 2},
    "checkpoint.latest": lambda: {"folder": _run()},
    "chunked.chunked_token_loss": lambda: {
        "hidden": torch.ones(2, 3, 4),
        "weight": torch.ones(5, 4),
        "targets": TARGETS.clone(),
        "ignore": -100,
        "smoothing": 0.1,
        "chunk_bytes": 64,
    },
    "config.TrainConfig": lambda: {
        "steps": 2,
        "learning_rate": FLAT,
        "micro_batches": 1,
        "optimizer": "adamw",
        "clip": 1.0,
        "weight_decay": 0.1,
        "betas": (0.9, 0.95),
        "rates": {"blocks.*": 0.5},
        "precision": "float32",
        "seed": 0,
        "eval_every": 1,
        "checkpoint_every": None,
        "keep": 2,
        "progress": False,
    },
    "config.TrainConfig.settings": lambda: {"self": _config()},
    "config.describe_schedule": lambda: {"schedule": FLAT},
    "log.Record": lambda: {
        "step": 1,
        "loss": 2.0,
        "tokens": 8,
        "learning_rate": 1e-3,
        "gradient_norm": 1.0,
        "held_out": None,
    },
    "log.StepLog": lambda: {"path": _run() / "log.jsonl", "step": 1},
    "log.StepLog.write": lambda: {"self": log.StepLog(_run() / "log.jsonl", step=1), "record": RECORD},
    "log.StepLog.flush_to_disk": lambda: {"self": log.StepLog(_run() / "log.jsonl", step=1)},
    "log.read_log": lambda: {"path": _run() / "log.jsonl"},
    "loop.train": lambda: {
        "model": _model(),
        "loss_fn": own_loss,
        "batches": _batches(),
        "config": _config(),
        "held_out": [_example()],
        "folder": _place(),
        "resume": True,
        "change": ["loss"],
        "about": {"recipe": {"seed": 0}},
        "on_step": lambda record: None,
    },
    "loop.train_step": lambda: {
        "state": _state(0),
        "loss_fn": own_loss,
        "batches": [_example()],
        "config": _config(),
    },
    "loop.accumulate": lambda: {
        "model": _model(),
        "loss_fn": own_loss,
        "batches": [_example()],
        "precision": "float32",
    },
    "loop.evaluate": lambda: {
        "model": _model(),
        "loss_fn": own_loss,
        "batches": [_example()],
        "precision": "float32",
    },
    "loop.new_state": lambda: {"model": _model(), "batches": _batches(), "config": _config()},
    "share.endless": lambda: {"batches": _batches()},
    "share.Share": lambda: {"batches": _batches(), "rank": 0, "ranks": 2},
    "share.Share.state_dict": lambda: {"self": share.Share(_batches(), 0, 2)},
    "share.Share.require_whole_rounds": lambda: {"self": share.Share(_batches(), 0, 2), "batches": 4},
    "gradient.gradients_of": lambda: {"parameters": [nn.Parameter(torch.ones(2))]},
    "gradient.divide_": lambda: {"tensors": [torch.ones(2)], "count": torch.tensor(3)},
    "gradient.clip_": lambda: {"tensors": [torch.ones(2)], "most": 1.0},
    "layout.Copies": lambda: {},
    "layout.Shards": lambda: {
        "replicas": 2,
        "tensor": 2,
        "after_forward": "keep",
        "gather": "bfloat16",
        "reduce": "float32",
    },
    "layout.Shards.grid": lambda: {"self": layout.Shards(replicas=2), "ranks": 4},
    "layout.Shards.rounding": lambda: {"self": layout.Shards(gather="bfloat16")},
    "layout.layout_from": lambda: {"words": "fsdp2:tensor=2"},
    "layout.layout_words": lambda: {"layout": layout.Shards()},
    "deferred.Deferred": lambda: {"build": _model_without_seed},
    "deferred.Deferred.draw": lambda: {
        "self": deferred.Deferred(_model_without_seed),
        "take": lambda name, tensor: None,
        "generator": torch.get_rng_state(),
    },
    "deferred.Deferred.whole": lambda: {"self": deferred.Deferred(_model_without_seed)},
    "hollow.hollow": lambda: {"model": _model()},
    "hollow.is_empty": lambda: {"model": _model()},
    "hollow.take_memory": lambda: {"model": _model(), "device": torch.device("cpu")},
    "tensor_parallel.tensor_plan": lambda: {"model": _model(), "ranks": 2},
    "tensor_parallel.row_orders": lambda: {"model": _model(), "ranks": 2},
    "consolidate.consolidate": lambda: {
        "checkpoint": _saved(),
        "file": _place("model.safetensors"),
        "at_once": 1 << 20,
    },
    "loss.LossSum": lambda: {"total": torch.tensor(1.0), "count": torch.tensor(2)},
    "loss.LossSum.mean": lambda: {"self": loss.LossSum(torch.tensor(1.0), torch.tensor(2))},
    "loss.LossSum.detach": lambda: {"self": loss.LossSum(torch.tensor(1.0), torch.tensor(2))},
    "loss.token_loss": lambda: {
        "logits": LOGITS.clone(),
        "targets": TARGETS.clone(),
        "ignore": -100,
        "smoothing": 0.1,
    },
    "further.multi_token_loss": lambda: {
        "logits": [LOGITS.clone(), LOGITS[:, 1:].clone()],
        "targets": TARGETS.clone(),
        "weight": 0.3,
        "ignore": -100,
    },
    "loss.summed_loss": lambda: {
        "log_probs": LOGITS[0].log_softmax(-1),
        "targets": TARGETS[0].clone(),
        "ignore": -100,
        "smoothing": 0.1,
    },
    "loss.subtract_targets_": lambda: {
        "probs": LOGITS[0].softmax(-1),
        "targets": TARGETS[0].clone(),
        "ignore": -100,
        "smoothing": 0.1,
    },
    "loss.check_targets": lambda: {
        "targets": TARGETS.clone(),
        "shape": torch.Size((2, 3)),
        "vocab": 5,
        "ignore": -100,
        "smoothing": 0.1,
    },
    "newton_schulz.orthogonalised": lambda: {"matrix": torch.randn(3, 2)},
    "newton_schulz.step_muon": lambda: {"muon": _muon().parts[0]},
    "optim.parameter_groups": lambda: {"model": _model(), "weight_decay": 0.1, "rates": {"*": 0.5}},
    "optim.adamw": lambda: {"model": _model(), "weight_decay": 0.1, "betas": (0.9, 0.95), "rates": {"*": 0.5}},
    "optim.muon": lambda: {"model": _model(), "weight_decay": 0.1, "betas": (0.9, 0.95), "rates": {"*": 0.5}},
    "optim.check_rates": lambda: {"rates": {"*": 0.5}},
    "optim.factors_of": lambda: {"model": _model(), "rates": {"*": 0.5}},
    "optim.set_rate": lambda: {"optimizer": optim.adamw(_model()), "rate": 0.1},
    "optim.MuonAndAdamW": lambda: dict(zip(("muon", "adamw"), _muon().parts, strict=True)),
    "optim.MuonAndAdamW.step": lambda: {"self": _muon(), "closure": None},
    "parallel.WithLoss": lambda: {"model": _model(), "loss_fn": own_loss},
    "parallel.WithLoss.forward": lambda: {"self": parallel.WithLoss(_model(), own_loss), "batch": _example()},
    "parallel.call_with_loss": lambda: {"model": parallel.WithLoss(_model(), own_loss), "batch": _example()},
    "parallel.take_back": lambda: {"shared": _model(), "model": _model()},
    "parallel.unwrapped": lambda: {"model": _model()},
    "parallel.given_loss": lambda: {"model": _model(), "loss_fn": own_loss},
    "parallel.is_shared": lambda: {"model": _model()},
    "parallel.place_of": lambda: {"model": _model()},
    "parallel.first_says": lambda: {"model": _model(), "ask": lambda: 3},
    "parallel.without_exchange": lambda: {"model": _model()},
    "parallel.sum_over_ranks": lambda: {
        "loss": loss.LossSum(torch.tensor(1.0), torch.tensor(2)),
        "model": _model(),
    },
    "parallel.sum_loads": lambda: {"loads": [Load(3), None], "model": _model()},
    "parallel.let_go": lambda: {"model": _model()},
    "parallel.is_first": lambda: {"model": _model()},
    "parallel.orders_of": lambda: {"model": _model()},
    "parallel.readers_of": lambda: {"model": _model()},
    "parts.gather": lambda: {"tensor": torch.ones(2)},
    "parts.local_part": lambda: {"tensor": torch.ones(2)},
    "parts.by_grid": lambda: {"tensors": [torch.ones(2)]},
    "parts.share_like": lambda: {"tensor": torch.ones(2), "own": torch.ones(2)},
    "parts.with_rows": lambda: {"tensor": torch.ones(2), "order": torch.tensor([1, 0])},
    "plan.Gpu": lambda: {"name": "a", "peak": 1e15, "memory": 8e10, "price": 2.0},
    "counts.Parameters": lambda: {
        "embedding": 1,
        "blocks": 2,
        "experts": 0,
        "largest_block": 2,
        "rest": 1,
        "matmul": 3,
    },
    "plan.Memory": lambda: {
        name: 1.0 for name in ("parameters", "gradients", "optimizer", "gathered", "activations", "logits")
    },
    "plan.Plan": lambda: {
        "gpus": 2,
        "memory": plan.Memory(**_VALID["plan.Memory"]()),
        "fits": True,
        **dict.fromkeys(("computing", "waiting", "sending", "bubble", "seconds"), 1.0),
        "tokens_per_second": 1.0,
        "tokens_per_step": 2,
        "steps": 3,
        "hours": 1.0,
        "gpu_hours": 2.0,
        "cost": 3.0,
    },
    "counts.parameters": _config_and,
    "counts.flops_per_token": lambda: _config_and(context=8),
    "counts.recomputed_share": lambda: _config_and(context=8),
    "plan.memory": lambda: _config_and(
        gpus=2,
        batch=2,
        context=8,
        parallel="fsdp2",
        precision="bfloat16",
        recompute=False,
        chunked_logits=True,
    ),
    "counts.activations_per_token": lambda: _config_and(precision="bfloat16", recompute=False),
    "plan.memory_of": lambda: _config_and(
        grid=grid.Grid(shard=2),
        **{"batch": 2, "context": 8, "micro_batches": 2, "precision": "bfloat16"},
        **{"recompute": False, "chunked_logits": True},
    ),
    "plan.plan": lambda: _config_and(
        gpu=GPU,
        grid=grid.Grid(shard=2),
        **{"tokens": 1e6, "batch": 2, "context": 8, "mfu": 0.4, "micro_batches": 2},
        **{"recompute": False, "chunked_logits": True, "network": NETWORK, "overlap": True},
    ),
    "grid.Grid": lambda: {
        **dict.fromkeys(("replicate", "shard", "tensor", "pipeline", "context", "expert", "interleave"), 2),
        **{"numbers": "bfloat16", "kept": "pass"},
    },
    "grid.Link": lambda: {"bandwidth": 1e9, "latency": 1e-6},
    "grid.Network": lambda: {"machine": 8, "inside": LINK, "between": LINK, "way": "ring"},
    "grid.Network.together": lambda: {"self": NETWORK, "members": 4, "stride": 2},
    "costs.Exchange": lambda: {
        **{"name": "a", "collective": "all-gather", "size": 8.0, "calls": 2, "members": 2},
        **{"stride": 1, "behind": "nothing"},
    },
    "costs.Exchange.rounds": lambda: {"self": EXCHANGE, "way": "tree"},
    "costs.Exchange.seconds": lambda: {"self": EXCHANGE, "network": NETWORK},
    "costs.exchanges": lambda: _config_and(
        grid=grid.Grid(shard=2),
        **{"batch": 2, "context": 8, "micro_batches": 2, "precision": "bfloat16", "recompute": False},
    ),
    "costs.require_fitting": lambda: _config_and(grid=grid.Grid(shard=2)),
    "costs.parts_of_weights": lambda: {
        "count": counts.Parameters(embedding=1, blocks=2, experts=0, largest_block=2, rest=1, matmul=3),
        "grid": grid.Grid(shard=2),
    },
    "costs.experts_shared_among": lambda: {"grid": grid.Grid(shard=2)},
    "failures.young_interval": lambda: {"save": 1.0, "between": 100.0},
    "failures.daly_interval": lambda: {"save": 1.0, "between": 100.0},
    "failures.slowdown": lambda: {"every": 10.0, "save": 1.0, "between": 100.0, "restart": 2.0},
    "pipeline.Task": lambda: {"micro_batch": 0, "forward": True, "begin": 0, "end": 1},
    "pipeline.pipeline_schedule": lambda: {"stages": 2, "micro_batches": 3, "order": "gpipe"},
    "pipeline.idle_share": lambda: {"stages": 2, "micro_batches": 3, "order": "gpipe"},
    "pipeline.most_waiting": lambda: {"stages": 2, "micro_batches": 3, "order": "gpipe"},
    "traffic.Call": lambda: {"collective": "send", "size": 8},
    "traffic.Traffic": lambda: {},
    "traffic.Traffic.sums": lambda: {"self": traffic.Traffic()},
    "precision.kind_of_device": lambda: {"device": "cpu"},
    "precision.best_precision": lambda: {"device": "cpu"},
    "recompute.recompute_blocks": lambda: {"model": _model()},
    "recompute.keep_blocks": lambda: {"model": _recomputed()},
    "schedule.warmup_cosine": lambda: {"step": 2, "warmup": 1, "total": 9, "peak": 1e-3, "floor": 1e-4},
    "schedule.warmup_stable_decay": lambda: {
        "step": 2,
        "warmup": 1,
        "decay": 2,
        "total": 9,
        "peak": 1e-3,
        "floor": 1e-4,
    },
    "schedule.noam": lambda: {"step": 2, "d_model": 8, "warmup": 4, "scale": 1.0},
    "sharded.is_sharded": lambda: {"folder": _saved()},
    "sharded.stored_like": lambda: {"folder": _saved()},
    "state.TrainState": lambda: {
        "model": _model(),
        "optimizer": optim.adamw(_model()),
        "batches": _batches(),
        "settings": {},
        "step": 0,
        "changes": [],
    },
    "state.model_tensors": lambda: {"model": _model()},
    "state.check_model_tensors": lambda: {
        "tensors": state.model_tensors(_model()),
        "model": _model(),
        "source": "file",
    },
    "state.check_same": lambda: {
        "tensors": state.model_tensors(_model()),
        "own": state.model_tensors(_model()),
        "source": "file",
    },
    "state.training_tensors": lambda: {"state": _state()},
    "state.generator_tensors": lambda: {"model": _model()},
    "state.is_of_training": lambda: {"name": "optimizer/a/step"},
    "state.check_training_tensors": lambda: {
        "tensors": state.training_tensors(_state()),
        "state": _state(0),
        "source": "file",
    },
    "state.check_generators": lambda: {
        "tensors": state.training_tensors(_state()),
        "state": _state(0),
        "source": "file",
    },
    "state.slots_of": lambda: {"tensors": state.training_tensors(_state())},
}

CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"transformer_lib.training.{name}": call for name, call in _VALID.items()
}

EXCUSED: dict[str, str] = {
    "transformer_lib.training.share.Share.load_state_dict": "its argument has no name; it hands it to the batches",
    "transformer_lib.training.optim.MuonAndAdamW.load_state_dict": "torch's own, which it calls, judges the state",
    "transformer_lib.training.parallel.parallelize": "needs processes that have joined",
    "transformer_lib.training.within.*": "exchanges among processes that have joined",
    "transformer_lib.training.layout.grid_of_ranks": "needs processes that have joined",
    "transformer_lib.training.tensor_parallel.share_products": "needs processes that have joined",
    "transformer_lib.training.sharded.write_shards": "torch's own writer, for processes that have joined",
    "transformer_lib.training.sharded.read_shards": "torch's own reader, for tensors that were checked",
    "transformer_lib.training.state.set_model_tensors": "for tensors that were checked",
    "transformer_lib.training.state.set_training_tensors": "for tensors that were checked",
    "transformer_lib.training.state.empty_training_tensors": "for tensors that were checked",
}
