"""One file from the shards of a checkpoint holds the model, is written in pieces, and is read by others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_run import next_token_loss, small_batches, small_config, small_model
from torch import distributed

from transformer_lib.__main__ import main
from transformer_lib.tensor_files import shapes_of
from transformer_lib.training import consolidate as one_file
from transformer_lib.training import new_state, save_state
from transformer_lib.training.consolidate import consolidate
from transformer_lib.training.parallel import parallelize
from transformer_lib.training.state import model_tensors


@pytest.fixture
def sharded(tmp_path: Path) -> Iterator[Path]:
    """A checkpoint in shards; `test_layouts.py` reads those of several ranks by the same reader."""
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    shared = parallelize(small_model(num_layers=2), next_token_loss, "fsdp2")
    save_state(tmp_path / "sharded", new_state(shared, small_batches(), small_config()))
    distributed.destroy_process_group()
    yield tmp_path / "sharded"


@pytest.mark.parametrize("at_once", [1, 500, 1 << 30])
def test_the_file_is_what_the_library_of_the_format_reads(at_once: int, sharded: Path, tmp_path: Path) -> None:
    consolidate(sharded, tmp_path / "model.safetensors", at_once=at_once)
    expected = model_tensors(small_model(num_layers=2))
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.equal(expected[name]) and tensor.dtype == expected[name].dtype, name
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}, "as the Hugging Face readers want it"
    small_model(num_layers=2).load_state_dict(found, strict=False)


def test_no_more_is_read_at_once_than_was_allowed(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, sizes = one_file.read_shards, []

    def count(folder: Path, tensors: dict[str, torch.Tensor], *, alone: bool) -> None:
        sizes.append(sum(tensor.numel() * tensor.itemsize for tensor in tensors.values()))
        read(folder, tensors, alone=alone)

    monkeypatch.setattr(one_file, "read_shards", count)
    consolidate(sharded, tmp_path / "model.safetensors", at_once=2000)
    assert len(sizes) > 2 and max(sizes) <= 2000
    assert sum(sizes) == sum(4 * t.numel() for t in model_tensors(small_model(num_layers=2)).values())


def test_other_types_keep_their_bits(tmp_path: Path) -> None:
    model = small_model().bfloat16()
    model.register_buffer("seen", torch.tensor(3))
    save_state(tmp_path / "saved", new_state(model, small_batches(), small_config()))
    consolidate(tmp_path / "saved", tmp_path / "model.safetensors")
    found = load_file(tmp_path / "model.safetensors")
    for name, tensor in model_tensors(model).items():
        assert found[name].equal(tensor) and found[name].dtype == tensor.dtype
    assert shapes_of(tmp_path / "model.safetensors")["seen"] == ()


def test_the_command_writes_it_or_says_why_not(
    sharded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.safetensors"
    assert main(["consolidate", str(sharded), str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: {file.stat().st_size:,} bytes\n"
    before = file.read_bytes()
    shard = next(sharded.glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\1")
    assert main(["consolidate", str(sharded), str(file)]) == 2
    complaint = capsys.readouterr().err
    assert "must have the sha256 recorded in SHA256SUMS" in complaint and complaint.count("\n") == 1
    assert file.read_bytes() == before and sorted(path.name for path in tmp_path.glob("*.partial")) == []
    assert main(["consolidate", str(tmp_path / "nothing"), str(file)]) == 2
