"""Hugging Face's folders of weights: safetensors, in one file or in several with an index.

A safetensors file is a header in JSON (name, type, shape, place of each tensor) and the bytes; reading it executes
nothing. What `torch.save` writes is a pickle, which runs whatever its author put in: it is refused.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.files import read_json

Named = dict[str, Tensor]
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@checked
def read_weights(folder: Path) -> Named:
    """Every tensor in the folder's safetensors, on the CPU; `ValueError` for a file that is missing, cut or extra."""
    if (folder / INDEX).exists():
        return _read_shards(folder)
    if not (folder / SINGLE).exists():
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        if pickles:
            reason = "must hold safetensors; a pickle runs code when it is read, and is not opened"
            raise ValueError(f"{folder} {reason}, got {pickles}")
        raise ValueError(
            f"{folder} must hold {SINGLE} or {INDEX}, got {sorted(file.name for file in folder.iterdir())}"
        )
    return _read_file(folder / SINGLE)


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
        save_file(shards[0], folder / SINGLE, metadata={"format": "pt"})
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": _size(tensors.values())}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _read_shards(folder: Path) -> Named:
    index = read_json(folder / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    listed = isinstance(places, dict) and all(isinstance(file, str) for file in places.values())
    require(listed, f"{folder / INDEX}: weight_map", "must name the file of each tensor", type(places).__name__)
    assert isinstance(places, dict)
    files = sorted(set(places.values()))
    for file in files:
        # A name with a folder in it could make the reader open any file of the machine.
        plain = file == Path(file).name and "\\" not in file and file.endswith(".safetensors")
        require(plain, f"{folder / INDEX}: weight_map", "must name *.safetensors beside it, without folders", file)
        require((folder / file).is_file(), f"{folder / INDEX}: weight_map", "must name files that are there", file)
    tensors: Named = {}
    for file in files:
        shard = _read_file(folder / file)
        expected = {name for name, place in places.items() if place == file}
        missing, unknown = sorted(expected - shard.keys()), sorted(shard.keys() - expected)
        require(not missing, str(folder / file), f"must hold what {INDEX} says; missing are", missing)
        require(not unknown, str(folder / file), f"must hold nothing that {INDEX} does not list", unknown)
        tensors |= shard
    return tensors


def _read_file(file: Path) -> Named:
    try:
        return load_file(file)
    except (SafetensorError, KeyError) as error:  # KeyError: a type of number that torch does not have
        raise ValueError(f"{file} must be a whole safetensors file: {error}") from error


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@checked
def stored_type(tensors: Named, source: str) -> torch.dtype:
    """The one type of floating-point number that all of them have; `ValueError` for several, or for another kind."""
    types = sorted({str(tensor.dtype) for tensor in tensors.values()})
    known = [dtype for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16) if types == [str(dtype)]]
    require(bool(known), source, "must be stored in one type, float64, float32, bfloat16 or float16", types)
    return known[0]
