"""Files that were damaged on their way, or made to deceive, are refused by name, and take no memory before that."""

import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.oracles import CONFIG, integers, randomise, rejects, unchecked
from transformer_lib.config import Seq2SeqConfig, to_json
from transformer_lib.interop.onnx import OnnxLM, export, quantize
from transformer_lib.interop.onnx_file import read_sealed, seal
from transformer_lib.models import DecoderLM, Encoder

MOST_MEMORY = 200 << 20  # bytes that opening a file of a few kB may take
MUTATIONS = 200
TEXT = to_json(CONFIG)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.onnx"
    with unchecked():
        export(randomise(DecoderLM(CONFIG), dtype=torch.float32), path, cache=True)
    return path


def changed(data: bytes, seed: int) -> bytes:
    """The bytes with a few of them replaced, cut out or put in between, differently for each seed."""
    draw, found = random.Random(seed), bytearray(data)
    for _ in range(draw.choice([1, 1, 3, 10])):
        place, kind = draw.randrange(len(found)), draw.random()
        if kind < 0.7:
            found[place] ^= draw.randrange(1, 256)
        elif kind < 0.85:
            del found[place : place + draw.randrange(1, 50)]
        else:
            found[place:place] = draw.randbytes(5)
    return bytes(found)


@pytest.mark.parametrize("read", [OnnxLM, lambda path: quantize(path, path.with_suffix(".int8"))], ids=["run", "int8"])
def test_any_change_on_the_way_is_noticed(read: Callable[[Path], Any], good: Path, tmp_path: Path) -> None:
    data, path = good.read_bytes(), tmp_path / "damaged.onnx"
    cut = [data[:length] for length in (0, 1, 75, 76, 77, len(data) // 2, len(data) - 1)]
    for seed, damaged in enumerate([*cut, data + b"\n", *(changed(data, seed) for seed in range(MUTATIONS))]):
        path.write_bytes(damaged)
        with rejects("path", "`export` wrote", "whole and unchanged", str(path)):
            read(path)
            raise AssertionError(f"accepted change {seed}")
    assert list(tmp_path.iterdir()) == [path]


def test_the_digest_is_a_remark_to_other_readers(good: Path) -> None:
    onnx.checker.check_model(good, full_check=True)
    assert [entry.key for entry in onnx.load(good).metadata_props] == ["config", "sha256"]
    assert (
        seal(b"")
        == onnx.ModelProto(
            metadata_props=[
                onnx.StringStringEntryProto(
                    key="sha256", value="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                )
            ]
        ).SerializeToString()
    )


# Files with a right digest, made by somebody who wants this machine's memory -----------------------------------------


def described(model: bytes, text: str | None) -> bytes:
    """The same graph under another config."""
    proto = onnx.ModelProto.FromString(model)
    del proto.metadata_props[:]
    if text is not None:
        proto.metadata_props.add(key="config", value=text)
    return proto.SerializeToString()


def with_heads(model: bytes, heads: int) -> bytes:
    """A config and inputs that agree on so many heads, for which there are no weights."""
    proto = onnx.ModelProto.FromString(model)
    for value in (*proto.graph.input, *proto.graph.output):
        if "_keys_" in value.name or "_values_" in value.name:
            value.type.tensor_type.shape.dim[1].dim_value = heads
    text = TEXT.replace('"num_kv_heads": 2', f'"num_kv_heads": {heads}').replace(
        '"num_heads": 4', f'"num_heads": {heads}'
    )
    return described(proto.SerializeToString(), text.replace('"head_dim": null', '"head_dim": 4'))


def with_constant(model: bytes, length: int) -> bytes:
    """A graph that computes a constant of this length, which onnxruntime would do while it opens the file."""
    proto = onnx.ModelProto.FromString(model)
    proto.graph.initializer.append(helper.make_tensor("length", TensorProto.INT64, [1], [length]))
    for node in proto.graph.node:
        node.output[:] = ["before" if name == "logits" else name for name in node.output]
    proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["length"], ["zeros"]))
    proto.graph.node.append(helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0))
    proto.graph.node.append(helper.make_node("Add", ["before", "zero"], ["logits"]))
    return proto.SerializeToString()


def with_weights_in(model: bytes, location: str) -> bytes:
    """A graph whose first weights are to be read from another file."""
    proto = onnx.ModelProto.FromString(model)
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return proto.SerializeToString()


def numbered(field: str, old: object, new: object) -> str:
    assert f'"{field}": {old}' in TEXT
    return TEXT.replace(f'"{field}": {old}', f'"{field}": {new}')


