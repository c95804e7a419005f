"""What a public call accepts, read off its annotations and checked when it is called.

`@checked` on a function, or on a class for how it is made and for its public methods, compares every argument with its
annotation before the body runs. An object of another kind is a `TypeError`; a value that no argument of the kind may
have is a `ValueError`: NaN, a whole number of more than 64 bits, another word than the listed ones, a tensor of another
number of axes, axes of one name with two lengths, tensors on two devices. Rules that an annotation cannot say stay in
the body.

`@checked_once` is for the parts of a model: of the calls that such a part makes of others, none is checked again, so a
step of decoding pays for one check and not for hundreds; compiled code pays for none. There, a rule that an annotation
cannot say can be added with `@also`, for the same price.

Left out: what a function gives back, and the items of an iterator, which could be seen only once.
"""

import functools
import inspect
import sys
import threading
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from transformer_lib.checks import require, wrong_kind
from transformer_lib.kinds import Accepts, Axis, accepts, annotations_of, anything, axes_of, is_array, members, refuse

Target = TypeVar("Target", bound=Callable[..., Any])
MAKERS = ("__new__", "__init__", "__call__")
PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def checked(target: Target) -> Target:
    """Compare the arguments of every call with the annotations, and refuse what does not fit."""
    if inspect.isclass(target):
        return _on_methods(target, checked)
    rules = _Rules(target)

    @functools.wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        rules.check(args, kwargs)
        return target(*args, **kwargs)

    return _marked(call)


def checked_once(target: Target) -> Target:
    """As `checked`, but not within another call that is checked once, nor in compiled code."""
    if inspect.isclass(target):
        return _on_methods(target, checked_once)
    names = {"_target": target, "_rules": _Rules(target), "_nested": _nested, "_is_compiling": _is_compiling()}
    return _marked(functools.wraps(target)(_with_signature_of(target, names)))


def _marked(call: Any) -> Any:
    """Note on the function that it checks, so that a class which borrows it does not check once more."""
    call.checks_its_arguments = True
    return call


def also(*rules: Callable[..., None]) -> Callable[[Target], Target]:
    """What is `checked_once` must pass these rules too, functions of some of its arguments, by their names."""
    if not all(map(callable, rules)):
        raise wrong_kind("rules", "functions", rules)

    def mark(target: Target) -> Target:
        target.also = rules  # type: ignore[attr-defined]
        return target

    return mark


class _Nested(threading.local):
    """Whether this thread is inside a call that is checked once."""

    yes = False


_nested = _Nested()


def _is_compiling() -> Callable[[], bool]:
    """Torch's own question, without importing torch, which those who compile have imported."""
    torch = sys.modules.get("torch")
    return torch.compiler.is_compiling if torch else lambda: False


def trusting(target: Target) -> Target:
    """For a step of a loop of our own, whose values were checked before it: what the function calls is not checked."""
    if not callable(target):
        raise wrong_kind("target", "a function", target)

    @functools.wraps(target)
    def call(*args: Any) -> Any:
        before = _nested.yes
        _nested.yes = True
        try:
            return target(*args)
        finally:
            _nested.yes = before

    return call  # type: ignore[return-value]


_CALL = """
def call({parameters}):
    if _is_compiling() or _nested.yes:
        return _target({arguments})
    _nested.yes = True
    try:
        _rules.check(({positional}), dict({named}))
{also}        return _target({arguments})
    finally:
        _nested.yes = False
"""


def _with_signature_of(target: Callable[..., Any], names: dict[str, Any]) -> Callable[..., Any]:
    """A function with the parameters of the target written out: through *args and **kwargs, calls take far longer."""
    parameters = inspect.signature(target).parameters.values()
    assert all(p.kind in (*PLACED, p.KEYWORD_ONLY) for p in parameters), "use `checked` for *args and **kwargs"
    default = {p.name: p.default for p in parameters if p.default is not p.empty}
    placed = [p.name for p in parameters if p.kind in PLACED]
    heads = [f"{p.name}=None" if p.name in default else p.name for p in parameters]
    if len(placed) < len(heads):
        heads.insert(len(placed), "*")
    positional = "".join(f"{name}, " for name in placed)
    named = ", ".join(f"{p.name}={p.name}" for p in parameters if p.kind is p.KEYWORD_ONLY)
    also = ""
    for number, rule in enumerate(getattr(target, "also", ())):
        names[f"_also_{number}"] = rule
        also += f"        _also_{number}({', '.join(inspect.signature(rule).parameters)})\n"
    parts = {"parameters": ", ".join(heads), "positional": positional, "named": named, "also": also}
    exec(_CALL.format(arguments=positional + named, **parts), names)
    call = names["call"]
    call.__defaults__ = tuple(default[name] for name in placed if name in default)
    call.__kwdefaults__ = {name: value for name, value in default.items() if name not in placed}
    return call


