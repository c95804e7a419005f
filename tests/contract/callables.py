"""Which public callables the library has, found in its source, and how each is called validly."""

import ast
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2] / "transformer_lib"
# Without "cli": what its functions take are the words of a command, whose mistakes tests/test_main.py makes.
FOLDERS = (
    *(
        "base",
        "config",
        "nn",
        "models",
        "scratch",
        "text",
        "data",
        "training",
        "generation",
        "interop",
        "runs",
        "tasks",
        "exercises",
        "viz",
    ),
)
Valid = Callable[[], dict[str, Any]]


def public_names(folder: str) -> list[str]:
    """The dotted names of a folder's functions, classes and their methods, "base" being the files beside the folders.

    Protocols are left out, which nobody calls, and properties, which take no arguments. Nothing is imported.
    """
    files = sorted(ROOT.glob("*.py") if folder == "base" else (ROOT / folder).rglob("*.py"))
    return [name for file in files if file.stem != "__init__" for name in _names_in(file)]


def _names_in(file: Path) -> Iterator[str]:
    module = ".".join(file.relative_to(ROOT.parent).with_suffix("").parts)
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases):
            continue
        yield f"{module}.{node.name}"
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            called = isinstance(member, ast.FunctionDef) and not _is_property(member)
            if called and (member.name == "__call__" or not member.name.startswith("_")):
                yield f"{module}.{node.name}.{member.name}"


def _is_property(function: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def table(folder: str) -> ModuleType:
    """The module with a folder's CALLS and EXCUSED."""
    return importlib.import_module(f"tests.contract.calls.{folder}")


def folder_of(name: str) -> str:
    """The folder that a public name belongs to."""
    parts = name.split(".")
    if name.startswith("transformer_lib.interop.keras"):
        return "keras"  # a table of its own, which only a run by hand asks for
    return parts[1] if parts[1] in FOLDERS else parts[-2] if name.startswith("tests.") else "base"


def is_excused(name: str, excused: dict[str, str]) -> bool:
    """Whether a name, or everything in its module ("module.*"), is excused."""
    return any(name == key or (key.endswith(".*") and name.startswith(key[:-1])) for key in excused)


@functools.cache
def resolved(name: str) -> tuple[Any, str | None]:
    """What a dotted name stands for: a function or class and None, or a class and the name of its method."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:-1]:
            owner = getattr(owner, part)
        return (owner, parts[-1]) if inspect.isclass(owner) else (getattr(owner, parts[-1]), None)
    raise ValueError(f"name must be that of something importable, got {name}")


def function_of(name: str) -> Any:
    """What `inspect.signature` is to read for a name."""
    owner, method = resolved(name)
    return owner if method is None else inspect.getattr_static(owner, method)


def parameters_of(name: str) -> dict[str, inspect.Parameter]:
    """The arguments of a callable, without `self` or `cls`, by name."""
    target = function_of(name)
    bound = isinstance(target, classmethod) or (resolved(name)[1] and not isinstance(target, staticmethod))
    parameters = dict(inspect.signature(getattr(target, "__func__", target)).parameters)
    if bound:
        del parameters[next(iter(parameters))]
    return parameters


def invoke(name: str, arguments: dict[str, Any]) -> Any:
    """Call it; `self` among the arguments is the object of a method, `*rest` the list of its further arguments."""
    owner, method = resolved(name)
    arguments = dict(arguments)
    target = owner if method is None else getattr(arguments.pop("self", owner), method)
    rest = next((key for key in arguments if key.startswith("*")), None)
    if rest is None:
        return target(**arguments)
    positional = arguments.pop(rest)
    return target(*positional, **arguments)
