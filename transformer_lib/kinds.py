"""Whether a value is what an annotation says, and what to say if it is not.

`accepts` turns an annotation into a quick test; `refuse` finds the words, once a test has failed. Understood are
numbers, flags, strings, words (`Literal`), names of devices, tensors and arrays with their axes, unions, containers
with their items, functions, protocols and plain classes; of what else there is, anything is accepted.
"""

import collections.abc as abc
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, Union, get_args, get_origin

from transformer_lib.checks import is_number, is_whole, require, wrong_kind

Accepts = Callable[[Any], bool]


class Axis(NamedTuple):
    """One axis of an array's annotation, or any number of axes where `spread` is set.

    Axes of one name have one length, unless they are `broadcast` and have length 1.
    """

    name: str | None = None
    length: int | None = None
    broadcast: bool = False
    spread: bool = False


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotation of each argument, also where it is written as text; what the function gives back is left out."""
    inner = inspect.unwrap(function)
    arguments = {name: kind for name, kind in inner.__annotations__.items() if name != "return"}
    names = vars(sys.modules[inner.__module__]) if inner.__module__ in sys.modules else inner.__globals__
    return typing.get_type_hints(types.SimpleNamespace(__annotations__=arguments), names)


# Tests ----------------------------------------------------------------------------------------------------------------


def accepts(annotation: Any) -> Accepts:
    """A function that says whether a value fits an annotation, the lengths of a tensor's axes apart."""
    if annotation in (Any, inspect.Parameter.empty, object) or isinstance(annotation, TypeVar | ParamSpec):
        return anything
    if annotation is None or annotation is type(None):
        return lambda value: value is None
    if annotation is bool:
        return lambda value: type(value) is bool
    if annotation is int:
        return is_whole
    if annotation is float:
        return is_number
    if is_array(annotation):
        return _array(annotation)
    if annotation is abc.Callable or get_origin(annotation) is abc.Callable:
        return lambda value: callable(value)
    if get_origin(annotation) is not None:
        return _generic(annotation, get_origin(annotation), get_args(annotation))
    if not inspect.isclass(annotation):
        return anything
    if getattr(annotation, "_is_protocol", False):
        names = _members_of(annotation)
        return lambda value: not inspect.isclass(value) and all(hasattr(value, name) for name in names)
    # What torch.compile(module) gives is no instance of the module's class, but serves as one.
    return lambda value: isinstance(value, annotation) or isinstance(getattr(value, "_orig_mod", None), annotation)


def anything(value: Any) -> bool:
    """True."""
    return True


