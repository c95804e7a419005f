"""The faults to plant: each fits the library as it is, and what is said of it is what its tests do."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plant", ROOT / "tools" / "plant.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plant"] = module  # where its dataclass looks for its names
    spec.loader.exec_module(module)
    return module


TOOL = load_tool()
FAULTS = TOOL.read_faults(ROOT / "tests" / "faults")


def test_every_fault_applies_and_names_tests_that_are_there() -> None:
    functions: dict[str, set[str]] = {}
    outdated = []
    for fault in FAULTS:
        try:
            fault.planted((ROOT / fault.file).read_text(encoding="utf-8"))
        except ValueError as error:
            outdated.append(str(error))
        for test in fault.tests:
            file, _, name = test.partition("::")
            if file not in functions:
                tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
                functions[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            if name and name not in functions[file]:
                outdated.append(f"{fault.name}: there is no {test}")
    assert outdated == []


def test_there_are_faults_in_every_folder_of_the_library() -> None:
    folders = {path.parent.name for path in (ROOT / "transformer_lib").glob("*/__init__.py")}
    assert {Path(fault.file).parent.name for fault in FAULTS} >= folders


LIBRARY = "def double(x):\n    return 2 * x  # twice\n"
TESTS = """
from transformer_lib.numbers import double

def test_double():
    assert double(3) == 6

def test_nothing():
    assert double(0) == 0

def test_that_is_red():
    assert double(3) == 7
"""
CASES = {
    "a fault that is seen": ("2 * x", "3 * x", "::test_double", "caught"),
    "a comment": ("# twice", "# two times", "::test_double", "SURVIVED"),
    "a fault that is not looked for": ("2 * x", "3 * x", "::test_nothing", "SURVIVED"),
    "a text that is not there": ("4 * x", "3 * x", "::test_double", "does not apply"),
    "a text that is there twice": ("x", "y", "::test_double", "does not apply"),
    "no Python": ("2 * x", "2 *", "::test_double", "does not apply"),
    "no import": ("def double", "import nowhere\n\n\ndef double", "::test_double", "cannot run"),
    "a test that is red anyway": ("2 * x", "3 * x", "::test_that_is_red", "red before"),
}


def small_tree(root: Path, *names: str, test: str | None = None) -> None:
    """A library of one function with its tests, and the named faults."""
    entries = []
    for name in names:
        old, new, tests, _ = CASES[name]
        fields = {"name": name, "file": "transformer_lib/numbers.py", "old": old, "new": new}
        lines = [f"{field} = '''{value}'''" for field, value in fields.items()]
        entries.append("\n".join(["[[fault]]", *lines, f"tests = ['tests/test_numbers.py{test or tests}']"]))
    files = {
        "transformer_lib/numbers.py": LIBRARY,
        "tests/test_numbers.py": TESTS,
        "tests/faults/all.toml": "\n".join(entries),
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
    }
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)


def test_what_becomes_of_each_fault_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_tree(tmp_path, *CASES)
    before = sorted((path, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file())
    assert TOOL.main([], root=tmp_path) == 1
    printed = capsys.readouterr().out
    for name, (*_, outcome) in CASES.items():
        assert f"{outcome:<14} {name}\n" in printed
    assert sorted((path, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()) == before


def test_the_exit_status_and_the_choice_of_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_tree(tmp_path, *CASES)
    assert TOOL.main(["--only", "*is seen"], root=tmp_path) == 0
    assert "1 caught" in capsys.readouterr().out
    assert TOOL.main(["--only", "nothing"], root=tmp_path) == 2
    assert TOOL.main(["--list"], root=tmp_path) == 0
    assert capsys.readouterr().out.count("transformer_lib/numbers.py: ") == len(CASES)
    small_tree(tmp_path, "a comment", test="::test_nowhere")
    assert TOOL.main([], root=tmp_path) == 1
    assert "cannot be run without a fault" in capsys.readouterr().out


def test_two_faults_of_one_name_are_refused(tmp_path: Path) -> None:
    small_tree(tmp_path, "a comment", "a comment")
    with pytest.raises(ValueError, match=r"names must be distinct, got \['a comment'\]"):
        TOOL.read_faults(tmp_path / "tests" / "faults")


def test_tests_without_end_are_ended(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("import time\n\ndef test_a():\n    time.sleep(10**6)\n")
    status, output = TOOL.run_tests(tmp_path, ["test_a.py"], 1)
    assert status < 0 and output == "no end after 1 seconds"


def test_the_command_line() -> None:
    done = subprocess.run([sys.executable, "tools/plant.py", "--list"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("\n") == len(FAULTS)
