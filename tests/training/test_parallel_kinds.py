"""Two processes train a stack of many kinds of layers, with its balancing of experts, as one process does."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import run_together, small_batches, small_config, small_model, start_process
from torch import Tensor, distributed, nn

from transformer_lib.config import AttentionConfig, Experts, GatedDelta, LatentAttention, LayerConfig, LinearAttention
from transformer_lib.models import DecoderLM
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.router import Load
from transformer_lib.training import LossSum, new_state, token_loss, train_step
from transformer_lib.training.parallel import call_with_loss, parallelize, place_of, sum_loads, take_back, unwrapped

EXPERTS = Experts(num_experts=4, top_k=2, d_ff=6, router="sigmoid", correction=True)
PATTERN = (
    LayerConfig(attention=GatedDelta(num_heads=2, key_dim=3, value_dim=4)),
    LayerConfig(attention=LatentAttention(num_heads=2, head_dim=3, rope_dim=2, value_dim=4, kv_rank=5)),
    LayerConfig(attention=LinearAttention(num_heads=2)),
    LayerConfig(attention=AttentionConfig(num_heads=2, window=3, sinks=True), feedforward=EXPERTS),
    LayerConfig(feedforward=dataclasses.replace(EXPERTS, router="softmax")),
)
STEPS, RANKS = 3, 2
WAYS = ("ddp", "fsdp2", "fsdp2:tensor=2")  # of the last, most layers here are computed whole by each rank


class Balanced:
    """The loss of the next token and that of the balance; the loads of all its batches are kept for the correction."""

    def __init__(self) -> None:
        self.loads: list[list[Load | None]] = []

    def __call__(self, model: DecoderLM, batch: tuple[Tensor, Tensor]) -> LossSum:
        inputs, targets = batch
        loads = model.new_loads()
        loss = token_loss(model(inputs, loads=loads), targets, ignore=0)
        balance = torch.stack([load.balancing_loss() for load in loads if load is not None]).sum()
        self.loads.append(loads)
        return LossSum(loss.total + 0.1 * balance * loss.count, loss.count)

    def pooled(self) -> list[Load | None]:
        """The counts of each layer, of all batches since the last time."""
        layers: list[Load | None] = []
        for parts in zip(*self.loads, strict=True):
            load = None if parts[0] is None else Load(EXPERTS.num_experts)
            for part in parts:
                if load is not None and part is not None:
                    load.counts, load.tokens = load.counts + part.counts, load.tokens + part.tokens
            layers.append(load)
        self.loads = []
        return layers


def batches_of(rank: int, step: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(10 * step + rank)
    return [tuple(torch.randint(1, 23, (2, 2, 8), generator=generator)) for _ in range(2)]  # type: ignore[misc]


def make() -> DecoderLM:
    return small_model(dropout=0.0, num_layers=5, pattern=PATTERN).double()


def take_steps(model: nn.Module, loss_fn: Any, balanced: Balanced, ranks: tuple[int, ...]) -> list[Any]:
    config = small_config()
    state, records = new_state(model, small_batches(), config), []
    for step in range(STEPS):
        batches = [batch for rank in ranks for batch in batches_of(rank, step)]
        records.append(train_step(state, loss_fn, batches, config))
        loads = balanced.pooled()
        sum_loads(loads, model)
        for block, load in zip(unwrapped(model).blocks, loads, strict=True):
            if load is not None:
                assert isinstance(block.feedforward, MixtureOfExperts)
                block.feedforward.router.rebalance(load, rate=0.05)
        records.append([None if load is None else (load.counts.tolist(), int(load.tokens)) for load in loads])
    return records


def be_a_rank(rank: int, folder: Path) -> None:
    store = distributed.FileStore(str(folder / "store"), RANKS)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    for way in WAYS:
        model, balanced = make(), Balanced()
        shared = parallelize(model, balanced, way)
        mine = (rank,) if place_of(shared)[1] == RANKS else tuple(range(RANKS))
        records = take_steps(shared, call_with_loss, balanced, mine)
        take_back(shared, model)
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        torch.save({"records": [str(record) for record in records[1::2]], "state": state}, folder / f"{way}-{rank}.pt")
    distributed.barrier()  # else the group may end before the thread that exchanged the last gradients: a deadlock
    distributed.destroy_process_group()


def test_two_ranks_train_a_stack_of_many_kinds_as_one_process_does(tmp_path: Path) -> None:
    processes = [start_process(be_a_rank, rank, tmp_path) for rank in range(RANKS)]
    run_together(processes)
    alone, balanced = make(), Balanced()
    before = {name: tensor.clone() for name, tensor in alone.state_dict().items()}
    records = take_steps(alone, balanced, balanced, tuple(range(RANKS)))
    state = alone.state_dict()
    still = [name for name, tensor in state.items() if torch.equal(tensor, before[name])]
    assert still == [], "each weight has moved, and the corrections too"
    for way in WAYS:
        for rank in range(RANKS):
            found = torch.load(tmp_path / f"{way}-{rank}.pt")
            assert found["records"] == [str(record) for record in records[1::2]], "the counts of all ranks"
            torch.testing.assert_close(found["state"], dict(state), atol=1e-10, rtol=0)


def test_a_load_in_one_process_stays_what_it_is() -> None:
    load = Load(3)
    load.counts += torch.tensor([1, 2, 3])
    sum_loads([None, load], make())
    assert load.counts.tolist() == [1, 2, 3]
    with pytest.raises(TypeError, match="loads"):
        sum_loads(load, make())  # type: ignore[arg-type]
