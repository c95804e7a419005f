"""What `make light` rests on: these modules, and the tests it runs, import no PyTorch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import light

LIBRARY = Path(__file__).parents[1] / "transformer_lib"
MODULES = ("checks", "kinds", "contract", "files", "later", "config", "scratch", "scratch.pencil", "models.presets")
IMPORT = """
import importlib, sys
from pathlib import Path
from types import ModuleType
sys.modules["torch"] = None
for name in ("transformer_lib", "transformer_lib.models"):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [str(Path(sys.argv[1]).joinpath(*name.split(".")))]
for name in sys.argv[2:]:
    importlib.import_module(f"transformer_lib.{name}")
"""


def test_the_modules_are_imported_where_pytorch_cannot_be() -> None:
    command = [sys.executable, "-c", IMPORT, str(LIBRARY.parent), *MODULES]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_tests_reach_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "installed", lambda package: package != "torch")
    assert {name: lacks for name in light.TESTS if (lacks := light.missing(light.ROOT / name))} == {}


@pytest.mark.parametrize(
    "line",
    [
        *(
            "import torch.nn",
            "from torch import Tensor",
            "def f():\n    import torch",
            "from tests.oracles import CONFIG",
        ),
        *(
            "from transformer_lib import DecoderLM",
            "from transformer_lib.nn import attend",
            "import transformer_lib.nn",
        ),
    ],
)
def test_a_way_to_pytorch_is_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "installed", lambda package: package != "torch")
    (tmp_path / "test_it.py").write_text(line, encoding="utf-8")
    assert light.missing(tmp_path / "test_it.py") == {"torch"}
