"""What makes two things the same for a run: data by its content, a function by what it computes.

`digest` is a short name for a value, made from its content alone; `describe` says of a function what decides its
results, as JSON values: its name, the digest of its code, and what a partial or a closure has bound. Two runs are
compared by these, and where they differ, the description names the place.

Left out: what a function finds under global names, so a recipe, which holds them, is compared as a whole.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from types import CodeType
from typing import Any

from transformer_lib.contract import checked
from transformer_lib.later import fields_of

LENGTH = 16  # hexadecimal digits: 64 bits, plenty against chance


@checked
def digest(value: Any) -> str:
    """A short name for the content of a value: numbers, texts, tensors, arrays, code, and containers of these.

    Two values of other content have other names, but for chance; of any other object only the type counts.
    """
    total = hashlib.sha256()
    for part in _parts(value):
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()[:LENGTH]


@checked
def describe(function: Callable[..., Any]) -> dict[str, Any]:
    """What decides the results of a function, as JSON values: name, code, and bound arguments."""
    if isinstance(function, functools.partial):
        bound = {str(index): value for index, value in enumerate(function.args)} | dict(function.keywords)
        return describe(function.func) | {name: _described(value) for name, value in bound.items()}
    inner = inspect.unwrap(function)
    if inspect.ismethod(inner):
        inner = inner.__func__
    if not hasattr(inner, "__code__"):  # an object that can be called, or a function that is not Python's
        called = vars(type(inner)).get("__call__")
        code = {"code": digest(called.__code__)} if hasattr(called, "__code__") else {}
        return {"function": getattr(inner, "__qualname__", type(inner).__qualname__), **code}
    cells = dict(zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True))
    bound = {name: _described(cell.cell_contents) for name, cell in cells.items() if _is_filled(cell)}
    return {"function": inner.__qualname__, "code": digest(inner.__code__), **bound}


def _described(value: Any) -> Any:
    """A value as JSON: itself if it is plain, a function described, else its digest."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return describe(value) if callable(value) and not isinstance(value, type) else digest(value)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a name that has no value yet
        return False


def _parts(value: Any) -> Iterator[bytes]:
    """The content as pieces of bytes; the type stands before it, so that 1 is not "1"."""
    yield type(value).__qualname__.encode()
    match value:
        case None:
            return
        case bool() | int() | float() | complex():
            yield repr(value).encode()
        case str():
            yield value.encode(errors="surrogatepass")
        case bytes():
            yield value
        case CodeType():
            yield value.co_code
            yield from _parts(value.co_names)
            yield from _parts(tuple(value.co_consts))
        case Mapping():
            yield from _parts([*value.items()])
        case AbstractSet():
            yield from sorted(digest(item).encode() for item in value)
        case tuple() | list():
            yield str(len(value)).encode()
            for item in value:
                yield from _parts(item)
        case _ if hasattr(value, "dtype") and hasattr(value, "shape"):
            yield f"{value.dtype} {tuple(value.shape)}".encode()
            yield _bytes_of(value)
        case _ if hasattr(value, "__dataclass_fields__"):
            yield from _parts(fields_of(value))


def _bytes_of(array: Any) -> bytes:
    """The numbers of a tensor or an array."""
    if hasattr(array, "detach"):
        import torch

        array = array.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    content: bytes = array.tobytes()
    return content
