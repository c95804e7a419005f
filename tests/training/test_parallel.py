"""Two processes that share out the batches take the step of one, and exchange gradients once a step."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import next_token_loss, run_together, small_batches, small_config, small_model, start_process
from torch import Tensor, distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from transformer_lib.training import accumulate, loop, new_state, train_step

LENGTHS = ((8, 3, 5), (1, 0, 2))  # counted tokens in each row of each rank's three batches
STEPS = 2


def batches_of(rank: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    batches = []
    for length in LENGTHS[rank]:
        inputs, targets = torch.randint(1, 23, (2, 2, 8), generator=generator)
        targets[:, length:] = 0  # ignored
        batches.append((inputs, targets))
    return batches


def take_steps(model: nn.Module, batches: list[Any]) -> dict[str, Any]:
    """The gradient, the losses and the weights of a few steps."""
    config = small_config()
    state = new_state(model, small_batches(), config)
    accumulate(model, next_token_loss, batches)
    gradient = [parameter.grad.clone() for parameter in model.parameters()]
    records = [train_step(state, next_token_loss, batches, config) for _ in range(STEPS)]
    sums = [(record.loss, record.tokens, record.gradient_norm) for record in records]
    return {"gradient": gradient, "sums": sums, "weights": [parameter.detach() for parameter in model.parameters()]}


def be_a_rank(rank: int, folder: Path) -> None:
    """Save what the steps gave, and how often gradients and other things were exchanged."""
    store = distributed.FileStore(str(folder / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    calls = {"gradients": 0, "all": 0}
    all_reduce = distributed.all_reduce

    def count_all(*arguments: Any, **options: Any) -> Any:
        calls["all"] += 1
        return all_reduce(*arguments, **options)

    def count_gradients(group: Any, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:
        calls["gradients"] += 1
        return allreduce_hook(group, bucket)

    distributed.all_reduce = count_all
    model = DistributedDataParallel(small_model(dropout=0.0).double())
    model.register_comm_hook(None, count_gradients)
    result = take_steps(model, batches_of(rank))
    torch.save(result | {"calls": calls}, folder / f"{rank}.pt")
    distributed.barrier()  # else the group may end before the thread that exchanged the last gradients: a deadlock
    distributed.destroy_process_group()


def test_two_ranks_with_unequal_tokens_take_the_step_of_one_process(tmp_path: Path) -> None:
    processes = [start_process(be_a_rank, rank, tmp_path) for rank in range(2)]
    run_together(processes)
    alone = take_steps(small_model(dropout=0.0).double(), [*batches_of(0), *batches_of(1)])
    assert alone["sums"][0][1] == 2 * sum(map(sum, LENGTHS))
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt")
        assert result["calls"] == {"gradients": 1 + STEPS, "all": 2 * (1 + STEPS)}, "once each, three batches or not"
        del result["calls"]
        torch.testing.assert_close(result, alone, atol=1e-10, rtol=0)


def test_accumulating_reads_no_value_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor on the device "meta" has no values: whoever wants to read one gets an error."""
    monkeypatch.setattr(loop, "_autocast", lambda *_: nullcontext())  # knows no such device
    model = small_model().to("meta")
    batches = [(inputs.to("meta"), targets.to("meta")) for inputs, targets in batches_of(0)]
    whole = accumulate(model, next_token_loss, batches)
    assert whole.count.device.type == "meta" and all(p.grad.shape == p.shape for p in model.parameters())
    with pytest.raises(RuntimeError, match="meta"):
        int(whole.count)


def test_no_batch_is_no_step() -> None:
    with pytest.raises(ValueError, match=r"batches must not be empty, got \[\]"):
        accumulate(small_model(), next_token_loss, [])


def draw_as_a_rank(rank: int, folder: Path, seed: int) -> None:
    store = distributed.FileStore(str(folder / f"store-{seed}"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    new_state(DistributedDataParallel(small_model()), small_batches(), small_config(seed=seed))
    torch.save(torch.rand(8), folder / f"{seed}-{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def test_no_rank_of_any_seed_draws_what_another_does(tmp_path: Path) -> None:
    """Seeds 2 and 3 of two ranks are four streams, the seeds 4 to 7 of torch's generator."""
    processes = [start_process(draw_as_a_rank, rank, tmp_path, seed) for seed in (2, 3) for rank in range(2)]
    for ranks in (processes[:2], processes[2:]):
        run_together(ranks)
    for seed, rank in ((2, 0), (2, 1), (3, 0), (3, 1)):
        expected = torch.rand(8, generator=torch.Generator().manual_seed(2 * seed + rank))
        assert torch.equal(torch.load(tmp_path / f"{seed}-{rank}.pt"), expected), (seed, rank)
