"""The profile of a compiled step: every event in one kind of work, and the bound from the numbers of the shape."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.harness import OURS
from bench.profile_step import KINDS, _kind
from bench.train_step import SHAPES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "products"),
        ("mkldnn::_linear_pointwise", "products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("graph_0_cpp_fused_gelu_3", "generated kernels"),
        ("aten::_fused_adamw_", "optimiser"),
        ("aten::copy_", "copies and fills"),
        ("aten::embedding_dense_backward", "other"),
    ],
)
def test_the_kind_of_an_operation(name: str, kind: str) -> None:
    assert _kind(name) == kind


def test_a_quick_profile_accounts_for_the_step(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "bench", "profile", "--quick", "--peers", "torch", "--out", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads((tmp_path / "profile.json").read_text())["rows"]
    assert {*row["candidates"]} == {OURS, "torch"}
    layers, width, _, context, batch, vocab = SHAPES["quick"]
    flops = 6 * (12 * layers * width**2 + vocab * width) * context * batch
    for facts in row["candidates"].values():
        assert {*facts["milliseconds"]} == {*KINDS, "other"}
        assert facts["milliseconds"]["products"] > 0 and facts["milliseconds"]["generated kernels"] > 0
        assert facts["bound_milliseconds"] == pytest.approx(flops / facts["giga_flops_per_second"] / 1e6, abs=0.06)
        assert facts["step_milliseconds"] > 0
    kept = {name: facts["kept_mib"] * 2**20 for name, facts in row["candidates"].items()}
    assert kept["torch"] > 4 * batch * context * (layers * 10 * width + vocab)
    # Ours keeps, instead of the logits, the gradients of the head's input and weight.
    instead = 4 * (width * (vocab + batch * context) - batch * context * vocab)
    assert kept[OURS] - kept["torch"] == pytest.approx(instead, rel=0.1)