TEXTS: dict[str, tuple[str | None, str]] = {
    "layers": (numbered("num_layers", 2, 10**9), "a config of 2 layers"),
    "layer": (numbered("num_layers", 2, 3), "a config of 2 layers"),
    "vocabulary": (numbered("vocab_size", 13, 10**9), "16000000000 bytes"),
    "width": (numbered("d_model", 16, 16 * 10**8), "bytes that its config needs"),
    "token": (numbered("vocab_size", 13, 14), "logits"),
    "head": (numbered("num_kv_heads", 2, 1), "past_keys_0"),
    "wider": (numbered("d_model", 16, 32), "past_keys_0"),
    "none": (None, "must have the config of a model in its metadata"),
    "nonsense": ("nonsense", "must have the config of a model in its metadata"),
    "deep": ("[" * 200_000, "must have the config of a model in its metadata"),
    "digits": (numbered("num_layers", 2, "9" * 5000), "must have the config of a model in its metadata"),
    "kind": (numbered("num_layers", 2, '"2"'), "num_layers must be a whole number"),
    "nan": (numbered("dropout", 0.0, "NaN"), "NaN"),
    "two": (to_json(Seq2SeqConfig(encoder=CONFIG, decoder=CONFIG)), "must have the config of one stack"),
}


def read_all(folder: Path) -> None:
    """Open every file of a folder with little memory, and print what was said of each, as JSON."""
    OnnxLM(folder / "good")(integers(13, 2, 5))
    if os.path.exists("/proc/self/statm"):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, resource.RLIM_INFINITY))
    said = {}
    for path in sorted(folder.iterdir()):
        try:
            model = OnnxLM(path)
            if path.name.isdigit():
                model(integers(13, 2, 5))
            said[path.name] = "accepted"
        except ValueError as error:
            said[path.name] = str(error)
    print(json.dumps(said))


def test_deceiving_files_are_refused_with_little_memory(good: Path, tmp_path: Path) -> None:
    model = read_sealed(good, "must be good")
    files = {name: described(model, text) for name, (text, _) in TEXTS.items()}
    files |= {"good": model, "heads": with_heads(model, 2**28), "constant": with_constant(model, 2**30)}
    files |= {"linked": with_weights_in(model, str(good)), "beside": with_weights_in(model, "good")}
    files |= {str(seed): changed(model, seed) for seed in range(MUTATIONS)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(seal(data))
    code = "import sys; from tests.interop.test_onnx_file import Path, read_all; read_all(Path(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stderr == ""
    said: dict[str, str] = json.loads(run.stdout)
    assert said.keys() == files.keys()
    for name, (_, words) in TEXTS.items():
        assert words in said[name] and str(tmp_path / name) in said[name]
    assert said["good"] == said["constant"] == "accepted"
    damaged = [said[str(seed)] for seed in range(MUTATIONS)]
    refused = [text for text in damaged if text != "accepted"]
    assert len(refused) > MUTATIONS / 2
    for text in (*refused, said["heads"], said["linked"], said["beside"]):
        assert "`export` wrote" in text or str(tmp_path) in text, text


def test_a_graph_that_fails_when_it_is_run_is_a_value_error(good: Path, tmp_path: Path) -> None:
    proto = onnx.ModelProto.FromString(read_sealed(good, "must be good"))
    for node in proto.graph.node:
        node.output[:] = ["before" if name == "logits" else name for name in node.output]
    proto.graph.initializer.append(helper.make_tensor("row", TensorProto.INT64, [1], [10**6]))
    proto.graph.node.append(helper.make_node("Gather", ["before", "row"], ["far"], axis=1))
    proto.graph.node.append(helper.make_node("Add", ["before", "far"], ["logits"]))
    path = tmp_path / "fails.onnx"
    path.write_bytes(seal(proto.SerializeToString()))
    with rejects("path", "`export` wrote", "indices"), unchecked():
        OnnxLM(path)(integers(13, 2, 5))


@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing", "text"])
@pytest.mark.parametrize("read", [OnnxLM, lambda path: quantize(path, path.with_suffix(".int8"))], ids=["run", "int8"])
def test_what_is_no_such_file_is_refused(read: Callable[[Path], Any], kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    match kind:
        case "pipe":
            os.mkfifo(path)  # which nobody writes into: whoever opens it would wait
        case "folder":
            path.mkdir()
        case "text":
            path.write_text("not protobuf")
    before = list(tmp_path.iterdir())
    with rejects("path", "`export` wrote", str(path)):
        read(path)
    assert list(tmp_path.iterdir()) == before


# Writing --------------------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "export": lambda good, target: export(randomise(Encoder(CONFIG), dtype=torch.float32), target),
    "quantize": quantize,
}
writers = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@writers
def test_what_is_no_file_is_not_replaced(write: Callable[[Path, Path], None], good: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder"):
        with rejects("path", "must be a regular file or not exist", str(tmp_path)):
            write(good, tmp_path / name)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "link", "pipe"]


@writers
def test_a_full_disk_leaves_what_was_there(
    write: Callable[[Path, Path], None], good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    target = tmp_path / "model.onnx"
    target.write_text("an older file")
    with unchecked(), pytest.raises(OSError, match="No space left"), monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        write(good, target)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert target.read_text() == "an older file"
