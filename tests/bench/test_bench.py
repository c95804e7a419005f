"""The benchmark runs, compares like with like, and records what it says it records."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.harness import ratio, spread
from bench.train_step import OURS, _require_equal_work

ROOT = Path(__file__).parents[2]


def test_a_quick_run_measures_us_and_hugging_face(tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    command = [sys.executable, "-m", "bench", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "huggingface" in done.stdout
    record = json.loads(out.read_text())
    (row,) = record["rows"]
    ours, theirs = row["candidates"][OURS], row["candidates"]["huggingface"]
    assert ours["parameters"] == theirs["parameters"] > 100_000
    assert len(ours["cpu_seconds"]) == len(theirs["wall_seconds"]) == record["settings"]["rounds"]
    assert ours["values"] == pytest.approx(theirs["values"], rel=1e-4)
    assert ours["values"][-1] < ours["values"][0]  # the optimiser did step
    if sys.platform == "linux":
        weights_gradients_moments = 4 * 4 * ours["parameters"] / 2**20
        assert all(weights_gradients_moments < facts["memory"]["added_mib"] < 100 for facts in (ours, theirs))
    text = out.read_text()
    assert str(ROOT) not in text and sys.prefix not in text


def test_bad_options_are_named() -> None:
    for options, message in ((["--rounds", "0"], "at least 1"), (["--nanogpt", "/nowhere"], "holds model.py")):
        done = subprocess.run([sys.executable, "-m", "bench", *options], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr


def test_the_ratio_is_taken_within_rounds() -> None:
    assert ratio([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]) == {"median": 2.0, "lower_quartile": 2.0, "upper_quartile": 2.0}
    assert spread([3.0]) == {"median": 3.0, "lower_quartile": 3.0, "upper_quartile": 3.0}
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == {"median": 3.0, "lower_quartile": 2.0, "upper_quartile": 4.0}


@pytest.mark.parametrize(
    "theirs", [{"parameters": 11, "values": [6.0, 5.0]}, {"parameters": 10, "values": [6.0, 5.1]}], ids=["size", "loss"]
)
def test_unequal_work_is_refused(theirs: dict[str, object]) -> None:
    ours = {"parameters": 10, "values": [6.0, 5.0]}
    _require_equal_work({OURS: ours, "peer": ours}, 1e-4)
    with pytest.raises(RuntimeError, match="peer has"):
        _require_equal_work({OURS: ours, "peer": theirs}, 1e-4)