def _generic(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Accepts:
    """The test for an annotation with brackets or bars."""
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is Literal:
        return lambda value: any(type(value) is type(word) and value == word for word in arguments)
    if origin is type:
        return inspect.isclass
    return _container(origin, arguments) if inspect.isclass(origin) else anything


def _union(arguments: tuple[Any, ...]) -> Accepts:
    device = next(filter(_is_device, arguments), None)
    options = [
        functools.partial(_names_device, device) if option is str and device else accepts(option)
        for option in sorted(arguments, key=lambda option: option is not type(None))  # None costs the least to test
    ]

    if len(options) == 2:  # the usual case: something or None
        first, second = options
        return lambda value: first(value) or second(value)
    return lambda value: any(option(value) for option in options)


def _is_device(annotation: Any) -> bool:
    return getattr(annotation, "__module__", "") == "torch" and annotation.__name__ == "device"


def _names_device(device: Any, value: Any) -> bool:
    """Whether a string is the name of a device, of this machine or another: torch raises where it is not."""
    try:
        return isinstance(value, str) and bool(device(value))
    except RuntimeError:
        return False


def _container(origin: type, arguments: tuple[Any, ...]) -> Accepts:
    """A string is no list of strings, though Python has it so, and a tensor no list of anything.

    The items of an iterator could be seen only once.
    """

    def whole(value: Any) -> bool:
        return isinstance(value, origin) and not isinstance(value, str | bytes) and not hasattr(value, "shape")

    if issubclass(origin, tuple) and arguments and arguments[-1] is not ...:
        parts = [accepts(argument) for argument in arguments]
        return lambda value: (
            whole(value) and len(value) == len(parts) and all(fits(v) for fits, v in zip(parts, value, strict=True))
        )
    if issubclass(origin, abc.Mapping) and len(arguments) == 2:
        key, item = map(accepts, arguments)
        return lambda value: whole(value) and all(map(key, value)) and all(map(item, value.values()))
    if not issubclass(origin, abc.Iterable) or issubclass(origin, abc.Iterator) or not arguments:
        return whole
    item = accepts(arguments[0])
    return lambda value: whole(value) and (not isinstance(value, abc.Collection) or all(map(item, value)))


def _members_of(protocol: Any) -> tuple[str, ...]:
    """The names that an object must have to follow a protocol."""
    classes = [cls for cls in protocol.__mro__ if getattr(cls, "_is_protocol", False) and cls is not typing.Protocol]
    names = {name for cls in classes for name in (*vars(cls), *inspect.get_annotations(cls))}
    return tuple(sorted(name for name in names if not name.startswith("_") or name == "__call__"))


# Arrays ---------------------------------------------------------------------------------------------------------------


def is_array(annotation: Any) -> bool:
    """Whether an annotation is one of jaxtyping's, such as `Float[Tensor, "batch time"]`."""
    return inspect.isclass(annotation) and hasattr(annotation, "array_type") and hasattr(annotation, "dim_str")


def _array(annotation: Any) -> Accepts:
    kind, axes = annotation.array_type, axes_of(annotation)
    least = sum(not axis.spread for axis in axes)
    most = least if least == len(axes) else 10**9
    known: dict[Any, bool] = {}  # whether a dtype is one of those meant, once it has been seen

    def array(value: Any) -> bool:
        if not isinstance(value, kind):
            return False
        dtype = value.dtype
        if dtype not in known:
            known[dtype] = _has_type(annotation, dtype)
        return known[dtype] and least <= value.ndim <= most

    return array


def _has_type(annotation: Any, dtype: Any) -> bool:
    return not isinstance(annotation.dtypes, tuple) or _type_name(dtype) in annotation.dtypes


def _type_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def axes_of(annotation: Any) -> tuple[Axis, ...]:
    """The axes that the text of an array's annotation names, as jaxtyping reads it."""
    return tuple(map(_axis, annotation.dim_str.split()))


def _axis(word: str) -> Axis:
    name = word.lstrip("#*_")
    marks = set(word[: len(word) - len(name)])
    if word == "..." or "*" in marks:
        return Axis(name if word != "..." and marks == {"*"} and name else None, spread=True)
    if name.isdigit():
        return Axis(length=int(name))
    return Axis(name if name.isidentifier() and "_" not in marks else None, broadcast="#" in marks)


# Words ----------------------------------------------------------------------------------------------------------------


def refuse(name: str, annotation: Any, value: Any) -> typing.NoReturn:
    """Raise the error for a value that does not fit: `ValueError` if it is of a right kind, else `TypeError`."""
    options = members(annotation)
    for option in options:
        _refuse_value(name, option, value)
        _refuse_item(name, option, value)
    if isinstance(value, str) and any(map(_is_device, options)):
        require(False, name, "must be the name of a device", value)
    raise wrong_kind(name, " or ".join(dict.fromkeys(map(words, options))), value)


def _refuse_value(name: str, option: Any, value: Any) -> None:
    """Raise `ValueError` if the value is of the kind that an option names, and only its value is wrong."""
    if option in (int, float) and type(value) is int:
        require(is_whole(value), name, "must be a whole number of at most 64 bits", value)
    if option is float and isinstance(value, float):
        require(False, name, "must not be NaN", value)
    if get_origin(option) is Literal and any(type(value) is type(word) for word in get_args(option)):
        require(False, name, f"must be one of {', '.join(map(repr, get_args(option)))}", value)
    if is_array(option) and isinstance(value, option.array_type):
        require(_has_type(option, value.dtype), name, f"must have {_type_words(option)}", _type_name(value.dtype))
        axes = ", ".join(option.dim_str.split())
        require(False, name, f"must have the axes {axes}" if axes else "must be a single number", tuple(value.shape))


def _refuse_item(name: str, option: Any, value: Any) -> None:
    """Name the item at fault of a container that is one of the right kind."""
    origin, arguments = get_origin(option), get_args(option)
    whole = _container(origin, ()) if inspect.isclass(origin) and arguments else None
    if whole is None or not whole(value):
        return
    if issubclass(origin, tuple) and arguments[-1] is not ...:
        require(len(value) == len(arguments), name, f"must have {len(arguments)} parts", value)
    for place, argument, item in _items(name, arguments, value):
        if not accepts(argument)(item):
            refuse(place, argument, item)


def _items(name: str, arguments: tuple[Any, ...], value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each item of a container, with its place in words and its annotation."""
    if isinstance(value, abc.Mapping):
        yield from ((f"a key of {name}", arguments[0], key) for key in value)
        yield from ((f"{name}[{key!r}]", arguments[-1], item) for key, item in value.items())
    elif isinstance(value, abc.Collection):
        for index, item in enumerate(value):
            fixed = isinstance(value, tuple) and len(arguments) == len(value) and arguments[-1] is not ...
            yield f"{name}[{index}]", arguments[index if fixed else 0], item


def words(annotation: Any) -> str:
    """What an annotation wants, in words for a message."""
    if is_array(annotation):
        return f"a {annotation.array_type.__name__}"
    origin = get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, get_args(annotation)))
    if origin is None or not inspect.isclass(origin):
        plain = origin or annotation
        return _NAMES.get(plain) or _with_article(getattr(plain, "__name__", str(plain)))
    return (_NAMES.get(origin) or _with_article(origin.__name__)) + _item_words(get_args(annotation))


def kind_words(annotation: Any) -> str:
    """What kind an annotation wants, in words, whatever the value: "" if anything will do."""
    options = [type(get_args(o)[0]) if get_origin(o) is Literal else o for o in members(annotation)]
    return "" if accepts(annotation) is anything else " or ".join(dict.fromkeys(map(words, options)))


def _with_article(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _item_words(arguments: tuple[Any, ...]) -> str:
    items = [argument for argument in arguments if argument is not ...]
    return f" of {_PLURALS[items[0]]}" if len(items) == 1 and items[0] in _PLURALS else ""


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
    type: "a class",
    type(None): "None",
    abc.Callable: "a function",
    abc.Sequence: "a list",
    abc.Iterable: "a collection",
    abc.Collection: "a collection",
    abc.Mapping: "a dict",
    abc.Iterator: "an iterator",
}
_PLURALS: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "strings"}
