"""What a step needs to know when several processes train copies of one model, each on batches of its own.

`DistributedDataParallel` averages the gradients of all ranks, within the backward pass. Left out: starting the
processes, sharing out the data, checkpoints of such a run, and models split over ranks.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from transformer_lib.training.loss import LossSum


def without_exchange(model: nn.Module) -> AbstractContextManager[None]:
    """Forward and backward passes in here add to this rank's gradient only; the next one outside averages the sums."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def sum_over_ranks(loss: LossSum, model: nn.Module) -> tuple[LossSum, Tensor]:
    """The loss of all the ranks' tokens, and the count to divide `.grad` by, made with one exchange of two numbers.

    Where `.grad` holds an average over ranks, that is the average count.
    """
    if not isinstance(model, DistributedDataParallel):
        return loss, loss.count
    both = torch.stack([loss.total.double(), loss.count.double()])
    distributed.all_reduce(both, group=model.process_group)
    whole = LossSum(both[0].to(loss.total.dtype), both[1].to(loss.count.dtype))
    return whole, both[1] / distributed.get_world_size(model.process_group)
