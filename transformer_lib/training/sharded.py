"""Tensors that several processes hold in parts or in copies, as one folder: `torch.distributed.checkpoint`.

Each rank writes what it holds (of copies, one does) and reads what it needs, however the parts were cut: the files say
where each part belongs. They are safetensors, because torch's usual files keep their table of contents as a pickle,
which executes what it likes when it is read. Left out: writing while the training goes on.
"""

import warnings
from pathlib import Path

import torch
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from transformer_lib.contract import checked
from transformer_lib.tensor_files import Named

PARTS = "shard-*.safetensors"


@checked
def is_sharded(folder: Path) -> bool:
    """Whether the folder holds parts."""
    return any(folder.glob(PARTS))


@checked
def write_shards(folder: Path, tensors: Named) -> None:
    """Called by every rank with its own tensors, in a folder that all see."""
    save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


@checked
def stored_like(folder: Path) -> Named:
    """Every tensor in the folder's safetensors, parts or whole, with name, shape and type, but without its values."""
    from safetensors import SafetensorError

    try:
        stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except SafetensorError as error:
        raise ValueError(f"{folder} must hold safetensors files: {error}") from error
    return {
        name: torch.empty(one.size, dtype=one.properties.dtype, device="meta")
        for name, one in stored.items()
        if isinstance(one, TensorStorageMetadata)
    }


@checked
def read_shards(folder: Path, tensors: Named, *, alone: bool) -> None:
    """Fill the tensors with what is stored under their names; unless `alone`, every rank calls this with its own."""
    reader = HuggingFaceStorageReader(str(folder))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # which is what `alone` says
        load(dict(tensors), storage_reader=reader, no_dist=alone)
