"""What `to_hf` writes is the same model for the oldest transformers that we allow, and what that writes is ours.

The old version lives in an environment of its own (tools/beside.py, `make oldest`).
"""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from tests.interop.families import CASES, LONG, TOKENS, our_output
from transformer_lib.interop.huggingface import from_hf, to_hf

ROOT = Path(__file__).parents[2]
# Its gpt-oss has one limit for all gates, 7, whatever the config says; ours and the newest read it.
CHANGED = {"gpt_oss": {"swiglu_limit": 7.0}}
KNOWN = {name: case._replace(settings=case.settings | CHANGED.get(name, {})) for name, case in CASES.items()}
families = pytest.mark.parametrize("name", KNOWN)


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("beside", ROOT / "tools" / "beside.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each family a folder with our model, and with what the old version made of it."""
    tool = load_tool()
    if not tool.is_made("oldest"):
        reason = "the oldest transformers is not installed here: make oldest"
        assert not os.environ.get("REQUIRE_OLDEST"), reason
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("oldest")
    for name, case in KNOWN.items():
        case.save(folder / name / "newest")
        model = from_hf(folder / name / "newest", drop=case.drop)
        to_hf(model, folder / name / "ours", **case.written)
    command = [tool.python("oldest"), "-m", "tests.interop.oldest", folder]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "USE_TF": "0", "USE_FLAX": "0", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == tool.floor()
    return folder


def same_numbers(name: str, model: Path, folder: Path, drop: tuple[str, ...] = ()) -> None:
    """Marian's table of sinusoids is rounded to float32 there."""
    mine, numbers = from_hf(model, drop=drop), load_file(folder / name / "numbers.safetensors")
    for key, tokens in (("tokens", TOKENS), ("long", LONG)):
        found, error = our_output(mine, tokens), 1e-6 if "marian" in name else 1e-10
        torch.testing.assert_close(
            found, numbers[key], rtol=error, atol=error, msg=lambda text, key=key: f"{key}: {text}"
        )


@families
def test_the_oldest_version_opens_the_same_model(name: str, folder: Path) -> None:
    same_numbers(name, folder / name / "ours", folder)


@families
def test_what_the_oldest_version_writes_is_the_same_model(name: str, folder: Path) -> None:
    fields = json.loads((folder / name / "theirs" / "config.json").read_text())
    assert ("rope_theta" in fields) == (KNOWN[name].is_decoder and fields["model_type"] != "gpt2")  # its own spelling
    same_numbers(name, folder / name / "theirs", folder, KNOWN[name].drop)
