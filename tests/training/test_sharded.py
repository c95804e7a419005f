"""Copies and shards train the same model, and any number of processes takes up what another number has left."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_run import (
    next_token_loss,
    run_together,
    small_batches,
    small_config,
    small_held_out,
    small_model,
    start_process,
)
from torch import Tensor, distributed
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from transformer_lib.training import (
    TrainState,
    latest,
    load_state,
    load_weights,
    new_state,
    read_log,
    save_state,
    train,
)
from transformer_lib.training.parallel import call_with_loss, parallelize, take_back
from transformer_lib.training.sharded import is_sharded
from transformer_lib.training.share import Share
from transformer_lib.training.state import model_tensors, training_tensors

HALF, STEPS = 2, 5
WAYS = ("ddp", "fsdp2")
SHAPE = {"num_layers": 2, "vocab_size": 23}


def run_alone(folder: Path, *, steps: int = STEPS) -> dict[str, Tensor]:
    """Five steps of four batches each in this process; the 13 windows of a pass end within one."""
    model = small_model(dropout=0.0, **SHAPE).double()
    train_on(folder, model, next_token_loss, small_batches(), steps)
    return model_tensors(model)


def run_shared(way: Any, folder: Path, *, steps: int = STEPS, dropout: float = 0.0) -> dict[str, Tensor]:
    """The same with this process as one of the ranks, which share out the four batches."""
    model = small_model(dropout=dropout, **SHAPE).double()
    if distributed.get_rank() > 0:
        torch.nn.init.zeros_(model.final_norm.weight)  # only rank 0's weights count
    shared = parallelize(model, next_token_loss, way)
    batches = Share(small_batches(), distributed.get_rank(), distributed.get_world_size())
    state = train_on(folder, shared, call_with_loss, batches, steps)
    if way == "fsdp2":
        check_is_sharded(state)
    take_back(shared, model)
    return {name: tensor.clone() for name, tensor in model_tensors(model).items()}


def train_on(folder: Path, model: Any, loss: Any, batches: Any, steps: int) -> TrainState:
    config = small_config(steps=steps, micro_batches=4, clip=0.5, eval_every=2, checkpoint_every=2)
    return train(model, loss, batches, config, held_out=small_held_out(), folder=folder, resume=True)


def check_is_sharded(state: TrainState) -> None:
    """Each rank holds its part of every weight and every moment, and no more."""
    ranks = distributed.get_world_size()
    tensors = model_tensors(state.model) | training_tensors(state)
    parts = {name: tensor for name, tensor in tensors.items() if tensor.dim() and not name.startswith("generator/")}
    assert len(parts) == 3 * len(model_tensors(state.model))
    for name, tensor in parts.items():
        assert isinstance(tensor, DTensor), name
        rows = -(-len(tensor) // ranks)
        assert len(tensor.to_local()) in (rows, max(0, len(tensor) - rows)), name


def be_a_rank(rank: int, folder: Path, way: str) -> None:
    store = distributed.FileStore(str(folder / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    result = {"straight": run_shared(way, folder / "straight")}
    run_shared(way, folder / "left", steps=HALF)
    result["taken up"] = run_shared(way, folder / "alone")  # left there by one process
    run_shared(WAYS[way == "ddp"], folder / "other way", steps=HALF)
    result["other way"] = run_shared(way, folder / "other way")
    result["dropout"] = run_shared(way, folder / "dropout", dropout=0.2)
    run_shared(way, folder / "dropout-left", dropout=0.2, steps=HALF)
    result["dropout taken up"] = run_shared(way, folder / "dropout-left", dropout=0.2)
    torch.save(result, folder / f"{rank}.pt")
    distributed.barrier()  # else the group may end before the thread that exchanged the last gradients: a deadlock
    distributed.destroy_process_group()


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_train_as_one_process_and_each_takes_up_the_others_run(way: str, tmp_path: Path) -> None:
    run_alone(tmp_path / "alone", steps=HALF)
    processes = [start_process(be_a_rank, rank, tmp_path, way) for rank in range(2)]
    run_together(processes)
    straight = run_alone(tmp_path / "straight-alone")
    newest = latest(tmp_path / "left")
    assert newest is not None and newest.name == f"step-{HALF:08d}" and is_sharded(newest)
    assert_equal(run_alone(tmp_path / "left"), straight)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name in ("straight", "taken up", "other way"):
            assert_equal(found[name], straight)
        assert_equal(found["dropout taken up"], found["dropout"], atol=0)  # by as many ranks: bit for bit
        weight = "embedding.tokens.weight"
        assert float((found["dropout"][weight] - straight[weight]).abs().max()) > 1e-4
    records, alone = (read_log(tmp_path / name / "log.jsonl") for name in ("straight", "straight-alone"))
    assert [record.tokens for record in records] == [record.tokens for record in alone]
    for name in ("loss", "gradient_norm", "held_out"):
        pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(records, alone, strict=True)]
        assert all(a == b if a is None else a == pytest.approx(b, abs=1e-10, rel=0) for a, b in pairs), name


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


# In a job of one rank -------------------------------------------------------------------------------------------------


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def sharded_state(**changes: Any) -> TrainState:
    shared = parallelize(small_model(**changes), next_token_loss, "fsdp2")
    return new_state(shared, small_batches(), small_config())


def test_a_job_of_one_rank_writes_shards_that_load_into_a_plain_model(one_rank: None, tmp_path: Path) -> None:
    state = sharded_state()
    save_state(tmp_path / "saved", state)
    with pytest.raises(ValueError, match="path must not exist yet"):
        save_state(tmp_path / "saved", state)
    plain = small_model()
    for parameter in plain.parameters():
        torch.nn.init.zeros_(parameter)
    load_weights(tmp_path / "saved", plain)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), small_model().parameters(), strict=True))
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "SHA256SUMS",
        "shard-00001-model-00001-of-00001.safetensors",
        "state.json",
    ], "safetensors and JSON, nothing that executes"


def test_a_damaged_or_incomplete_folder_of_shards_is_refused(one_rank: None, tmp_path: Path) -> None:
    state = sharded_state()
    before = torch.get_rng_state()
    for damage, complaint in (
        ("cut", r"must have the sha256 recorded in SHA256SUMS"),
        ("missing", r"must hold exactly"),
        ("extra", r"must hold exactly"),
        ("sums", r"must hold exactly"),
    ):
        folder = tmp_path / damage
        save_state(folder, state)
        shard = next(folder.glob("shard-*"))
        if damage == "cut":
            os.truncate(shard, shard.stat().st_size - 1)
        elif damage == "missing":
            save_file({"x": torch.zeros(1)}, folder / "shard-00002-model-00001-of-00001.safetensors")
            shard.unlink()
        elif damage == "extra":
            (folder / ".metadata").write_bytes(b"pickle")
        else:
            (folder / "SHA256SUMS").unlink()
        with pytest.raises(ValueError, match=complaint):
            load_state(folder, state)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_layers": 2}, "must hold every weight of the model; missing are some"),
        ({"vocab_size": 24}, r"embedding.tokens.weight must have the shape \(24, 8\), got \(23, 8\)"),
    ],
)
def test_shards_of_another_model_are_refused_before_anything_is_changed(
    changes: dict[str, Any], complaint: str, one_rank: None, tmp_path: Path
) -> None:
    save_state(tmp_path / "saved", sharded_state())
    for model in (small_model(**changes), parallelize(small_model(**changes), next_token_loss, "fsdp2")):
        before = {name: tensor.clone() for name, tensor in model_tensors(model).items()}
        with pytest.raises(ValueError, match=complaint):
            load_weights(tmp_path / "saved", model)
        for name, tensor in model_tensors(model).items():
            assert torch.equal(tensor, before[name])
    with pytest.raises(ValueError, match=r"settings\.model\.\w+ must equal this run's"):
        load_state(tmp_path / "saved", sharded_state(**changes))


def test_what_cannot_be_shared_is_said(one_rank: None) -> None:
    with pytest.raises(ValueError, match=r"parallel must be one of \('ddp', 'fsdp2'\), got 'tensor'"):
        parallelize(small_model(), next_token_loss, "tensor")
    sharded = parallelize(small_model(), next_token_loss, "fsdp2")
    assert isinstance(sharded, FSDPModule)
    with pytest.raises(ValueError, match=r"optimizer must not be Muon under fsdp2, .* got 'muon'"):
        new_state(sharded, small_batches(), small_config(optimizer="muon"))
    copies = parallelize(small_model(), next_token_loss, "ddp")
    assert new_state(copies, small_batches(), small_config(optimizer="muon")).optimizer.param_groups
