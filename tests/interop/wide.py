"""Hugging Face's code in float64: it casts norms and angles to float32 whatever its weights are."""

from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


class Float64(TorchFunctionMode):
    """Within it, whoever asks torch for float32, or for nothing, gets float64."""

    def __enter__(self) -> Self:
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        torch.set_default_dtype(torch.float32)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args, kwargs = (tree_map(_widened, part) for part in (args, kwargs or {}))
        return func(*args, **kwargs)


def _widened(value: object) -> object:
    return torch.float64 if value is torch.float32 else value
