"""How each public callable of the files beside the folders is called validly."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.contract.calls.config import SMALL
from tests.contract.calls.exercises import QUESTION
from transformer_lib.data.corpora import Document
from transformer_lib.files import new_folder
from transformer_lib.tensor_files import save_tensors


def _path(name: str = "file", text: str | None = None) -> Path:
    path = Path(tempfile.mkdtemp(dir=".")) / name
    if text is not None:
        path.write_text(text)
    return path


def _folder() -> Path:
    path = _path("folder")
    with new_folder(path) as folder:
        (folder / "a.txt").write_text("a")
    return path


def _tensors() -> Path:
    path = _path("x.safetensors")
    save_tensors(path, {"w": torch.ones(2, 3)})
    return path


def _recorded() -> str:
    path = Path("recipes/results/toy.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"experiment": "toy", "arms": {}}')
    return path.stem


def _asked() -> str:
    path = Path("chapters/questions/x.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(QUESTION)
    return "q-x"


def _function(width: int, kind: str = "a") -> int:
    return width


def _tool() -> Any:
    from tests.contract.calls.task_models import _writer

    return _writer()


def _saved_tool() -> Path:
    _tool().save(path := _path("tool"))
    return path


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "transformer_lib.folders.load": lambda: {"folder": _saved_tool(), "device": "cpu"},
    "transformer_lib.folders.model_folder": lambda: {"folder": _saved_tool()},
    "transformer_lib.folders.save": lambda: {"tool": _tool(), "folder": _path("new"), "form": "own"},
    "transformer_lib.checks.require_positive": lambda: {"width": 1},
    "transformer_lib.checks.require_sizes": lambda: {"width": 1},
    "transformer_lib.checks.require_eps": lambda: {"eps": 1e-6},
    "transformer_lib.checks.is_whole": lambda: {"value": 1},
    "transformer_lib.checks.is_finite": lambda: {"value": 1.5},
    "transformer_lib.extras.needed": dict,
    "transformer_lib.extras.lacking": lambda: {"name": "safetensors"},
    "transformer_lib.checks.is_number": lambda: {"value": 1.5},
    "transformer_lib.checks.require_whole": lambda: {"width": 1},
    "transformer_lib.checks.require_numbers": lambda: {"rate": 0.5},
    "transformer_lib.checks.require_flags": lambda: {"bias": True},
    "transformer_lib.checks.shown": lambda: {"value": [1, 2]},
    "transformer_lib.contract.require_parts": lambda: {"value": Document("a.txt", "text")},
    "transformer_lib.contract.trusting": lambda: {"target": _function},
    "transformer_lib.contract.also": lambda: {"*rules": [_function]},
    "transformer_lib.contract.checked": lambda: {"target": _function},
    "transformer_lib.contract.checked_once": lambda: {"target": _function},
    "transformer_lib.files.read_bytes": lambda: {"path": _path("x", "text"), "most": 100},
    "transformer_lib.files.regular_file": lambda: {"path": _path("x", "text")},
    "transformer_lib.files.decode": lambda: {"data": b"text", "name": "x"},
    "transformer_lib.files.read_text": lambda: {"path": _path("x", "text")},
    "transformer_lib.files.split_lines": lambda: {"text": "a\nb"},
    "transformer_lib.files.read_json": lambda: {"path": _path("x", "[1]"), "most": 100},
    "transformer_lib.files.write_bytes": lambda: {"path": _path(), "data": b"text"},
    "transformer_lib.files.write_text": lambda: {"path": _path(), "text": "text"},
    "transformer_lib.files.new_folder": lambda: {"path": _path()},
    "transformer_lib.files.remove_folder": lambda: {"path": _folder()},
    "transformer_lib.files.remove_partials": lambda: {"folder": _folder()},
    "transformer_lib.files.recorded_names": lambda: {"path": _folder()},
    "transformer_lib.files.check_folder": lambda: {"path": _folder(), "names": ("a.txt",)},
    "transformer_lib.files.sha256_of": lambda: {"path": _path("x", "text")},
    "transformer_lib.files.sole_writer": lambda: {"folder": _path()},
    "transformer_lib.identity.digest": lambda: {"value": {"a": [1, 2.5, torch.ones(2)]}},
    "transformer_lib.later.fields_of": lambda: {"value": SMALL},
    "transformer_lib.identity.describe": lambda: {"function": _function},
    "transformer_lib.tensor_files.save_tensors": lambda: {"path": _path(), "tensors": {"w": torch.ones(2, 3)}},
    "transformer_lib.tensor_files.load_tensors": lambda: {"path": _tensors(), "finite": False},
    "transformer_lib.tensor_files.shapes_of": lambda: {"path": _tensors()},
    "transformer_lib.tensor_files.check_finite": lambda: {"tensors": {"w": torch.ones(2, 3)}, "source": "x"},
    "transformer_lib.device.check_device": lambda: {"device": "cpu", "field": "place"},
    "transformer_lib.device.present_devices": dict,
    "transformer_lib.book.ask": lambda: {"questions": {_asked(): [True, False]}},
    "transformer_lib.book.check": lambda: {"name": _asked(), "answer": "a"},
    "transformer_lib.book.Rendered": lambda: {"markdown": "*a*", "plain": "a"},
    "transformer_lib.book.show": lambda: {"*objects": [new_folder], "docstring": False},
    "transformer_lib.book.table": lambda: {"rows": [["a", 1], ["b", 2.5]], "headers": ["name", "number"]},
    "transformer_lib.book.fmt": lambda: {"value": 0.12345, "digits": 3},
    "transformer_lib.book.device": dict,
    "transformer_lib.book.experiment": lambda: {"name": _recorded()},
}

EXCUSED: dict[str, str] = {
    **dict.fromkeys(
        [
            f"transformer_lib.checks.{name}"
            for name in ("require", "require_kind", "require_between", "require_base", "wrong_kind")
        ],
        "it makes the contract's errors; field, rule and bounds stand in the source beside the call",
    ),
    "transformer_lib.kinds.*": "annotations stand in the source; tests/test_kinds.py reads what is accepted and said",
    "transformer_lib.__main__.main": "its arguments are words of the command line, which tests/test_main.py tries",
    "transformer_lib.files.new_file": "its block must write the file that it names; write_bytes and write_text use it",
}
