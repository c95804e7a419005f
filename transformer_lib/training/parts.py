"""Whole tensors and the parts of them that ranks keep: cutting and gathering, one tensor at a time.

A part knows where it belongs (`DTensor`). The rows of a few weights are in another order while ranks share their
product (`tensor_parallel.py`); in what is saved and handed over they are in the model's own.
"""

from collections.abc import Iterable

from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

from transformer_lib.contract import checked


@checked
def gather(tensor: Tensor) -> Tensor:
    """The whole tensor, on every rank; all ranks call this together."""
    if not isinstance(tensor, DTensor):
        return tensor
    for axis in range(1, tensor.device_mesh.ndim):  # over one axis of the grid after the other, as torch would warn
        placements = [Replicate()] * axis + [*tensor.placements[axis:]]
        tensor = tensor if tensor.placements[0].is_partial() else tensor.redistribute(placements=placements)
    return tensor.full_tensor()


@checked
def share_like(tensor: Tensor, own: Tensor) -> Tensor:
    """This rank's part of a whole tensor, which all ranks have alike, if `own` is stored in parts; nothing is sent."""
    if not isinstance(own, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


@checked
def local_part(tensor: Tensor) -> Tensor:
    """What this process keeps of the tensor, as a plain one on the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@checked
def by_grid(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """The tensors that stand on the same ranks together, plain ones too: torch takes no others into one operation."""
    groups: dict[object, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device_mesh if isinstance(tensor, DTensor) else None, []).append(tensor)
    return list(groups.values())


@checked
def with_rows(tensor: Tensor, order: Tensor | None) -> Tensor:
    """The tensor with row `order[i]` in place i, in parts if it was; None leaves it. All ranks call this together.

    The one tensor is whole on each rank for a moment.
    """
    if order is None or tensor.dim() == 0:
        return tensor
    return share_like(gather(tensor)[order.to(tensor.device)], tensor)
