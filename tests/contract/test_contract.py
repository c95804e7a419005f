"""No public call lets anything but the contract's errors out: `run.py` tries it, and `judge.py` says what they are.

A longer run by hand: `python -m tests.contract.run --calls 10000 --seed 1`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.callables import FOLDERS, is_excused, public_names, table

ROOT = Path(__file__).parents[2]
CALLS = 1300  # more than there are callables, so that each folder has wrong ones
MOST_EXCUSED = 105  # of some 1,200: 34 are Keras's, tried by hand; 11 train; 8 join processes; 1 needs Triton


def report(*arguments: str) -> dict[str, Any]:
    """What the runner says, in a process of its own: here the tests' hook for jaxtyping raises errors of its own."""
    command = [sys.executable, "-m", "tests.contract.run", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return report("--calls", str(CALLS), "--seed", "0")


@pytest.mark.parametrize("folder", FOLDERS)
def test_wrong_arguments_are_refused_as_the_contract_says(found: dict[str, Any], folder: str) -> None:
    assert [fault for fault in found["faults"] if fault["folder"] == folder] == []
    assert found["folders"].get(folder, {}).get("refused", 0) > 0


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_callable_is_tried_or_excused(folder: str) -> None:
    calls, excused = table(folder).CALLS, table(folder).EXCUSED
    names = public_names(folder)
    assert [name for name in names if name not in calls and not is_excused(name, excused)] == []
    assert [name for name in calls if name not in names] == []
    assert [key for key in excused if not any(is_excused(name, {key: ""}) for name in names)] == []
    assert all(len(reason) > 20 for reason in excused.values())


def test_few_are_excused() -> None:
    excused = [name for folder in FOLDERS for name in public_names(folder) if is_excused(name, table(folder).EXCUSED)]
    assert len(excused) <= MOST_EXCUSED


BROKEN = {
    "raises name:None": "AttributeError",
    "adds width:None": "foreign TypeError",
    "reads number:'strange'": "foreign ValueError",
    "ignores width:None": "wrongly accepted",
    "computes x:negative tensor": "NaN",
    "grows width:0": "MemoryError",
    "waits width:0": "hang",
    "dies width:0": "death",
}


def test_a_broken_contract_is_found_and_the_run_goes_on() -> None:
    cases = [f"tests.contract.bad.{case}" for case in [*BROKEN, "keeps width:None", "keeps width:0", "keeps width:1"]]
    found = report("--limit", "1", *(f"--case={case}" for case in cases))
    faults = {fault["case"].removeprefix("tests.contract.bad."): fault["kind"] for fault in found["faults"]}
    assert faults == BROKEN
    assert (found["folders"]["bad"]["refused"], found["folders"]["bad"]["accepted"]) == (2, 1)


def test_bad_functions_are_found_by_drawing() -> None:
    found = report("--only", "bad", "--calls", "60", "--limit", "1")
    names = {fault["case"].split()[0].rpartition(".")[2] for fault in found["faults"]}
    assert {"raises", "adds", "waits", "dies", "ignores"} <= names
    assert "keeps" not in names
