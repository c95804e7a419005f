"""Hugging Face's folders of weights: safetensors, or what `torch.save` writes; in one file or in several with an index.

A safetensors file is a header in JSON (name, type, shape, place of each tensor) and the bytes; reading it executes
nothing, and a tensor takes memory only once its numbers are looked at. What `torch.save` writes is a pickle, which runs
whatever its author put in, unless it is read as `pickled` reads it; that is done where there are no safetensors.
"""

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.files import read_json, write_text
from transformer_lib.interop.pickled import load_pickled
from transformer_lib.tensor_files import load_tensors

with needed():
    from safetensors import SafetensorError
    from safetensors.torch import save_file

Named = dict[str, Tensor]
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
MOST_HEADER = 16 << 20  # bytes: room for 100,000 tensors in one file
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


@checked
def read_weights(folder: Path) -> Named:
    """Every tensor in the folder's weights, on the CPU; `ValueError` for a file that is missing, cut or extra."""
    require(folder.is_dir(), "folder", "must be a folder", str(folder))
    if (folder / INDEX).exists():
        return _read_shards(folder, INDEX, ".safetensors", _read_file)
    if (folder / SINGLE).exists():
        return _read_file(folder / SINGLE)
    if (folder / PICKLED_INDEX).exists():
        return _read_shards(folder, PICKLED_INDEX, ".bin", load_pickled)
    if (folder / PICKLED).exists():
        return load_pickled(folder / PICKLED)
    wanted = f"must hold {SINGLE}, {INDEX}, {PICKLED} or {PICKLED_INDEX}"
    raise ValueError(f"{folder} {wanted}, got {sorted(file.name for file in folder.iterdir())}")


@checked
def write_weights(folder: Path, tensors: Named, *, max_shard_bytes: int) -> None:
    """Write `model.safetensors`, or numbered shards of at most `max_shard_bytes` (a larger tensor alone) and an index.

    Tensors are stored in the order of their names; no two may share memory.
    """
    shards: list[Named] = [{}]
    for name, tensor in sorted(tensors.items()):
        if shards[-1] and _size([*shards[-1].values(), tensor]) > max_shard_bytes:
            shards.append({})
        shards[-1][name] = tensor.contiguous()
    if len(shards) == 1:
        _write_file(folder / SINGLE, shards[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_file(folder / file, shard)
        places |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": _size(tensors.values())}, "weight_map": places}
    write_text(folder / INDEX, json.dumps(index, indent=2) + "\n")


def _read_shards(folder: Path, index: str, ending: str, read: Callable[[Path], Named]) -> Named:
    listed = read_json(folder / index)
    places = listed.get("weight_map") if isinstance(listed, dict) else None
    named = isinstance(places, dict) and all(isinstance(file, str) for file in places.values())
    require(named, f"{folder / index}: weight_map", "must name the file of each tensor", type(places).__name__)
    assert isinstance(places, dict)
    files = sorted(set(places.values()))
    for file in files:
        # A name with a folder in it could make the reader open any file of the machine.
        plain = file == Path(file).name and "\\" not in file and file.endswith(ending)
        require(plain, f"{folder / index}: weight_map", f"must name *{ending} beside it, without folders", file)
        require((folder / file).is_file(), f"{folder / index}: weight_map", "must name files that are there", file)
    tensors: Named = {}
    for file in files:
        shard = read(folder / file)
        expected = {name for name, place in places.items() if place == file}
        missing, unknown = sorted(expected - shard.keys()), sorted(shard.keys() - expected)
        require(not missing, str(folder / file), f"must hold what {index} says; missing are", missing)
        require(not unknown, str(folder / file), f"must hold nothing that {index} does not list", unknown)
        tensors |= shard
    return tensors


def _read_file(file: Path) -> Named:
    require(file.is_file(), "weights", "must be a regular file", str(file))  # opening a pipe waits for a writer
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    rule = f"must be a safetensors file, whose header has at most {MOST_HEADER} bytes"
    require(header <= MOST_HEADER, str(file), rule, header)
    try:
        return load_tensors(file, finite=False)  # with the name of the weight, once its type is known
    except KeyError as error:  # a type of number that torch does not have
        raise ValueError(f"{file} must be a safetensors file: {error}") from error


def _write_file(file: Path, tensors: Named) -> None:
    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except SafetensorError as error:  # whatever the disk refuses
        raise OSError(f"{file} cannot be written: {error}") from error


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@checked
def common_type(tensors: Named, source: str) -> torch.dtype:
    """The narrowest type that holds the numbers of all of them; `ValueError` for what is no floating-point number.

    It is float32 where bfloat16 weights stand beside float32 norms, as fine-tuning may leave them.
    """
    types = sorted({str(tensor.dtype) for tensor in tensors.values()})
    known = {tensor.dtype for tensor in tensors.values()} <= set(FLOATS)
    require(known and bool(types), source, "must be stored as float64, float32, bfloat16 or float16", types)
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors.values()))


@checked
def not_finite(tensors: Named, dtype: torch.dtype) -> list[str]:
    """The names of the tensors that hold an infinite number or none at all, once they are of this type."""
    return [name for name, tensor in tensors.items() if not bool(tensor.to(dtype).isfinite().all())]
