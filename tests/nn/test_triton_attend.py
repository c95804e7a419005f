"""The Triton kernel against PyTorch's explicit attention in float64, interpreted on the CPU and compiled for GPUs.

Triton lives in an environment of its own (tools/beside.py, `make triton`).
"""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.nn.with_triton import CASES, TARGETS
from tests.oracles import TOLERANCE, normal
from transformer_lib.nn.triton_attend import triton_attention

ROOT = Path(__file__).parents[2]
REFUSED = {
    "block": "ValueError: block must be a power of 2 and at least 16, got 24",
    "small block": "ValueError: block must be a power of 2 and at least 16, got 8",
    "gradient": "ValueError: q, k and v must need no gradient, for this is the forward pass alone, got True",
    "mask": "ValueError: mask must be one of 'causal', got 'window'",
    "not square": "ValueError: mask 'causal' needs as many queries as keys (16), got 15",
    "dtype": "ValueError: k must be torch.float32, as what it meets, got torch.float64",
    "heads": "ValueError: q must have at most 65535 heads in all rows of the batch, got 65536",
    "kv_heads": "ValueError: k must have a number of heads that divides q's 3, got 2",
}
NO_GPU = "ValueError: q must be on a GPU, or TRITON_INTERPRET=1 be set before the first call, got device(type='cpu')"
NO_BFLOAT16 = "ValueError: q must not be bfloat16, which Triton's interpreter cannot multiply, got torch.bfloat16"


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("beside", ROOT / "tools" / "beside.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def other_python(folder: Path, *arguments: str | Path, **environment: str) -> Any:
    """What tests/nn/with_triton.py prints."""
    tool = load_tool()
    if not tool.is_made("triton"):
        reason = "Triton is not installed here: make triton"
        assert not os.environ.get("REQUIRE_TRITON"), reason
        pytest.skip(reason)
    known = {name: value for name, value in os.environ.items() if not name.startswith("TRITON")}
    known |= {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [tool.python("triton"), "-m", "tests.nn.with_triton", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=known | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], dict[str, str]]:
    folder = tmp_path_factory.mktemp("interpreted")
    said = other_python(folder, folder / "outputs", TRITON_INTERPRET="1")
    return load_file(folder / "outputs"), said["refused"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    said = other_python(tmp_path_factory.mktemp("compiled"))
    return said["made"], said["refused"]


@pytest.mark.parametrize("name", CASES)
def test_the_interpreted_kernel_is_attention(name: str, interpreted: Any) -> None:
    case, found = CASES[name], interpreted[0][name]
    q, k, v = (x.double() for x in case.inputs())
    causal, scale = case.options.get("mask") == "causal", case.options.get("scale")
    with sdpa_kernel(SDPBackend.MATH):
        wanted = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=True)
    assert found.dtype == case.dtype
    # float16 holds 11 bits, and the weights are rounded to it before they meet the values
    tolerance = TOLERANCE.get(case.dtype, 2e-3)
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)


def test_it_compiles_for_gpus_to_products_of_matrices(compiled: Any) -> None:
    """Two products a tile, on the tensor cores; the tiles fit the 99 KiB of shared memory of the smaller GPUs."""
    made, _ = compiled
    assert made.keys() == TARGETS.keys()
    for facts in made.values():
        assert facts["products"] >= 2 and facts["code"] > 0 and facts["shared bytes"] < 99 * 1024


def test_what_it_cannot_do_is_refused(interpreted: Any, compiled: Any) -> None:
    (_, there), (_, here) = interpreted, compiled
    assert there == REFUSED | {"bfloat16": NO_BFLOAT16}
    assert here == REFUSED | {"bfloat16": NO_GPU}


@pytest.mark.skipif(importlib.util.find_spec("triton") is not None, reason="Triton is here")
def test_without_triton_it_says_what_to_install() -> None:
    q = normal(1, 2, 3, 4)
    with pytest.raises(ModuleNotFoundError, match=r"triton is needed for this: pip install .transformer_lib\[triton\]"):
        triton_attention(q, q, q)
