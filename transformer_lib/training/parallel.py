"""One model trained by several processes on `torch.distributed`, and what a step and a checkpoint must know of it.

"ddp" keeps the whole model on every rank and averages the gradients within the backward pass (Li et al. 2020). "fsdp2"
keeps 1/N of each weight, with its gradient and moments, on each of N ranks; a block's weights are gathered before it
runs and let go after it (Zhao et al. 2023, in torch's second form, `fully_shard`). Neither rounds: precision is
autocast's alone. Left out: starting the processes, sharing out the data, and splitting a matrix product (tensor
parallelism) or the layers (pipelines) over ranks.

FSDP2 runs on the CPU, too, over gloo; after five steps in float64 the weights are one process's to 1e-15 (torch 2.13).
Its limit here is Muon: torch's takes sharded matrices, but multiplies them in bfloat16 part by part, which rounds
otherwise than whole ones, and after five steps the weights are 1e-3 from one process's. `new_state` refuses the pair.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.nn.block import Block
from transformer_lib.nn.router import Load
from transformer_lib.training.loss import LossSum

Parallel = Literal["ddp", "fsdp2"]
T = TypeVar("T")


@checked
class WithLoss(nn.Module):
    """Model and loss as one module, because DDP and FSDP2 must see the whole forward pass."""

    def __init__(self, model: nn.Module, loss_fn: Callable[[nn.Module, Any], LossSum]) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Sum and count, as a tuple: what else holds tensors, FSDP2 does not look into."""
        loss = self.loss_fn(self.model, batch)
        return loss.total, loss.count


@checked
def call_with_loss(model: nn.Module, batch: Any) -> LossSum:
    """The loss function of what `parallelize` returns."""
    return LossSum(*model(batch))


@checked
def parallelize(model: nn.Module, loss_fn: Callable[[nn.Module, Any], LossSum], parallel: str) -> nn.Module:
    """Model and loss, to be trained by all ranks with `call_with_loss`; rank 0's weights are every rank's.

    "ddp" trains `model` itself. "fsdp2" trains a sharded copy and moves `model` to the CPU meanwhile; `take_back` gives
    it the weights. Raises `ValueError` for another word, or in a process that has not joined others.
    """
    require(parallel in get_args(Parallel), "parallel", f"must be one of {get_args(Parallel)}", parallel)
    require(distributed.is_initialized(), "parallel", "needs processes that have joined (init_process_group)", parallel)
    if parallel == "ddp":
        return DistributedDataParallel(WithLoss(model, loss_fn))
    shared = WithLoss(copy.deepcopy(model.cpu()), loss_fn)
    for module in [*shared.model.modules()]:
        if isinstance(module, Block):
            fully_shard(module)
            register_fsdp_forward_method(module, "project_memory")  # the one other door to a block's weights
    fully_shard(shared)
    _copy(model.state_dict(), shared.model.state_dict())
    return shared


@checked
def take_back(shared: nn.Module, model: nn.Module) -> None:
    """Give `model`, on every rank, the weights of what `parallelize` made of it, and its place beside them."""
    if isinstance(shared, FSDPModule):
        model.to(next(shared.parameters()).device)
        _copy(unwrapped(shared).state_dict(), model.state_dict())


@checked
def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside, whose weights have the names that they have without other processes or a compiler."""
    if isinstance(model, DistributedDataParallel):
        return unwrapped(model.module)
    if isinstance(model, WithLoss):
        return unwrapped(model.model)
    compiled = getattr(model, "_orig_mod", None)  # what torch.compile(model) gives; model.compile() wraps nothing
    return unwrapped(compiled) if isinstance(compiled, nn.Module) else model


@checked
def given_loss(model: nn.Module, loss_fn: Callable[..., Any]) -> Callable[..., Any]:
    """The loss function that was given to `parallelize`, or else `loss_fn` itself."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return inner.loss_fn if isinstance(inner, WithLoss) else loss_fn


@checked
def is_shared(model: nn.Module) -> bool:
    """Whether several processes train it, or could: a job of one rank is one, too."""
    return isinstance(model, DistributedDataParallel | FSDPModule)


@checked
def place_of(model: nn.Module) -> tuple[int, int]:
    """The number of this process among those that train the model, and how many there are."""
    return (distributed.get_rank(), distributed.get_world_size()) if is_shared(model) else (0, 1)


@checked
def first_says(model: nn.Module, ask: Callable[[], T]) -> T:
    """What rank 0 answers, on every rank, and only it is asked; if it raises a caller's error, all do."""
    if not is_shared(model):
        return ask()
    answer: list[Any] = [None]
    if distributed.get_rank() == 0:
        try:
            answer = [ask()]
        except (ValueError, OSError) as error:
            answer = [error]
    distributed.broadcast_object_list(answer)
    if isinstance(answer[0], Exception):
        raise answer[0]
    said: T = answer[0]
    return said


# Within a step --------------------------------------------------------------------------------------------------------


@checked
def without_exchange(model: nn.Module) -> AbstractContextManager[None]:
    """Forward and backward passes in here add to this rank's gradient only; the next one outside averages the sums.

    Not under FSDP2, where it would need room for the whole gradient: each pass leaves the average of its parts.
    """
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


@checked
def sum_over_ranks(loss: LossSum, model: nn.Module) -> tuple[LossSum, Tensor]:
    """The loss of all the ranks' tokens, and the count to divide `.grad` by, made with one exchange of two numbers.

    Where `.grad` holds an average over ranks, that is the average count.
    """
    if not is_shared(model):
        return loss, loss.count
    group = model.process_group if isinstance(model, DistributedDataParallel) else None
    both = torch.stack([loss.total.double(), loss.count.double()])
    distributed.all_reduce(both, group=group)
    whole = LossSum(both[0].to(loss.total.dtype), both[1].to(loss.count.dtype))
    return whole, both[1] / distributed.get_world_size(group)


@checked
def sum_loads(loads: Sequence[Load | None], model: nn.Module) -> None:
    """Give the loads the counts of all ranks' tokens, from which `Router.rebalance` makes one correction for all ranks.

    One exchange for all layers. The probabilities stay those of this rank's tokens, as its gradients do.
    """
    mine = [load for load in loads if load is not None]
    if not mine or not is_shared(model):
        return
    whole = torch.cat([part for load in mine for part in (load.counts, load.tokens[None])])
    distributed.all_reduce(whole, group=model.process_group if isinstance(model, DistributedDataParallel) else None)
    for load, part in zip(mine, whole.split([len(load.counts) + 1 for load in mine]), strict=True):
        load.counts, load.tokens = part[:-1], part[-1]


@checked
def let_go(model: nn.Module) -> None:
    """After a forward pass alone FSDP2's outermost weights are still gathered: leave each rank its part again."""
    if isinstance(model, FSDPModule):
        model.reshard()


# Whole tensors and parts ----------------------------------------------------------------------------------------------


@checked
def gather(tensor: Tensor) -> Tensor:
    """The whole tensor, on every rank."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@checked
def share_like(tensor: Tensor, own: Tensor) -> Tensor:
    """This rank's part of rank 0's whole tensor, if `own` is stored in parts."""
    if not isinstance(own, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, own in target.items():
        own.copy_(share_like(source[name], own) if isinstance(own, DTensor) else gather(source[name]))
