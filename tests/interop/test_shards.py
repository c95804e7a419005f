"""Folders of weights that are cut, forged or something else: refused with the reason, and nothing of them runs.

Those of torch.save are in `test_pickled`.
"""

import json
import os
import resource
import shutil
import signal
import struct
from pathlib import Path

import pytest
import torch

from tests.interop.families import CASES
from tests.oracles import rejects, unchecked
from transformer_lib.interop.huggingface import from_hf
from transformer_lib.interop.shards import read_weights, write_weights

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    CASES["llama"].save(folder, dtype=torch.float32)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "model"
    CASES["llama"].save(folder, dtype=torch.float32, max_shard_size=5000)
    return folder


def copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "model"))


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, 0.99])
def test_a_cut_file_is_refused(whole: Path, tmp_path: Path, kept: float) -> None:
    folder = copy(whole, tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    with rejects("model.safetensors must be a safetensors file"):
        from_hf(folder)


def header_of(file: Path) -> tuple[dict[str, dict[str, object]], bytes]:
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def rewrite(file: Path, header: object, body: bytes, *, length: int | None = None) -> None:
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


@pytest.mark.parametrize("lie", ["shape", "offsets", "overlap", "beyond", "length", "type", "not JSON"])
def test_a_header_that_lies_is_refused(whole: Path, tmp_path: Path, lie: str) -> None:
    folder = copy(whole, tmp_path)
    file = folder / "model.safetensors"
    header, body = header_of(file)
    entry = header["model.norm.weight"]
    begin, end = entry["data_offsets"]  # type: ignore[misc]
    match lie:
        case "shape":
            entry["shape"] = [1 << 40, 16]
        case "offsets":
            entry["data_offsets"] = [end, begin]
        case "overlap":
            entry["data_offsets"] = [begin - 64, end - 64]
        case "beyond":
            entry["data_offsets"] = [begin, 1 << 50]
        case "type":
            entry["dtype"] = "F128"
        case "not JSON":
            file.write_bytes(struct.pack("<Q", 4) + b"{{{{" + body)
    if lie == "length":
        rewrite(file, header, body, length=1 << 60)
    elif lie != "not JSON":
        rewrite(file, header, body)
    with rejects("model.safetensors must be a safetensors file"):
        from_hf(folder)


def test_a_header_has_a_bound(whole: Path, tmp_path: Path) -> None:
    """Zeros that take no room on the disk, and a hundred megabytes as soon as they are parsed."""
    folder = copy(whole, tmp_path)
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", 90_000_000))
        stream.truncate(100_000_000)
    with rejects("whose header has at most 16777216 bytes, got 90000000"):
        from_hf(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", INDEX, "model-00001-of-00002.safetensors"])
def test_a_pipe_is_not_waited_for(shards: Path, whole: Path, tmp_path: Path, name: str) -> None:
    folder = copy(whole if name == "model.safetensors" else shards, tmp_path)
    file = sorted(folder.glob("model-00001-*"))[0] if name.startswith("model-") else folder / name
    file.unlink()
    os.mkfifo(file)
    with rejects("must"):
        from_hf(folder)


def test_a_disk_that_is_full_is_an_error_of_the_system(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk; a signal would come with it, which is not listened to."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with unchecked(), pytest.raises(OSError, match=r"model\.safetensors cannot be written"):
            write_weights(tmp_path, {"a": torch.zeros(1000)}, max_shard_bytes=1 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_missing_shard_is_refused(shards: Path, tmp_path: Path) -> None:
    folder = copy(shards, tmp_path)
    first = sorted(folder.glob("model-*.safetensors"))[0]
    first.unlink()
    with rejects("must name files that are there", first.name):
        from_hf(folder)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x.safetensors", "x.bin"]
)
def test_an_index_cannot_name_a_file_elsewhere(shards: Path, tmp_path: Path, name: str) -> None:
    folder = copy(shards, tmp_path)
    shutil.copy(next(folder.glob("model-00001*")), tmp_path / "model.safetensors")  # what it would find there
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = name
    (folder / INDEX).write_text(json.dumps(index))
    with rejects("weight_map must name *.safetensors beside it", repr(name)):
        from_hf(folder)


def test_an_index_and_its_shards_must_agree(shards: Path, tmp_path: Path) -> None:
    folder = copy(shards, tmp_path)
    index = json.loads((folder / INDEX).read_text())
    places = index["weight_map"]
    file = places.pop("model.norm.weight")
    (folder / INDEX).write_text(json.dumps(index))
    with rejects(file, "must hold nothing", "model.norm.weight"):
        from_hf(folder)
    places["model.norm.weight"] = file
    places["model.extra"] = file
    (folder / INDEX).write_text(json.dumps(index))
    with rejects(file, "missing are", "model.extra"):
        from_hf(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}', "{", "[" * 100_000])
def test_an_index_that_is_none_is_refused(shards: Path, tmp_path: Path, text: str) -> None:
    folder = copy(shards, tmp_path)
    (folder / INDEX).write_text(text)
    with rejects(INDEX):
        from_hf(folder)


def test_other_folders_are_refused(whole: Path, tmp_path: Path) -> None:
    with rejects("source must be a folder"):
        from_hf(tmp_path / "nothing")
    with rejects("source must hold config.json"):
        from_hf(tmp_path)
    folder = copy(whole, tmp_path)
    (folder / "model.safetensors").unlink()
    with rejects("must hold model.safetensors"):
        from_hf(folder)
    (folder / "config.json").write_text("[1]")
    with rejects("must be a JSON object"):
        from_hf(folder)
    (folder / "config.json").write_bytes(b"\xff\xfe")
    with rejects("config.json must be UTF-8, got the byte 0xff in line 1"):
        from_hf(folder)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.randn(3, i + 1) for i in range(6)}
    for limit, files in ((1 << 30, 1), (100, 4), (1, 6)):
        folder = tmp_path / str(limit)
        folder.mkdir()
        write_weights(folder, tensors, max_shard_bytes=limit)
        assert len(list(folder.glob("*.safetensors"))) == files
        found = read_weights(folder)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
