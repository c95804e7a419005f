"""Run the tests of what imports no PyTorch, with a Python that has none: `make light`.

    python -m tests.light

PyTorch is not to be had everywhere for every Python that the library claims; its configs, its checks, the NumPy
Transformer and the tools of the book can be tried without. A package of the library whose own `__init__` cannot be
imported then stands here as an empty one, so that its other modules can be imported one by one.
"""

import ast
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("transformer_lib", "tests")
TESTS = (
    *("tests/test_light.py", "tests/test_config.py", "tests/scratch/test_laws.py"),
    *("tests/book/test_epub.py", "tests/book/test_notebooks.py"),
)


def imported(file: Path) -> set[str]:
    """The full name of every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from package import name` means a module where there is one, else a thing in the package's __init__.
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if source(name) else str(node.module) for name in inner}
    return found


def source(name: str) -> Path | None:
    """The file of a module or a package of the library or of its tests."""
    path = ROOT.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if name.startswith(OURS) and file.is_file()), None)


def missing(file: Path) -> set[str]:
    """The packages that a file reaches, through modules of ours too, and that are not installed."""
    files, found = [file], set()
    for reached in files:  # which grows meanwhile
        for name in imported(reached):
            if ours := source(name):
                files += [ours] if ours not in files else []
            elif not name.startswith(OURS) and not installed(name.partition(".")[0]):
                found.add(name.partition(".")[0])
    return found


@cache
def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def pytest_sessionstart() -> None:
    """Put an empty package in the place of each whose `__init__` cannot be imported, the outermost first."""
    for file in sorted((ROOT / "transformer_lib").rglob("__init__.py"), key=lambda file: len(file.parts)):
        if missing(file):
            name = ".".join(file.relative_to(ROOT).parts[:-1])
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [str(file.parent)]


if __name__ == "__main__":
    if installed("torch"):
        sys.exit("PyTorch is installed here: run the whole suite")
    os.environ["PYTHONPATH"] = str(ROOT)  # what the tests start finds the library there too
    sys.exit(pytest.main([*sys.argv[1:], *(str(ROOT / test) for test in TESTS)], plugins=[sys.modules[__name__]]))
