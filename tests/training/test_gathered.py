"""Weights gathered in bfloat16: the numbers of a rounded model, with parts and gradients as they were."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import next_token_loss, run_together, small_batches, small_config, small_model, start_process
from torch import Tensor, distributed

from transformer_lib.training import accumulate, evaluate, load_state, new_state, save_state
from transformer_lib.training.layout import Shards
from transformer_lib.training.parallel import call_with_loss, parallelize
from transformer_lib.training.parts import gather

SHAPE: dict[str, Any] = {"num_layers": 2, "dropout": 0.0}


def batch_of(rank: int) -> tuple[Tensor, Tensor]:
    inputs, targets = torch.randint(1, 23, (2, 2, 8), generator=torch.Generator().manual_seed(rank))
    targets[:, 5 + rank :] = 0  # ignored
    return inputs, targets


def be_a_rank(rank: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(folder / "store"), 2), rank=rank, world_size=2
    )
    for name, layout in (("wide", Shards(gather="bfloat16")), ("narrow", Shards(gather="bfloat16", reduce="bfloat16"))):
        shared = parallelize(small_model(**SHAPE), next_token_loss, layout)
        accumulate(shared, call_with_loss, [batch_of(rank)])
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in shared.parameters())
        gradient = [gather(p.grad) for p in shared.parameters()]
        loss = evaluate(shared, call_with_loss, [batch_of(rank)])
        torch.save((gradient, loss), folder / f"{name}-{rank}.pt")
        state = new_state(shared, small_batches(), small_config())
        assert state.settings["sharding"] == layout.rounding()
        save_state(folder / name, state)
        if name == "narrow":
            with pytest.raises(ValueError, match=r"settings\.sharding\.reduce must equal this run's 'bfloat16'"):
                load_state(folder / "wide", state)
            load_state(folder / "wide", state, change=["sharding"])
    distributed.barrier()  # else the group may end before the thread that exchanged the last gradients: a deadlock
    distributed.destroy_process_group()


def test_gathering_in_bfloat16_rounds_the_weights_and_nothing_else(tmp_path: Path) -> None:
    """The gradient is that of the rounded model, added up over ranks in float32, or in bfloat16."""
    run_together([start_process(be_a_rank, rank, tmp_path) for rank in range(2)])
    rounded = [small_model(**SHAPE).bfloat16() for _ in range(2)]
    losses = [next_token_loss(model, batch_of(rank)) for rank, model in enumerate(rounded)]
    for loss in losses:
        loss.total.backward()
    count = sum(int(loss.count) for loss in losses) / 2
    both = list(zip(*(model.parameters() for model in rounded), strict=True))
    wide = [(a.grad.float() + b.grad.float()) / 2 / count for a, b in both]
    for rank in range(2):
        found, loss = torch.load(tmp_path / f"wide-{rank}.pt")
        torch.testing.assert_close(found, wide, atol=1e-7, rtol=1e-6)
        assert loss == pytest.approx(float(losses[rank].mean().detach()), abs=1e-6)
        narrow, _ = torch.load(tmp_path / f"narrow-{rank}.pt")
        torch.testing.assert_close(narrow, wide, atol=1e-6, rtol=2**-6)
        assert any(not torch.equal(a, b) for a, b in zip(narrow, wide, strict=True)), "bfloat16 rounds what it adds"
