"""Named tensors on the disk, as safetensors: read and written so that nothing wrong goes in or comes out.

A safetensors file is a header, which names the tensors with their shapes and types, and their bytes; reading one
executes nothing. The header alone says how much memory a file asks for, so it is compared with the file's size, and
with what is to be filled, before any is taken. Left out: files of several processes (`training/sharded.py`).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.extras import needed

Named = dict[str, Tensor]


@checked
def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors to a file; `OSError` if the disk is full, `ValueError` if one is not finite."""
    with needed():
        from safetensors import SafetensorError
        from safetensors.torch import save_file

    check_finite(tensors, "tensors")
    possible = "\0" not in os.fspath(path) and not Path(path).is_dir()
    require(possible, "path", "must be one that a file can have", os.fspath(path))
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(f"{os.fspath(path)} could not be written: {error}") from error


@checked
def load_tensors(path: str | os.PathLike[str], *, finite: bool = True) -> Named:
    """The tensors of a safetensors file; `ValueError` naming the file if it is none, or the tensor that has no number.

    `finite=False` takes infinities and NaN as they are.
    """
    with needed():
        from safetensors import SafetensorError
        from safetensors.torch import load_file

    require(Path(path).is_file(), os.fspath(path), "must be a regular file", "something else")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} must be a safetensors file: {error}") from error
    if finite:
        check_finite(tensors, os.fspath(path))
    return tensors


@checked
def shapes_of(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a safetensors file, from its header alone."""
    with needed():
        from safetensors import SafetensorError, safe_open

    require(Path(path).is_file(), os.fspath(path), "must be a regular file", "something else")
    try:
        with safe_open(path, "pt") as stored:
            return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} must be a safetensors file: {error}") from error


@checked
def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise `ValueError` naming the tensor unless every number is finite."""
    for name, tensor in tensors.items():
        local: Any = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        if local.is_floating_point() and local.device.type != "meta":
            known = local.float() if local.itemsize == 1 else local  # torch has no isfinite for numbers of eight bits
            finite = bool(known.isfinite().all())
            require(finite, f"{source}: {name}", f"must be finite in {local.dtype}", "inf or nan")
