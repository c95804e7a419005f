"""Whether one call kept the contract.

Right are: a result, a `ValueError` or `TypeError` that the library itself raised, Python's own error for a path that is
not there or cannot be (one with a null character), a module of an extra that is missing, and Python's own words for an
argument that is missing or unknown.
Wrong are: every other exception; a `ValueError` or `TypeError` that Python, NumPy or torch raised because something
wrong got as far as that; an argument that was accepted although its annotation excludes it; NaN from numbers that
are finite.
"""

import dataclasses
import dis
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from inspect import isclass
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch

from tests.contract.callables import function_of, invoke
from tests.contract.strange import MISSING, STRANGE, UNKNOWN
from transformer_lib import kinds

LIBRARY = str(Path(kinds.__file__).parent)
FINE_ELSEWHERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, ModuleNotFoundError)
ARGUMENTS = re.compile(r"missing \d+ required|unexpected keyword argument|positional arguments? but")
MOST_ITEMS = 50  # of what a generator yields, or of what a result holds


class Case(NamedTuple):
    """A call: a public name, and what is put in the place of which of its valid arguments."""

    name: str
    changes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{argument}:{strange}" for argument, strange in self.changes)])


class Outcome(NamedTuple):
    """ "accepted", "refused", or the kind of the fault, with what was said."""

    verdict: str
    message: str = ""


def judge(case: Case, valid: dict[str, Any]) -> Outcome:
    """Change the valid arguments as the case says, call, and judge what happens."""
    arguments = _changed(case, valid)
    finite = not any(map(_is_not_finite, _numbers(list(arguments.values()))))
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            result = _finished(invoke(case.name, arguments))
    except Exception as error:
        return _judge_error(case, error)
    wrong = _wrongly_accepted(case, arguments)
    if wrong:
        return Outcome("wrongly accepted", wrong)
    if finite and any(map(_is_nan, _numbers([result, *arguments.values()]))):
        return Outcome("NaN", "the result holds NaN, and every argument is finite")
    return Outcome("accepted")


def _changed(case: Case, valid: dict[str, Any]) -> dict[str, Any]:
    arguments = dict(valid)
    for argument, strange in case.changes:
        key = next((k for k in arguments if k.lstrip("*") == argument), argument)
        if strange == MISSING:
            arguments.pop(key, None)
        elif key.startswith("*"):
            value = list(arguments[key])
            arguments[key] = [STRANGE[strange](value[0] if value else None), *value[1:]]
        else:
            arguments[key] = STRANGE[strange](arguments.get(key))
    return arguments


def _finished(result: Any) -> Any:
    """A context entered and left, a generator's first items; anything else as it is."""
    if isinstance(result, AbstractContextManager) and not isinstance(result, torch.nn.Module):
        with result as inside:
            return inside
    if isinstance(result, Iterator):
        return list(itertools.islice(result, MOST_ITEMS))
    return result


def _judge_error(case: Case, error: Exception) -> Outcome:
    said = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
    if isinstance(error, FINE_ELSEWHERE) or raised_here(error) or "embedded null" in str(error):
        return Outcome("refused", said)
    asked = any(strange == MISSING or argument == UNKNOWN for argument, strange in case.changes)
    if isinstance(error, TypeError) and asked and ARGUMENTS.search(str(error)):
        return Outcome("refused", said)
    foreign = isinstance(error, ValueError | TypeError)
    return Outcome(f"foreign {type(error).__name__}" if foreign else type(error).__name__, said + _place(error))


def raised_here(error: Exception) -> bool:
    """Whether it is a `ValueError` or `TypeError` from a `raise` of the library, not from what something did inside."""
    if not isinstance(error, ValueError | TypeError):
        return False
    last = _last(error.__traceback__)
    if last is None or not last.tb_frame.f_code.co_filename.startswith(LIBRARY):
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _last(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _place(error: Exception) -> str:
    """The last line of the library that was passed."""
    place, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(LIBRARY):
            place = f" (at {name.removeprefix(LIBRARY)[1:]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _wrongly_accepted(case: Case, arguments: dict[str, Any]) -> str:
    """Name an argument that its annotation excludes."""
    hints = _hints(case.name)
    for argument, strange in case.changes:
        known = strange != MISSING and argument in hints and argument in arguments
        if known and not kinds.accepts(hints[argument])(arguments[argument]):
            return f"{argument}={arguments[argument]!r}"[:200] + f", annotated {hints[argument]}"
    return ""


def _hints(name: str) -> dict[str, Any]:
    target = function_of(name)
    if isclass(target):
        target = target.__new__ if issubclass(target, tuple) else target.__init__
    return kinds.annotations_of(getattr(target, "__func__", target))


def _numbers(values: Any, depth: int = 4) -> Iterator[Any]:
    """The floats, tensors and arrays in nested containers, as far as one looks."""
    if isinstance(values, float | np.floating | torch.Tensor | np.ndarray):
        yield values
    elif depth and isinstance(values, Mapping):
        yield from _numbers(list(values.values()), depth)
    elif depth and isinstance(values, list | tuple):
        for value in values[:MOST_ITEMS]:
            yield from _numbers(value, depth - 1)
    elif depth and dataclasses.is_dataclass(values) and not isclass(values):
        for field in dataclasses.fields(values):
            yield from _numbers(getattr(values, field.name, None), depth - 1)


def _is_nan(value: Any) -> bool:
    return _any(value, torch.isnan, np.isnan, math.isnan)


def _is_not_finite(value: Any) -> bool:
    return _any(value, lambda x: ~torch.isfinite(x), lambda x: ~np.isfinite(x), lambda x: not math.isfinite(x))


def _any(value: Any, of_tensor: Any, of_array: Any, of_float: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.device.type != "meta" and not value.is_quantized and bool(of_tensor(value.detach()).any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc" and bool(of_array(value).any())
    return bool(of_float(float(value)))
