"""Wrong and strange values, each under a name, so that a failing call can be written down in one line.

Each is made from the valid value that it replaces: a tensor of one more axis needs a tensor to begin with. Where it
cannot be (no tensor, no list), a value of that sort is made from nothing.
"""

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

MISSING = "missing"  # the argument is left out
UNKNOWN = "no_such_argument"  # an argument by this name is added


def _tensor(valid: Any) -> Tensor:
    return valid.clone() if isinstance(valid, Tensor) else torch.arange(6.0).reshape(2, 3)


def _like(change: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    """Apply a change to a tensor; an array goes through a tensor and comes back."""

    def strange(valid: Any) -> Any:
        if isinstance(valid, np.ndarray):
            return change(torch.from_numpy(valid.copy())).numpy()
        return change(_tensor(valid))

    return strange


def _other_type(x: Tensor) -> Tensor:
    return x.long() if x.is_floating_point() else x.float()


def _longer(x: Tensor) -> Tensor:
    return torch.cat([x, x[..., -1:]], dim=-1) if x.ndim else x[None]


def _taller(x: Tensor) -> Tensor:
    return torch.cat([x, x[-1:]]) if x.ndim else x[None]


def _with_item(item: Any) -> Callable[[Any], Any]:
    """A container with one item replaced: the first, or the value of the first key."""

    def strange(valid: Any) -> Any:
        match valid:
            case dict():
                return {**valid, next(iter(valid), "key"): item}
            case tuple() if hasattr(valid, "_replace"):
                return valid._replace(**{valid._fields[0]: item})
            case tuple():
                return (item, *valid[1:])
            case list():
                return [item, *valid[1:]]
            case _:
                return [item]

    return strange


def _shorter(valid: Any) -> Any:
    return dict(list(valid.items())[1:]) if isinstance(valid, dict) else list(valid)[1:] if _is_list(valid) else []


def _repeated(valid: Any) -> Any:
    return [*valid, *valid] if _is_list(valid) else [valid, valid]


def _is_list(valid: Any) -> bool:
    return isinstance(valid, list | tuple)


CONSTANTS: dict[str, Any] = {
    "None": None,
    "''": "",
    "'strange'": "strange",
    "'\\x00'": "\x00",
    "bytes": b"strange",
    "True": True,
    "False": False,
    "[]": [],
    "[1]": [1],
    "[[1,2]]": [[1, 2]],
    "[[1,2],[3]]": [[1, 2], [3]],
    "()": (),
    "{}": {},
    "{1:2}": {1: 2},
    "object": object(),
    "module": math,
    "class": int,
    "0": 0,
    "1": 1,
    "-1": -1,
    "2**31": 2**31,
    "2**63": 2**63,
    "10**30": 10**30,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "1e308": 1e308,
    "1e-46": 1e-46,
    "0.5": 0.5,
    "-0.5": -0.5,
    "1j": 1j,
}
STRANGE: dict[str, Callable[[Any], Any]] = {
    **{name: (lambda valid, value=value: value) for name, value in CONSTANTS.items()},
    "one axis more": _like(lambda x: x[None]),
    "one axis less": _like(lambda x: x[0] if x.ndim and len(x) else x.sum()),
    "last axis longer": _like(_longer),
    "first axis longer": _like(_taller),
    "empty tensor": _like(lambda x: x[:0] if x.ndim else x[None][:0]),
    "no last axis": _like(lambda x: x[..., :0] if x.ndim else x[None][:0]),
    "number as tensor": _like(lambda x: x.new_ones(())),
    "other dtype": _like(_other_type),
    "bool dtype": _like(lambda x: x.bool()),
    "complex dtype": _like(lambda x: x.to(torch.complex64)),
    "half dtype": _like(lambda x: x.half()),
    "double dtype": _like(lambda x: x.double()),
    "uint8 dtype": _like(lambda x: x.to(torch.uint8)),
    "negative tensor": _like(lambda x: -x - 1 if x.dtype != torch.bool else ~x),
    "huge tensor": _like(lambda x: x * 0 + 10**9 if x.dtype != torch.bool else ~x),
    "meta device": lambda valid: _tensor(valid).to("meta"),
    "transposed": _like(lambda x: x.swapaxes(0, -1) if x.ndim else x),
    "needs gradient": lambda valid: _tensor(valid).float().requires_grad_(),
    "as list": lambda valid: valid.tolist() if hasattr(valid, "tolist") else [valid],
    "as array": lambda valid: valid.numpy() if isinstance(valid, Tensor) else np.arange(6.0).reshape(2, 3),
    "as tensor": lambda valid: torch.from_numpy(valid) if isinstance(valid, np.ndarray) else torch.zeros(2, 3),
    "item None": _with_item(None),
    "item -1": _with_item(-1),
    "item 10**30": _with_item(10**30),
    "item nan": _with_item(math.nan),
    "item ''": _with_item(""),
    "item []": _with_item([]),
    "item tensor": _with_item(torch.zeros(2, 3)),
    "one item less": _shorter,
    "twice": _repeated,
    "text twice": lambda valid: f"{valid}{valid}",
    "as text": str,
    # But for functions: their class can be called, and what it raises then is no fault of whoever calls it.
    "type of it": lambda valid: valid if isinstance(valid, FunctionType) else type(valid),
}
