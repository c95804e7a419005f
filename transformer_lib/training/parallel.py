"""One model trained by several processes on `torch.distributed`, and what a step and a checkpoint must know of it.

`layout.py` says how the processes stand. With `Copies` each keeps the whole model and the gradients are averaged within
the backward pass. With `Shards` each keeps a part of every weight, with its gradient and moments; a block's weights are
gathered before it runs and let go after it (torch's `fully_shard`). The sharded model is laid out before it takes any
memory, and is filled a tensor at a time. Left out: starting the processes, and sharing out the data (`share.py`).

FSDP2 runs on the CPU, too, over gloo; after five steps in float64 the weights are one process's to 1e-15 (torch 2.13).
Its limit here is Muon, whose products are of whole matrices (`newton_schulz.py`): `new_state` refuses the pair.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.nn.block import Block
from transformer_lib.nn.router import Load
from transformer_lib.training.deferred import Deferred
from transformer_lib.training.hollow import hollow, is_empty, take_memory
from transformer_lib.training.layout import Copies, Layout, Shards, grid_of_ranks, layout_from
from transformer_lib.training.layout import Parallel as Parallel
from transformer_lib.training.loss import LossSum
from transformer_lib.training.parts import gather, share_like, with_rows
from transformer_lib.training.tensor_parallel import row_orders, share_products

T = TypeVar("T")
NO_ORDERS: dict[str, Tensor] = {}


@checked
class WithLoss(nn.Module):
    """Model and loss as one module, because DDP and FSDP2 must see the whole forward pass.

    `grid` is how the ranks stand if they keep parts. `readers` read other batches than this rank does, `orders` says of
    some weights in which order their rows are stored (`row_orders`).
    """

    def __init__(
        self, model: nn.Module, loss_fn: Callable[[nn.Module, Any], LossSum], grid: DeviceMesh | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn
        self.tensor_ranks, self.readers, self.orders = 1, None, NO_ORDERS
        self.rounding: dict[str, str] = {}  # `Shards.rounding`
        if grid is not None and grid["tensor"].size() > 1:
            self.tensor_ranks = grid["tensor"].size()
            self.readers = grid["replicas", "shards"]._flatten("readers").get_group()
            self.orders = row_orders(model, self.tensor_ranks)

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Sum and count, as a tuple: what else holds tensors, FSDP2 does not look into."""
        loss = self.loss_fn(self.model, batch)
        return loss.total, loss.count


@checked
def call_with_loss(model: nn.Module, batch: Any) -> LossSum:
    """The loss function of what `parallelize` returns."""
    return LossSum(*model(batch))


@checked
def parallelize(
    model: nn.Module | Deferred[Any], loss_fn: Callable[[nn.Module, Any], LossSum], parallel: str | Layout
) -> nn.Module:
    """Model and loss, to be trained by all ranks with `call_with_loss`; rank 0's weights are every rank's.

    `parallel` is a layout or its words (`layout_from`). `Copies`, "ddp", trains `model` itself. `Shards`, "fsdp2",
    trains a sharded copy and moves `model` to the CPU meanwhile; `take_back` gives it the weights. What no process can
    hold whole is a `Deferred`, whose weights each rank draws a tensor at a time and keeps its part of, or a model on
    "meta": its weights are NaN until a checkpoint is loaded. Only rank 0's `model` needs weights.

    Raises `ValueError` for other words, in a process that has not joined others, or for a number of them, heads or
    hidden units that the layout does not divide.
    """
    layout = layout_from(parallel) if isinstance(parallel, str) else parallel
    require(distributed.is_initialized(), "parallel", "needs processes that have joined (init_process_group)", parallel)
    match layout:
        case Copies():
            whole = model.whole().to(_device(model.model)) if isinstance(model, Deferred) else model
            require(not is_empty(whole), "model", "must have its weights, which each rank copies, not be on", "meta")
            return DistributedDataParallel(WithLoss(whole, loss_fn))
        case Shards():
            return _shard(model, loss_fn, layout)


@checked
def take_back(shared: nn.Module, model: nn.Module) -> None:
    """Give `model`, on every rank, the weights of what `parallelize` made of it, and its place beside them.

    `ValueError` for a model on "meta": one that needs shards to be trained is saved in shards, and `consolidate` makes
    a file of them.
    """
    if isinstance(shared, FSDPModule):
        rule = "must have memory of its own; for a model that is too large, save_state and consolidate"
        require(not is_empty(model), "model", rule, "meta")
        model.to(next(shared.parameters()).device)
        own, orders = model.state_dict(), orders_of(shared)
        with torch.no_grad():
            for name, tensor in unwrapped(shared).state_dict().items():
                order = orders.get(name)
                own[name].copy_(gather(with_rows(tensor, None if order is None else order.argsort())))


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
    """The number of this process among those that read batches of their own, and how many there are.

    Ranks that share matrix products read the same batches, and have the same number.
    """
    if not is_shared(model):
        return 0, 1
    together = model.tensor_ranks if isinstance(model, WithLoss) else 1
    return distributed.get_rank() // together, distributed.get_world_size() // together


