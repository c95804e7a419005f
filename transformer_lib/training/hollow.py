"""Models without memory: a copy on the device "meta", and memory for it once each rank's part is known."""

import copy

import torch
from torch import Tensor, nn

from transformer_lib.contract import checked
from transformer_lib.training.parts import local_part


@checked
def hollow(model: nn.Module) -> nn.Module:
    """A copy of the model whose parameters, ties among them included, take no memory; buffers are copied."""
    parts = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, parts)  # which takes these for the copies of the parameters


@checked
def is_empty(model: nn.Module) -> bool:
    """Whether the model has a parameter or buffer without numbers."""
    return any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


@checked
@torch.no_grad()
def take_memory(model: nn.Module, device: torch.device) -> None:
    """Give a hollow model memory on the device, or this rank's parts if it is sharded.

    NaN stands there until it is filled, so that no step goes by unfilled. Tied weights stay tied.
    """
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            places.setdefault(id(parameter), []).append((module, name))

    def real(tensor: Tensor) -> Tensor:
        if not tensor.is_meta:
            return tensor.to(device)
        empty = torch.empty_like(tensor, device=device)
        local_part(empty).fill_(torch.nan if empty.is_floating_point() else 0)
        return empty

    model._apply(real)
    for (first, first_name), *others in places.values():
        for module, name in others:  # _apply has torn them apart
            setattr(module, name, getattr(first, first_name))
    model._apply(lambda tensor: tensor)  # FSDP2 looks again at what its parameters are