def _on_methods(cls: Any, decorator: Callable[[Any], Any]) -> Any:
    """Put the decorator on what the class itself defines: how it is made and called, and its public methods."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name not in MAKERS:
            continue
        function = getattr(member, "__func__", member)  # that of a class method or a static one
        if inspect.isfunction(function) and not hasattr(function, "checks_its_arguments"):
            function.__module__ = cls.__module__  # Python makes the `__new__` of a named tuple in no module
            call = decorator(function)
            setattr(cls, name, call if function is member else type(member)(call))
    return cls


# The rules ------------------------------------------------------------------------------------------------------------


class _Rule(NamedTuple):
    """What the annotation of one argument says; the axes are those of the only array among its options."""

    name: str
    annotation: Any
    accepts: Accepts
    axes: tuple[Axis, ...] | None
    default: Any

    @classmethod
    def of(cls, name: str, annotation: Any, default: Any) -> "_Rule":
        arrays = [option for option in members(annotation) if is_array(option)]
        axes = axes_of(arrays[0]) if len(arrays) == 1 else None
        return cls(name, annotation, accepts(annotation), axes, default)

    def check(self, value: Any, known: dict[Any, Any]) -> None:
        if value is self.default:  # which most arguments are: a step of decoding can spare looking at them
            return
        if not self.accepts(value):
            refuse(self.name, self.annotation, value)
        if self.axes is not None and value is not None and hasattr(value, "shape"):
            _agree_on_device(self.name, value, known)
            _agree_on_axes(self.name, self.axes, value.shape, known)


class _Rules:
    """The rules of one function's arguments; its annotations are looked up at the first call, when all names exist."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise wrong_kind("target", "a function or a class", function)
        self.function = function
        self.in_order: list[_Rule | None] | None = None  # those of arguments that may be given by their place
        self.by_name: dict[str, _Rule] = {}
        self.rest: _Rule | None = None  # that of `*rest`
        self.of_module = False  # whether it is a method, with tensors among its arguments

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Compare each argument that was given; what is missing or unknown, Python refuses itself."""
        if self.in_order is None:
            self._read()
        assert self.in_order is not None
        known: dict[Any, Any] = {}  # the lengths of axes, and the device, that earlier arguments have
        if self.of_module and args and (place := _device_of(args[0])):
            known["device"] = place
        for rule, value in zip(self.in_order, args, strict=False):
            if rule is not None:
                rule.check(value, known)
        for name, value in kwargs.items():
            if name in self.by_name:
                self.by_name[name].check(value, known)
        if self.rest is not None:
            for value in args[len(self.in_order) :]:
                self.rest.check(value, known)

    def _read(self) -> None:
        parameters = inspect.signature(self.function).parameters.values()
        annotations = annotations_of(self.function)
        defaults = {parameter.name: parameter.default for parameter in parameters}
        rules = {name: _Rule.of(name, annotation, defaults[name]) for name, annotation in annotations.items()}
        rules = {name: rule for name, rule in rules.items() if rule.accepts is not anything}
        kinds = {parameter.name: parameter.kind for parameter in parameters}
        spread = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        self.by_name = {name: rule for name, rule in rules.items() if kinds[name] not in spread}
        self.rest = next((rule for name, rule in rules.items() if kinds[name] is spread[0]), None)
        arrays = any(rule.axes is not None for rule in rules.values())
        self.of_module = arrays and next(iter(kinds)) == "self" and self.function.__name__ not in MAKERS
        self.in_order = [rules.get(parameter.name) for parameter in parameters if parameter.kind in PLACED]


# The parts of named tuples --------------------------------------------------------------------------------------------


@checked_once
def require_parts(value: tuple[Any, ...]) -> None:
    """Raise what making this named tuple would raise: `_replace` and `_make` change its parts and look at nothing."""
    if not hasattr(value, "_fields"):
        raise wrong_kind("value", "a named tuple", value)
    for part, (name, annotation, fits) in zip(value, _parts(type(value)), strict=True):
        if not fits(part):
            refuse(name, annotation, part)


@functools.cache
def _parts(kind: Any) -> list[tuple[str, Any, Accepts]]:
    return [(name, annotation, accepts(annotation)) for name, annotation in typing.get_type_hints(kind).items()]


# The axes and the device of arrays -----------------------------------------------------------------------------------


def _agree_on_axes(name: str, axes: tuple[Axis, ...], shape: tuple[int, ...], known: dict[Any, Any]) -> None:
    """Compare the lengths with those that axes of the same names have in other arguments."""
    place = 0
    for axis in axes:
        if axis.spread:
            width = len(shape) - len(axes) + 1
            if axis.name is not None:
                _agree(name, f"*{axis.name}", tuple(shape[place : place + width]), known)
            place += width
            continue
        length = shape[place]
        place += 1
        if axis.length is not None:
            require(length == axis.length, name, f"must have an axis of length {axis.length} there", tuple(shape))
        elif axis.name is not None and not (axis.broadcast and length == 1):
            _agree(name, axis.name, length, known)


def _agree(name: str, axis: str, length: Any, known: dict[Any, Any]) -> None:
    before = known.setdefault(axis, length)
    if before != length:
        rule = f"must have the same {axis.removeprefix('*')} as the arguments before it, {before}"
        require(False, name, rule, length)


def _agree_on_device(name: str, value: Any, known: dict[Any, Any]) -> None:
    """Tensors of one call lie on one device, that of the module; a single number may lie elsewhere, as torch has it."""
    if value.ndim and type(value).__module__ != "numpy":
        before = known.setdefault("device", value.device)
        if before != value.device:
            require(False, name, f"must be on the device of the other tensors, {before}", str(value.device))


def _device_of(owner: Any) -> Any:
    """The device of a module's first parameter, None without one, or if the owner of the method is no module."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(owner, torch.nn.Module):
        return None
    first = _first_parameter(owner)
    return None if first is None else first.device


def _first_parameter(module: Any) -> Any:
    """What `next(module.parameters())` gives, in a fraction of the time."""
    for weight in module._parameters.values():
        if weight is not None:
            return weight
    for part in module._modules.values():
        if part is not None and (found := _first_parameter(part)) is not None:
            return found
    return None
