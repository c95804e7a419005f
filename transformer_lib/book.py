"""What notebooks need and nothing else does: show the code that runs, print numbers that agree, ask and check.

The only module that reads the environment. Left out on purpose: anything a program would import.
"""

import ast
import inspect
import math
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transformer_lib.checks import require, shown, wrong_kind
from transformer_lib.contract import checked
from transformer_lib.device import check_device
from transformer_lib.exercises.catalogue import find_exercise
from transformer_lib.exercises.question_files import find_question
from transformer_lib.exercises.question_text import as_markdown, as_plain
from transformer_lib.exercises.verdict import Verdict
from transformer_lib.runs.records import Record

MOST_DIGITS = 17  # which tell every float from every other

# "3", "-1,234.5", "1e-05", "12 %": what stands in a table as a number, also where it was written as text.
NUMBER = re.compile(r"[-+−]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?(e[-+]?\d+)?( ?%)?|[-+]?inf|nan")

CHECKS = ("checked", "checked_once", "also")


@checked
@dataclass(frozen=True)
class Rendered:
    """A cell's result in two forms: Markdown for the page, plain text for the terminal and the notebook tests."""

    markdown: str
    plain: str

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return self.plain


@checked
def show(*objects: object, docstring: bool = True) -> Rendered:
    """The source of functions, classes or modules as it runs, so that a chapter never holds a copy of it.

    Left out is the line that has the arguments checked (`contract.py`), which stands above nearly everything.
    `docstring=False` leaves docstrings out, where the text beside the code already says what they say.
    `TypeError` for anything else, `ValueError` for what was not written in Python.
    """
    parts, names = [], []
    for thing in objects:
        known = inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing)
        if not known:
            raise wrong_kind("objects", "functions, classes or modules", thing)
        module = inspect.getmodule(thing)
        source = textwrap.dedent(_source(thing)).rstrip()
        source = _without(source, _checks_of)
        if not docstring:
            source = _without(source, _docstring_of)
        # Four backticks, because a docstring may hold a fence of three.
        parts.append(f"From `{module.__name__ if module else '?'}`:\n\n````python\n{source}\n````")
        names.append(getattr(thing, "__qualname__", getattr(thing, "__name__", str(thing))))
    return Rendered(markdown="\n\n".join(parts), plain=f"source of {', '.join(names)}")


@checked
def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> Rendered:
    """Rows under headers; numbers go through `fmt`, text may hold Markdown and $maths$.

    A column stands on the right if most of its cells that say anything are numbers, written as such or as text.
    Raises `ValueError` if a row and the headers differ in length.
    """
    for index, row in enumerate(rows):
        require(len(row) == len(headers), f"rows[{index}]", f"must have {len(headers)} cells", list(row))
    cells = [[fmt(value) for value in row] for row in rows]
    right = [_is_numeric([row[i] for row in cells]) for i in range(len(headers))]
    return Rendered(markdown=_markdown(cells, headers, right), plain=_plain(cells, headers, right))


@checked
def fmt(value: object, digits: int = 4) -> str:
    """A number with 4 significant digits and no negative zero; integers in full, anything else as `str` gives it.

    Fewer digits than a machine computes, so that two machines print the same.
    """
    require(1 <= digits <= MOST_DIGITS, "digits", f"must be at least 1 and at most {MOST_DIGITS}", digits)
    if math.prod(getattr(value, "shape", (0,))) == 1 and not getattr(
        value, "is_meta", False
    ):  # a tensor or an array of one number
        value = value.item()  # type: ignore[attr-defined]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    short = float(f"{value:.{digits}g}") + 0.0  # adding 0.0 turns -0.0 into 0.0
    return f"{short:,.0f}" if 10 ** (digits - 1) <= abs(short) < 1e15 else f"{short:.{digits}g}"


def device() -> torch.device:
    """The device the notebooks run on: `TRANSFORMER_DEVICE`, or the CPU; never guessed, so that outputs agree.

    Raises `ValueError` if this machine has no such device.
    """
    return check_device(os.environ.get("TRANSFORMER_DEVICE", "cpu"), "TRANSFORMER_DEVICE")


