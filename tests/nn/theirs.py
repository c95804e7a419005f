"""Layers of transformers as oracles: all their numbers in one type, and each of their weights redrawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn

from tests.oracles import normal

M = TypeVar("M", bound=nn.Module)


@contextmanager
def wholly_in(dtype: torch.dtype) -> Iterator[None]:
    """Where their code says float32 it computes in this type, so that float64 is float64 throughout."""
    with (
        patch.object(torch, "float32", dtype),
        patch.object(torch, "float", dtype),
        patch.object(Tensor, "float", lambda self: self.to(dtype)),
    ):
        yield


def redraw(theirs: M, dtype: torch.dtype = torch.float64, *, scale: float = 1.0) -> M:
    """Every parameter and buffer anew, as after training: what starts at 0 or 1 counts as well."""
    for seed, tensor in enumerate([*theirs.parameters(), *theirs.buffers()]):
        if tensor.is_floating_point():
            noise = normal(*tensor.shape, seed=seed)
            tensor.data = noise * scale / tensor.shape[-1] ** 0.5 if tensor.ndim > 1 else 1 + 0.3 * noise
    return theirs.to(dtype).eval()


def difference(mine: Tensor, theirs: Tensor) -> float:
    return float((mine - theirs).detach().abs().max())
