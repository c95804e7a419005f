"""One file of a model's weights from the shards of a checkpoint, made by one process that never holds the model.

    python -m transformer_lib consolidate runs/large/training/step-00001000 model.safetensors

The file is safetensors: eight bytes with the length of a header, the header in JSON, which says of each tensor its
type, its shape and where its bytes begin and end, and then the bytes. So it can be written front to back, a few tensors
at a time. The optimiser's moments stay in the checkpoint, from which any number of processes goes on training.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.files import new_file
from transformer_lib.tensor_files import Named, check_finite
from transformer_lib.training.checkpoint import read_about
from transformer_lib.training.sharded import read_shards, stored_like
from transformer_lib.training.state import is_of_training

AT_ONCE = 4 << 30  # bytes that are read together: fewer would open the files more often
TYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@checked
def consolidate(checkpoint: str | Path, file: str | Path, *, at_once: int = AT_ONCE) -> None:
    """Write the model of a checkpoint, in shards or not, as the safetensors file `file`, whole or not at all.

    The tensors have the names, types and numbers that they have in the model alone. Memory is taken for `at_once` bytes
    of them, or for the largest. Raises `ValueError` for a checkpoint that is damaged or none, or a number that is not
    finite; an older file is replaced.
    """
    require_positive(at_once=at_once)
    folder = Path(checkpoint)
    read_about(folder)
    stored = {name: one for name, one in sorted(stored_like(folder).items()) if not is_of_training(name)}
    for name, one in stored.items():
        require(
            one.dtype in TYPE_NAMES, f"{folder}: {name}", f"must have a type among {[*TYPE_NAMES.values()]}", one.dtype
        )
    with new_file(Path(file)) as partial, partial.open("wb") as out:
        out.write(_header(stored))
        for some in _together(stored, at_once):
            tensors = {name: torch.empty(one.shape, dtype=one.dtype, device="cpu") for name, one in some.items()}
            read_shards(folder, tensors, alone=True)
            check_finite(tensors, str(folder))
            for tensor in tensors.values():
                out.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


def _header(stored: Named) -> bytes:
    """The file's beginning, filled with spaces to a multiple of eight bytes, so that the numbers are aligned."""
    end, entries = 0, {}
    for name, one in stored.items():
        start, end = end, end + _size(one)
        entries[name] = {"dtype": TYPE_NAMES[one.dtype], "shape": list(one.shape), "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}} | entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _together(stored: Named, at_once: int) -> Iterator[Named]:
    """The tensors in order, as many at a time as have `at_once` bytes, and at least one."""
    some: Named = {}
    taken = 0
    for name, one in stored.items():
        if some and taken + _size(one) > at_once:
            yield some
            some, taken = {}, 0
        some[name] = one
        taken += _size(one)
    if some:
        yield some


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.itemsize
