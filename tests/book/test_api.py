"""The sources of the reference pages: each module on one page, and docstrings as Sphinx takes them.

That every public name has an entry is tested where the book is built, in `test_pages.py`.
"""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from transformer_lib.config import require, require_positive

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "transformer_lib"
PAGES = ROOT / "chapters" / "api"


def modules(library: Path) -> list[str]:
    """Every module of the library and every package in it, by its full name."""
    names = [file.relative_to(library.parent).with_suffix("").parts for file in sorted(library.rglob("*.py"))]
    packages = [".".join(name[:-1]) for name in names if name[-1] == "__init__" and len(name) > 2]
    return packages + [".".join(name) for name in names if name[-1] != "__init__"]


@pytest.fixture(scope="module")
def extension() -> ModuleType:
    spec = importlib.util.spec_from_file_location("book_extension", ROOT / "tools" / "book_extension.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_stands_on_one_page() -> None:
    listed = [name for page in PAGES.glob("*.md") for name in re.findall(r"automodule:: ([\w.]+)", page.read_text())]
    assert sorted(listed) == sorted(modules(LIBRARY))


# The extension: from a docstring to reStructuredText.


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("as `softmax` does", "as :py:obj:`softmax <transformer_lib.scratch.functions.softmax>` does"),
        ("the `scratch` folder", "the :py:mod:`scratch <transformer_lib.scratch>` folder"),
        ("`x` and `a\nb`", "``x`` and ``a b``"),
        ("`ValueError`s", r"``ValueError``\ s"),
        ("x * y and |x| and w_", r"x \* y and \|x\| and w\_"),
        ("so:\n\n    P_k * 2", "so:\n\n.. code-block:: text\n\n    P_k * 2"),
        (
            "| a | b |\n|---|---|\n| 1 | `x` |",
            ".. list-table::\n   :header-rows: 1\n\n   * - a\n     - b\n   * - 1\n     - ``x``",
        ),
    ],
)
def test_a_docstring_is_read(extension: ModuleType, text: str, marked: str) -> None:
    assert extension.marked(text, "transformer_lib.scratch.attention") == marked


def refusing(width: int, kind: str) -> None:
    require_positive(width=width)
    _check(kind, [width])


def _check(kind: str, known: list[int]) -> None:
    require(kind == "a", "kind", f"must be one of {known}", kind)


def test_what_is_refused_is_read_from_the_source(extension: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "PACKAGE", __name__)
    assert list(extension.refusals(refusing)) == [
        "``width`` must be a whole number of at least 1",
        "``kind`` must be one of known",
    ]
