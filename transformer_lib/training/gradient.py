"""A gradient that is an average over ranks, in parts or whole: its division by a count, and its clipping.

One operation for all tensors that stand on the same ranks, and no number is read: the processor need not wait for the
device (Pascanu et al. 2013 for clipping by the norm).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from transformer_lib.contract import checked
from transformer_lib.training.parts import by_grid, gather, local_part


@checked
def gradients_of(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients that are there, each once."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


@checked
@torch.no_grad()
def divide_(tensors: list[Tensor], count: Tensor) -> None:
    """Divide every number of the tensors by `count`, in place."""
    if tensors:
        torch._foreach_div_([local_part(tensor) for tensor in tensors], count)


@checked
@torch.no_grad()
def clip_(tensors: list[Tensor], most: float | None) -> Tensor:
    """The norm of all the tensors' numbers together, which are scaled to the norm `most` if it is above; on all ranks.

    None leaves them.
    """
    norms = [gather(nn.utils.get_total_norm(group)) for group in by_grid(tensors)]
    norm = norms[0] if len(norms) == 1 else nn.utils.get_total_norm(norms)
    if most is not None:
        factor = torch.clamp(most / (norm + 1e-6), max=1.0)  # as torch's clip_grad_norm_ does
        torch._foreach_mul_([local_part(tensor) for tensor in tensors], factor)
    return norm
