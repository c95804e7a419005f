"""The sources of the reference pages: each module on one page, and docstrings as Sphinx takes them.

That every public name has an entry is tested where the book is built, in `test_pages.py`.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from transformer_lib.checks import require, require_between, require_positive

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "transformer_lib"
PAGES = ROOT / "chapters" / "api"


def modules(library: Path) -> list[str]:
    """Every module of the library and every package in it, by its full name."""
    names = [file.relative_to(library.parent).with_suffix("").parts for file in sorted(library.rglob("*.py"))]
    packages = [".".join(name[:-1]) for name in names if name[-1] == "__init__" and len(name) > 2]
    return packages + [".".join(name) for name in names if name[-1] != "__init__"]


@pytest.fixture(scope="module")
def extension() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("book_extension")


@pytest.fixture(scope="module")
def rules(extension: ModuleType) -> ModuleType:
    return importlib.import_module("argument_rules")


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


LEAST = 3
WORDS = ("a", "b")


def refusing(config: Any, x: Any, width: int, rows: list[int], path: Path, rate: float, kind: str = "a") -> None:
    require_positive(width=width)
    require_between(0, LEAST, rate=rate)
    _check(kind, WORDS)
    heads = config.num_heads
    require(width % heads == 0, "width", f"must be divisible by num_heads={heads}", width)
    _batch, time = x.shape
    require(time < width, "width", f"must be above {LEAST} and below the time, {time}", width)
    rule = f"must be below {time}"
    for index, row in enumerate(rows):
        require(row < time, f"rows[{index}]", rule, row)
    _check_length("rows", rows)
    text = read(path)
    require(bool(text), str(path), "must not be empty_", text)
    require(len(text) < 9, f"{path}: text", f"must begin as {text}", text)  # nobody could say what this text is
    for name in text:
        require(name in WORDS, name, "must be known", name)


def read(path: Path) -> str:
    return path.read_text()


def _check(kind: str, known: tuple[str, ...]) -> None:
    require(kind in known, "kind", f"must be one of {known}", kind)


def _check_length(field: str, values: list[int]) -> None:
    require(len(values) > 0, field, f"must hold at least one, not {len(values)}", values)


def test_what_is_refused_is_read_from_the_source(rules: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PACKAGE", __name__)
    assert list(rules.refusals(refusing)) == [
        "``width`` must be a whole number of at least 1",
        "``rate`` must be at least 0 and at most 3",
        "``kind`` must be one of a, b",
        "``width`` must be divisible by num_heads",
        "``width`` must be above 3 and below the time, ``x.shape[1]``",
        "``rows`` must hold at least one, not ``len(rows)``",
        "``path`` must not be empty\\_",
        "``rows[index]`` must be below ``x.shape[1]``",
    ]


def public(library: Path) -> Iterator[Any]:
    """Every function, class and method of the modules that can be imported without an extra."""
    for name in modules(library):
        if "keras" not in name and "__main__" not in name:
            module = importlib.import_module(name)
            for obj in vars(module).values():
                if getattr(obj, "__module__", "") == name and (inspect.isclass(obj) or inspect.isfunction(obj)):
                    yield obj
                    members = vars(obj).items() if inspect.isclass(obj) else ()
                    yield from (member for name, member in members if not name.startswith("_"))


def test_no_rule_is_a_variable_of_the_function(rules: ModuleType) -> None:
    """A page once said "format must be expected": `expected` was a variable, whose value only the message knew."""
    count = 0
    for obj in public(LIBRARY):
        function = inspect.unwrap(getattr(obj, "__func__", obj))
        for rule in rules.refusals(obj):
            count += 1
            code = inspect.isfunction(function) and function.__code__
            # Its own variables; but an attribute of the same name may be shown.
            own = (
                set(code.co_varnames) - set(code.co_names) - set(inspect.signature(function).parameters) if code else ()
            )
            field, text = re.fullmatch(r"``([^`]+)`` (.*)", rule).groups()
            for name in own:
                assert not re.fullmatch(rf"must (be|have|equal|be one of|be at most) {name}", text), rule
                assert not re.search(rf"``[^`]*\b(?<!\.){name}\b[^`]*``", text), rule
            if not inspect.isclass(obj):
                assert field not in {"name", "field", "key", "what"} - set(inspect.signature(function).parameters), rule
            assert "{" not in text, rule
    assert count > 200


def test_what_is_checked_is_said_below_a_signature(extension: ModuleType) -> None:
    from transformer_lib.config import Mlp
    from transformer_lib.viz import plot_curves

    lines = ["Text."]
    extension.write_docstring(None, "class", "transformer_lib.config.Mlp", Mlp, None, lines)
    assert lines == [
        *("Text.", ""),
        *("``ValueError`` where a rule is broken:", ""),
        "- ``activation`` must be one of 'relu', 'gelu', 'gelu_tanh', 'silu'",
        "- ``d_ff`` must be a whole number of at least 1 and below 2\\*\\*31",
        "",
        "``TypeError`` unless ``d_ff`` is a whole number, ``activation`` a string, ``bias`` True or False.",
        "",
    ]
    lines = ["Text."]
    extension.write_docstring(None, "function", "transformer_lib.viz.plot.plot_curves", plot_curves, None, lines)
    assert (
        "``TypeError`` unless ``curves`` is a dict, ``baselines`` a dict or None, ``x_label`` a string, "
        "``y_label`` a string, ``x_scale`` a string."
    ) in lines


def test_an_argument_is_no_link_to_what_has_its_name(extension: ModuleType) -> None:
    """`device` of `require_memory` once led to `book.device`."""

    def takes(attend: int) -> None: ...

    takes.__module__ = "transformer_lib.nn.attention"
    lines = ["Neither `attend`, but `causal_mask`."]
    extension.write_docstring(None, "function", "takes", takes, None, lines)
    assert "Neither ``attend``, but :py:obj:`causal_mask <" in lines[0]


def test_what_nothing_checks_says_nothing(rules: ModuleType) -> None:
    assert rules.kinds_wanted(refusing) == [] and list(rules.words_allowed(refusing)) == []
