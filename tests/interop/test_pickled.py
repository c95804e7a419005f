"""Weights as torch.save writes them: the same numbers; nothing of them runs, or takes more memory than the file has."""

import json
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.interop.families import CASES, TOKENS, our_output, their_output
from tests.oracles import close, rejects
from transformer_lib.interop.huggingface import from_hf
from transformer_lib.interop.pickled import load_pickled
from transformer_lib.interop.shards import read_weights

FILE = "pytorch_model.bin"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    CASES["bert masked"].save(folder, dtype=torch.float32)
    return folder


def pickled(whole: Path, target: Path, *, old: bool) -> Path:
    """The folder with the weights as torch.save writes them, or wrote them before 2020."""
    folder = Path(shutil.copytree(whole, target / "model"))
    tensors = read_weights(folder)
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]  # stored once
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / FILE, _use_new_zipfile_serialization=not old)
    return folder


styles = pytest.mark.parametrize("old", [False, True], ids=["archive", "old"])


@styles
def test_it_is_the_same_model(old: bool, whole: Path, tmp_path: Path) -> None:
    theirs = CASES["bert masked"].build(torch.float32)
    mine = from_hf(pickled(whole, tmp_path, old=old))
    close(our_output(mine, TOKENS), their_output(theirs, TOKENS))
    assert mine.head.to_vocab.weight is mine.encoder.embedding.tokens.weight


def test_shards_are_read(whole: Path, tmp_path: Path) -> None:
    folder = pickled(whole, tmp_path, old=False)
    tensors = load_pickled(folder / FILE)
    (folder / FILE).unlink()
    names = sorted(tensors)
    places = {name: f"pytorch_model-{1 + (i % 2):05}-of-00002.bin" for i, name in enumerate(names)}
    for file in set(places.values()):
        torch.save({name: tensors[name] for name in names if places[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    found = read_weights(folder)
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in names)
    places[names[0]] = "../pytorch_model.bin"
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    with rejects("weight_map must name *.bin beside it", "'../pytorch_model.bin'"):
        read_weights(folder)


def test_safetensors_are_preferred(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    (folder / FILE).write_bytes(b"not looked at")
    assert read_weights(folder).keys() == read_weights(whole).keys()


@styles
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_must_be_finite(old: bool, number: float, whole: Path, tmp_path: Path) -> None:
    folder = pickled(whole, tmp_path, old=old)
    tensors = {name: tensor.clone() for name, tensor in load_pickled(folder / FILE).items()}
    tensors["cls.predictions.bias"][3] = number
    torch.save(tensors, folder / FILE, _use_new_zipfile_serialization=not old)
    with rejects("cls.predictions.bias must be finite in torch.float32"):
        from_hf(folder)


# What is refused ------------------------------------------------------------------------------------------------------


class Call:
    """Pickled, it is a call of the function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def test_nothing_runs(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = Call(Path.touch, Path("exploded"))
    folder = pickled(whole, tmp_path, old=False)
    for old in (False, True):
        torch.save({"weight": bomb}, folder / FILE, _use_new_zipfile_serialization=not old)
        with rejects(FILE, "must be made of tensors alone, got '"):
            from_hf(folder)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (folder / FILE).write_bytes(pickle.dumps(bomb, protocol))
        with rejects(f"{FILE} must be a file of torch.save's"):
            from_hf(folder)
    (folder / FILE).rename(folder / "model.pt")  # which is no name of weights
    with rejects("must hold model.safetensors", "'model.pt'"):
        from_hf(folder)
    shutil.copy(folder / "model.pt", folder / "model.safetensors")
    with rejects("must be a safetensors file"):
        from_hf(folder)
    assert not Path("exploded").exists()
    pickle.loads((folder / "model.pt").read_bytes())
    assert Path("exploded").exists()  # it would have


@styles
@pytest.mark.parametrize(
    "value",
    [Call(bytearray, 10**11), Call(torch.Tensor, 10**5, 10**6), Call(bytearray, 10**4), Call(eval, "1"), torch.zeros],
    ids=["bytes", "tensor", "few bytes", "eval", "function"],
)
def test_only_tensors_are_made(value: object, old: bool, tmp_path: Path) -> None:
    """Torch's own reader allows the first three, and sets aside as much memory as they say."""
    torch.save({"weight": value}, tmp_path / FILE, _use_new_zipfile_serialization=not old)
    with rejects(FILE, "weights must be"):
        load_pickled(tmp_path / FILE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([torch.zeros(3)], "must hold a dict of tensors, got 'list'"),
        ({3: torch.zeros(3)}, "must name each tensor by a text, got 3"),
        ({"step": 3}, "step must be a dense tensor, got 'int'"),
        ({"inner": {"a": torch.zeros(3)}}, "inner must be a dense tensor, got 'dict'"),
        ({"a": torch.zeros(1).expand(2000)}, "a must have the 4 bytes that are stored for it, got 8000"),
        ({"a": torch.zeros(1).expand(10**6, 10**6)}, "weights must be those of the"),
        (dict.fromkeys(map(str, range(300)), torch.zeros(9000)), "must hold tensors of at most"),
        ({"a": torch.eye(3).to_sparse()}, "must be made of tensors alone"),
    ],
)
def test_what_is_no_dict_of_tensors_is_refused(value: object, words: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / FILE)
    with rejects(FILE, words):
        load_pickled(tmp_path / FILE)


@pytest.mark.parametrize("forgery", ["packed", "twice", "two programs", "none", "claims"])
def test_an_archive_holds_what_it_says(forgery: str, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(200_000)}, tmp_path / "whole.bin")
    with zipfile.ZipFile(tmp_path / "whole.bin") as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    packing = zipfile.ZIP_DEFLATED if forgery == "packed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(tmp_path / FILE, "w", packing) as archive, warnings.catch_warnings(action="ignore"):
        for name, data in parts:
            if forgery != "none" or not name.endswith("data.pkl"):
                archive.writestr(name, data)
            if name.endswith("data.pkl") and forgery in ("twice", "two programs"):
                archive.writestr(name if forgery == "twice" else "other/data.pkl", data)
        if forgery == "claims":  # one part upon another is how a small archive holds petabytes
            archive.filelist[1].file_size = archive.filelist[1].compress_size = 10**12
    words = {
        "packed": "must not be packed",
        "twice": "must have one part of each name",
        "claims": "must hold at most the",
    }
    with rejects(FILE, words.get(forgery, "must have one program, data.pkl")):
        load_pickled(tmp_path / FILE)


def test_an_old_file_claims_no_more_than_it_has(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(9000)}, tmp_path / FILE, _use_new_zipfile_serialization=False)
    content, number = (tmp_path / FILE).read_bytes(), b"M" + (9000).to_bytes(2, "little")
    assert content.count(number) == 2  # of the storage, and of the tensor in it
    (tmp_path / FILE).write_bytes(content.replace(number, b"J" + (2**31 - 1).to_bytes(4, "little")))
    with rejects(FILE, "weights must be those of the", "got 2147483647"):
        load_pickled(tmp_path / FILE)


@styles
@pytest.mark.parametrize("kept", [0, 3, 40, 0.3, 0.99])
def test_a_cut_file_is_refused(kept: float, old: bool, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(9000)}, tmp_path / FILE, _use_new_zipfile_serialization=not old)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with rejects(FILE, "must be a file of torch.save's that holds weights alone"):
        load_pickled(tmp_path / FILE)


def test_a_pipe_is_not_waited_for(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / FILE)
    with rejects(FILE, "must be a regular file"):
        from_hf(folder)
