"""What a public call accepts, read off its annotations and checked when it is called.

`@checked` on a function, or on a class for its `__init__` and its public methods, compares every argument with its
annotation before the body runs. An object of another kind is a `TypeError`, a value that no argument of the kind may
have (NaN, a whole number of more than 64 bits, another word than the listed ones, a tensor of another number of axes,
axes of one name with two lengths) is a `ValueError`. Rules that an annotation cannot say stay in the body.

`@checked_once` is for the parts of a model: of the calls that such a part makes of others, none is checked again, so a
step of decoding pays for one check and not for hundreds; compiled code pays for none.

Left out: what a function gives back, and the items of an iterator, which could be seen only once.
"""

import functools
import inspect
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from transformer_lib.checks import require
from transformer_lib.kinds import accepts, annotations_of, axes_of, is_array, members, refuse

Target = TypeVar("Target", bound=Callable[..., Any])
_inside = threading.local()
_KINDS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def checked(target: Target) -> Target:
    """Compare the arguments of every call with the annotations, and refuse what does not fit."""
    if inspect.isclass(target):
        return _on_methods(target, checked)
    rules = _Rules(target)

    @functools.wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        rules.check(args, kwargs)
        return target(*args, **kwargs)

    return call  # type: ignore[return-value]


def checked_once(target: Target) -> Target:
    """As `checked`, but not within another call that is checked once, nor in compiled code."""
    if inspect.isclass(target):
        return _on_methods(target, checked_once)
    rules = _Rules(target)
    torch = sys.modules.get("torch")  # whoever compiles has it; this module is also for those who do without
    is_compiling = torch.compiler.is_compiling if torch else bool

    @functools.wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or getattr(_inside, "yes", False):
            return target(*args, **kwargs)
        rules.check(args, kwargs)
        _inside.yes = True
        try:
            return target(*args, **kwargs)
        finally:
            _inside.yes = False

    return call  # type: ignore[return-value]


def _on_methods(cls: Any, decorator: Callable[[Any], Any]) -> Any:
    """Put the decorator on what the class itself defines: how it is made and called, and its public methods."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        if isinstance(member, classmethod | staticmethod):
            setattr(cls, name, type(member)(decorator(member.__func__)))
        elif inspect.isfunction(member):
            setattr(cls, name, decorator(member))
    return cls


class _Rules:
    """The rules of one function's arguments; its annotations are looked up at the first call, when all names exist."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.rules: dict[str, _Rule] | None = None

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.rules is None:
            self._read()
        assert self.rules is not None
        axes: dict[str, Any] = {}
        for name, value in zip(self.order, args, strict=False):
            rule = self.rules.get(name)
            if rule is not None:
                rule.check(name, value, axes)
        for name, value in kwargs.items():
            rule = self.rules.get(name)
            if rule is not None:
                rule.check(name, value, axes)
        if len(args) > len(self.order) and self.rest is not None:
            for value in args[len(self.order) :]:
                self.rest[1].check(self.rest[0], value, axes)

    def _read(self) -> None:
        parameters = inspect.signature(self.function).parameters
        hints = annotations_of(self.function)
        self.order = [name for name, parameter in parameters.items() if parameter.kind in _KINDS]
        named = {name: _Rule(hints[name]) for name in parameters if name in hints}
        self.rest = next(
            ((n, named[n]) for n, p in parameters.items() if p.kind is p.VAR_POSITIONAL and n in named), None
        )
        self.rules = {
            name: rule
            for name, rule in named.items()
            if parameters[name].kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            and rule.annotation is not Any
        }


class _Rule:
    """What one annotation says."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.accepts = accepts(annotation)
        arrays = [part for part in members(annotation) if is_array(part)]
        self.axes = axes_of(arrays[0]) if len(arrays) == 1 else None

    def check(self, name: str, value: Any, axes: dict[str, Any]) -> None:
        if not self.accepts(value):
            refuse(name, self.annotation, value)
        if self.axes is not None and hasattr(value, "shape"):
            _bind(name, self.axes, value.shape, axes)


# The axes of tensors -------------------------------------------------------------------------------------------------


def _bind(name: str, dims: tuple[tuple[str, Any], ...], shape: Any, axes: dict[str, Any]) -> None:
    """Compare the lengths with those that axes of the same names have in other arguments."""
    spread = next((i for i, (kind, _) in enumerate(dims) if kind == "*"), None)
    if spread is None:
        pairs = zip(dims, shape, strict=True)
    else:
        after = len(dims) - spread - 1
        stop = len(shape) - after
        pairs = zip((*dims[:spread], *dims[spread + 1 :]), (*shape[:spread], *shape[stop:]), strict=True)
        if dims[spread][1] is not None:
            _agree(name, dims[spread][1], tuple(shape[spread:stop]), axes)
    for (kind, axis), length in pairs:
        if kind == "=":
            require(length == axis, name, f"must have an axis of length {axis} there", tuple(shape))
        elif kind == "" or (kind == "#" and length != 1):
            _agree(name, axis, length, axes)


def _agree(name: str, axis: str, length: Any, axes: dict[str, Any]) -> None:
    known = axes.setdefault(axis, length)
    if known != length:
        require(False, name, f"must have the same {axis} as the arguments before it, {known}", length)