@checked
def ask(questions: Mapping[str, Any]) -> Rendered:
    """Questions of a chapter by their names, each with its right answer as the cell computes it.

    That is a truth value for each choice, a number, or a number for each thing that is put in order, the smallest
    first. Raises `ValueError` if it is not what the file of the questions says, so that no question can rot.
    """
    found = {name: find_question(name, Path.cwd()) for name in questions}
    for name, question in found.items():
        right = question.agrees(questions[name])
        require(right, name, f"must have the answer of its file, {question.answer()}", questions[name])
    return Rendered(
        markdown="\n\n".join(map(as_markdown, found.values())), plain="\n\n".join(map(as_plain, found.values()))
    )


@checked
def check(name: str, answer: Any) -> Verdict:
    """What is said to an answer to a question ("q-...") or an exercise ("ex-...") of the book.

    A choice is given by its letter, several or an order by letters such as "ca"; an exercise takes a number, numbers, a
    function or whatever it asks for. Raises `ValueError` that lists the names for one that there is not.
    """
    if name.startswith("q-"):
        return find_question(name, Path.cwd()).judge(answer)
    return find_exercise(name).judge(answer)


@checked
def experiment(name: str) -> Record:
    """The record of the experiment `recipes/experiments/NAME.py`, found from any folder of the book.

    Raises `FileNotFoundError` where there is none.
    """
    here = Path.cwd()
    places = [Path(folder, "recipes", "results", f"{name}.json") for folder in (here, *here.parents)]
    return Record(next((path for path in places if path.exists()), places[0]))


def _source(thing: object) -> str:
    if not (inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing)):
        raise wrong_kind("objects", "functions, classes or modules", thing)
    try:
        return inspect.getsource(thing)
    except (TypeError, OSError):  # built in, or typed at a prompt
        raise ValueError(f"objects must have their source in a file, got {shown(thing)}") from None


def _without(source: str, chosen: Callable[[ast.AST, list[str]], list[range]]) -> str:
    """The source without the lines, counted from 0, that are chosen of each of its parts."""
    lines = source.splitlines()
    gone = {i for node in ast.walk(ast.parse(source)) for span in chosen(node, lines) for i in span}
    return "\n".join(line for i, line in enumerate(lines) if i not in gone)


def _docstring_of(node: ast.AST, lines: list[str]) -> list[range]:
    """The docstring's lines, and an empty one after it; those of a body that has nothing else stay."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) or not ast.get_docstring(node):
        return []
    if not node.body[1:]:
        return []
    first, last = node.body[0].lineno, node.body[0].end_lineno or 0
    blank_after = last < len(lines) and not lines[last].strip()
    return [range(first - 1, last + blank_after)]


def _checks_of(node: ast.AST, lines: list[str]) -> list[range]:
    """The decorators that have the arguments checked."""
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        return []
    names = [(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list]
    return [
        range(one.lineno - 1, one.end_lineno or 0)
        for one, name in zip(node.decorator_list, names, strict=True)
        if isinstance(name, ast.Name) and name.id in CHECKS
    ]


def _is_numeric(column: list[str]) -> bool:
    """Whether most cells are numbers; one that is blank or a dash does not count."""
    filled = [cell for cell in column if any(letter.isalnum() for letter in cell)]
    return 2 * sum(NUMBER.fullmatch(cell) is not None for cell in filled) > len(filled)


def _markdown(cells: list[list[str]], headers: Sequence[str], right: list[bool]) -> str:
    rule = ["--:" if r else ":--" for r in right]
    lines = [[cell.replace("|", r"\|") for cell in row] for row in (list(headers), *cells)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (lines[0], rule, *lines[1:]))


def _plain(cells: list[list[str]], headers: Sequence[str], right: list[bool]) -> str:
    lines = [list(headers), *cells]
    widths = [max(len(row[i]) for row in lines) for i in range(len(headers))]
    padded = (
        [cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)]
        for row in lines
    )
    return "\n".join("  ".join(row).rstrip() for row in padded)
