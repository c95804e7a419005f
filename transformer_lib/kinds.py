"""Whether a value is what an annotation says, and what to say if it is not.

`accepts` turns an annotation into a quick test; `refuse` finds the words, once a test has failed. Understood are
numbers, flags, strings, words (`Literal`), tensors and arrays with their axes, unions, containers with their items,
functions and plain classes; of what else there is, anything is accepted.
"""

import collections.abc as abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from transformer_lib.checks import require, wrong_kind

Accepts = Callable[[Any], bool]
Axis = tuple[str, Any]


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotation of each argument, also where it is written as text; what the function gives back is left out."""
    inner = inspect.unwrap(function)
    arguments = {name: kind for name, kind in inner.__annotations__.items() if name != "return"}
    return typing.get_type_hints(types.SimpleNamespace(__annotations__=arguments), inner.__globals__)


def accepts(annotation: Any) -> Accepts:
    """A function that says whether a value fits an annotation, the lengths of a tensor's axes apart."""
    if annotation in (Any, inspect.Parameter.empty, object) or isinstance(annotation, TypeVar | ParamSpec):
        return _anything
    if annotation is None or annotation is type(None):
        return lambda value: value is None
    if annotation is bool:
        return lambda value: type(value) is bool
    if annotation is int:
        return lambda value: type(value) is int and -(2**63) <= value < 2**63
    if annotation is float:
        return _is_number
    if is_array(annotation):
        return _array(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        options = [accepts(option) for option in arguments]
        return lambda value: any(option(value) for option in options)
    if origin is Literal:
        return lambda value: any(type(value) is type(word) and value == word for word in arguments)
    if origin is abc.Callable or annotation is abc.Callable:
        return callable
    if origin is type:
        return inspect.isclass
    if origin is not None and inspect.isclass(origin):
        return _container(origin, arguments)
    if getattr(annotation, "_is_protocol", False) and not getattr(annotation, "_is_runtime_protocol", False):
        return _anything
    if inspect.isclass(annotation):
        return lambda value: isinstance(value, annotation)
    return _anything


def _container(origin: type, arguments: tuple[Any, ...]) -> Accepts:
    texts = not issubclass(origin, str | bytes)

    def whole(value: Any) -> bool:
        return isinstance(value, origin) and not (texts and isinstance(value, str | bytes))

    if issubclass(origin, tuple) and arguments[-1:] != (...,):
        parts = [accepts(argument) for argument in arguments]
        return lambda value: (
            whole(value) and len(value) == len(parts) and all(fit(v) for fit, v in zip(parts, value, strict=True))
        )
    if issubclass(origin, abc.Mapping) and len(arguments) == 2:
        key, item = map(accepts, arguments)
        return lambda value: whole(value) and all(key(k) and item(v) for k, v in value.items())
    if issubclass(origin, abc.Iterable) and arguments and not issubclass(origin, abc.Iterator):
        item = accepts(arguments[0])
        if item is _anything:
            return whole
        return lambda value: whole(value) and (not isinstance(value, abc.Collection) or _each(item, value))
    return whole


def _each(item: Accepts, value: abc.Collection[Any]) -> bool:
    return all(map(item, value)) if isinstance(value, abc.Sequence | abc.Set | abc.Mapping) else True


def _anything(value: Any) -> bool:
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # NaN equals nothing


def is_array(annotation: Any) -> bool:
    return inspect.isclass(annotation) and hasattr(annotation, "array_type") and hasattr(annotation, "dims")


def _array(annotation: Any) -> Accepts:
    kind, axes = annotation.array_type, axes_of(annotation)
    named = sum(axis[0] != "*" for axis in axes)
    exact = named == len(axes)

    def accept(value: Any) -> bool:
        if not isinstance(value, kind) or not _has_type(annotation, value):
            return False
        return len(value.shape) == named if exact else len(value.shape) >= named

    return accept


def _has_type(annotation: Any, value: Any) -> bool:
    return not isinstance(annotation.dtypes, tuple) or _type_name(value.dtype) in annotation.dtypes


@functools.cache
def _type_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def axes_of(annotation: Any) -> tuple[Axis, ...]:
    """The kind of each axis of an array's annotation, with its name or length.

    "" is a named axis, "#" one that may also be 1, "=" one of fixed length, "?" any, "*" any number of axes.
    """
    return tuple(map(_axis, annotation.dims))


def _axis(dim: Any) -> Axis:
    match type(dim).__name__:
        case "_NamedDim":
            return ("#" if dim.broadcastable else "", dim.name)
        case "_FixedDim":
            return ("=", dim.size)
        case "_NamedVariadicDim":
            return ("*", None if dim.broadcastable else dim.name)
        case "_AnonymousVariadicDim":
            return ("*", None)
        case _:
            return ("?", None) if dim is not ... else ("*", None)


# Words ----------------------------------------------------------------------------------------------------------------


def refuse(name: str, annotation: Any, value: Any) -> None:
    """Raise the error for a value that does not fit: `ValueError` if it is of a right kind, else `TypeError`."""
    for option in members(annotation):
        if option is int and type(value) is int:
            require(False, name, "must be a whole number of at most 64 bits", value)
        if option is float and isinstance(value, float):
            require(False, name, "must be a number", value)
        if get_origin(option) is Literal and any(type(value) is type(word) for word in get_args(option)):
            require(False, name, f"must be one of {get_args(option)}", value)
        if is_array(option) and isinstance(value, option.array_type):
            if not _has_type(option, value):
                require(False, name, f"must have {_type_words(option)}", _type_name(value.dtype))
            require(False, name, f"must have the axes {', '.join(option.dim_str.split())}", tuple(value.shape))
        _refuse_item(name, option, value)
    raise wrong_kind(name, " or ".join(dict.fromkeys(map(words, members(annotation)))), value)


def _refuse_item(name: str, option: Any, value: Any) -> None:
    """Name the item at fault of a container that is one of the right kind."""
    origin: Any = get_origin(option)
    arguments = get_args(option)
    if not inspect.isclass(origin) or not isinstance(value, origin) or isinstance(value, str | bytes):
        return
    if issubclass(origin, tuple) and arguments[-1:] != (...,):
        require(len(value) == len(arguments), name, f"must have {len(arguments)} parts", value)
        pairs: Iterator[tuple[Any, Any, Any]] = zip(range(len(value)), arguments, value, strict=True)
    elif issubclass(origin, abc.Mapping) and len(arguments) == 2:
        for key in value:
            if not accepts(arguments[0])(key):
                refuse(f"a key of {name}", arguments[0], key)
        pairs = ((repr(key), arguments[1], item) for key, item in value.items())
    else:
        pairs = ((index, arguments[0], item) for index, item in enumerate(value)) if arguments else iter(())
    for index, argument, item in pairs:
        if not accepts(argument)(item):
            refuse(f"{name}[{index}]", argument, item)


def words(annotation: Any) -> str:
    """What an annotation wants, in words for a message."""
    if is_array(annotation):
        return f"a {annotation.array_type.__name__}"
    origin = get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, get_args(annotation)))
    if origin is abc.Callable or annotation is abc.Callable:
        return "a function"
    if origin is not None and inspect.isclass(origin):
        return _NAMES.get(origin, f"a {origin.__name__}") + _items(get_args(annotation))
    return _NAMES.get(annotation, f"a {getattr(annotation, '__name__', annotation)}")


def _items(arguments: tuple[Any, ...]) -> str:
    kinds = [argument for argument in arguments if argument is not ...]
    return f" of {words(kinds[0]).removeprefix('a ')}s" if len(kinds) == 1 and kinds[0] in (int, float, str) else ""


def _type_words(annotation: Any) -> str:
    kinds = {kind.rstrip("0123456789") for kind in annotation.dtypes}
    return "boolean type" if "bool" in kinds else "an integer type" if "int" in kinds else "a floating-point type"


def members(annotation: Any) -> tuple[Any, ...]:
    """The options of a union, or the annotation alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a string",
    type(None): "None",
    abc.Sequence: "a list",
    abc.Iterable: "a collection",
    abc.Collection: "a collection",
    abc.Mapping: "a dict",
    abc.Iterator: "an iterator",
}