@checked
def is_first(model: nn.Module) -> bool:
    """Whether this process is the one that writes what is written once."""
    return not is_shared(model) or distributed.get_rank() == 0


@checked
def orders_of(model: nn.Module) -> dict[str, Tensor]:
    """By the names of weights whose rows are stored in another order: which row of the model's comes where."""
    return model.orders if isinstance(model, WithLoss) else NO_ORDERS


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
def readers_of(model: nn.Module) -> distributed.ProcessGroup | None:
    """The ranks that read different batches, over which losses and counts are summed; None for all of the job."""
    if isinstance(model, DistributedDataParallel):
        return model.process_group
    return model.readers if isinstance(model, WithLoss) else None


@checked
def sum_over_ranks(loss: LossSum, model: nn.Module) -> tuple[LossSum, Tensor]:
    """The loss of all the ranks' tokens, and the count to divide `.grad` by, made with one exchange of two numbers.

    Where `.grad` holds an average over ranks, that is the average count.
    """
    if not is_shared(model):
        return loss, loss.count
    group = readers_of(model)
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
    distributed.all_reduce(whole, group=readers_of(model))
    for load, part in zip(mine, whole.split([len(load.counts) + 1 for load in mine]), strict=True):
        load.counts, load.tokens = part[:-1], part[-1]


@checked
def let_go(model: nn.Module) -> None:
    """After a forward pass alone FSDP2 still holds the weights that it keeps for the way back: leave each its part."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


# Laying out and filling -----------------------------------------------------------------------------------------------


def _shard(model: nn.Module | Deferred[Any], loss_fn: Callable[..., LossSum], layout: Shards) -> nn.Module:
    inner = model.model if isinstance(model, Deferred) else model
    device = _device(inner)
    grid = grid_of_ranks(layout, device.type)
    shared = WithLoss(hollow(inner), loss_fn, grid)
    shared.rounding = layout.rounding()
    if layout.tensor > 1:
        grid["shards", "tensor"]._flatten("parts")  # so that torch adds up a norm over both at once
        share_products(shared.model, grid["tensor"])
    _cut_blocks(shared, grid, layout)
    take_memory(shared, device)
    if isinstance(model, Deferred):
        own, generator = unwrapped(shared).state_dict(), first_says(shared, lambda: model.generator)
        model.draw(lambda name, whole: _put(whole, own[name], shared.orders.get(name)), generator=generator)
    elif first_says(shared, lambda: not is_empty(model)):
        model.cpu()
        _send_from_first(model, shared)
    return shared


def _device(model: nn.Module) -> torch.device:
    """Where ranks keep their parts: each on the GPU that is its own, or where the model is."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    device = next(model.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


def _cut_blocks(shared: WithLoss, grid: DeviceMesh, layout: Shards) -> None:
    """Every block is one exchange, and so is all that stands outside of blocks."""
    gathered = torch.bfloat16 if layout.gather == "bfloat16" else None
    reduced = torch.bfloat16 if layout.reduce == "bfloat16" else next(shared.parameters()).dtype
    options: dict[str, Any] = {
        "mesh": grid["replicas", "shards"] if layout.replicas > 1 else grid["shards"],
        # Inputs stay as they are: the embedding already gives vectors in the type of the gathered weights.
        "mp_policy": MixedPrecisionPolicy(param_dtype=gathered, reduce_dtype=reduced, cast_forward_inputs=False),
    }
    for module in [*shared.model.modules()]:
        if isinstance(module, Block):
            fully_shard(module, reshard_after_forward=layout.after_forward == "release", **options)
            register_fsdp_forward_method(module, "project_memory")  # the one other door to a block's weights
    # The outermost weights are needed first on the way back, so they are kept in any case.
    fully_shard(shared, reshard_after_forward=False, **options)


@torch.no_grad()
def _put(whole: Tensor, own: Tensor, order: Tensor | None) -> None:
    own.copy_(share_like(with_rows(whole, order), own))


def _send_from_first(model: nn.Module, shared: WithLoss) -> None:
    """Fill all ranks' parts with rank 0's weights; a tensor at a time is whole."""
    source = model.state_dict()
    for name, own in unwrapped(shared).state_dict().items():
        whole = torch.empty(own.shape, dtype=own.dtype, device=own.device)
        if distributed.get_rank() == 0:
            whole.copy_(source[name])
        distributed.broadcast(whole, 0)
        _put(whole, own, shared.orders.get(name))
