"""What is said where a package of an extra is not installed, in a function and on the command line."""

import importlib
import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from transformer_lib.__main__ import main
from transformer_lib.extras import EXTRAS, lacking, needed
from transformer_lib.files import sole_writer
from transformer_lib.tasks.metrics import bleu, chrf
from transformer_lib.tensor_files import load_tensors, save_tensors

ROOT = Path(__file__).parents[1]
TATOEBA = str(ROOT / "recipes" / "models" / "tatoeba-en-zh")


def test_every_extra_has_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        named = [line.replace("-", "_") for line in extras[extra]]
        assert any(line.startswith(package) for line in named), (package, extra)


def test_a_function_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tensors(tmp_path / "a", {"x": torch.ones(1)})
    for name in ("safetensors", "safetensors.torch", "sacrebleu.metrics.bleu", "sacrebleu.metrics.chrf", "filelock"):
        monkeypatch.setitem(sys.modules, name, None)
    for call, words in (
        (
            lambda: save_tensors(tmp_path / "b", {"x": torch.ones(1)}),
            'safetensors.* pip install "transformer_lib.train.',
        ),
        (lambda: load_tensors(tmp_path / "a"), "safetensors is needed for this"),
        (
            lambda: bleu(["a"], ["a"]),
            r"sacrebleu.metrics.bleu is needed for this: pip install .transformer_lib\[tasks\]",
        ),
        (lambda: chrf(["a"], ["a"]), r"transformer_lib\[tasks\]"),
        (lambda: sole_writer(tmp_path / "c").__enter__(), r"filelock.*transformer_lib\[train\]"),
    ):
        with pytest.raises(ModuleNotFoundError, match=words):
            call()


def test_so_does_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformer_lib.text.words as words

    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "regex", None)
        with pytest.raises(
            ModuleNotFoundError, match=r"regex is needed for this: pip install .transformer_lib\[tasks\]"
        ):
            importlib.reload(words)
    importlib.reload(words)


@pytest.mark.parametrize(
    "module, package, extra",
    [
        ("text/published", "tokenizers", "tasks"),
        ("text/sandbox", "jinja2", "hf"),
        ("interop/keras_positions", "keras", "keras"),
    ],
)
def test_a_module_that_cannot_do_without_says_it_too(
    module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    spec = importlib.util.spec_from_file_location("a_copy", ROOT / "transformer_lib" / f"{module}.py")
    assert spec is not None and spec.loader is not None
    words = rf"{package} is needed for this: pip install .transformer_lib\[{extra}\]"
    with pytest.raises(ModuleNotFoundError, match=words):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_what_is_of_no_extra_is_said_as_python_says_it() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere'"), needed():
        importlib.import_module("nowhere")
    assert lacking("nowhere") == "nowhere is needed for this: install it with pip"


def test_a_command_says_it_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert main(["translate", "--checkpoint", TATOEBA, "a"]) == 2
    said = 'error: safetensors is needed for this: pip install "transformer_lib[train]"\n'
    assert capsys.readouterr().err == said
    monkeypatch.setattr(
        "transformer_lib.cli.commands.model_folder",
        lambda _: (_ for _ in ()).throw(ModuleNotFoundError("No module named 'tokenizers'", name="tokenizers")),
    )
    assert main(["translate", "--checkpoint", TATOEBA, "a"]) == 2
    assert 'tokenizers is needed for this: pip install "transformer_lib[tasks]"' in capsys.readouterr().err
