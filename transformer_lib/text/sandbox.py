"""A program in the language of Jinja, run so that it can neither touch the machine nor occupy it for long.

Jinja's own sandbox sees to the first. For the second, all work is measured in characters: what an expression makes has
the size of its texts, and each turn of a loop and each call counts as a hundred. The measure is taken before something
large is made, where its size follows from what it is made of: `"a" * 10**9` is refused, not computed. That is done in
the tree of the program, where calls of `_turn`, `_joined` and `_measured` are put in, which it has no names for.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from transformer_lib.contract import checked
from transformer_lib.extras import needed

with needed():
    from jinja2 import Template, TemplateError, nodes
    from jinja2.exceptions import SecurityError, TemplateSyntaxError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace
    from jinja2.visitor import NodeTransformer

MOST_WORK = 1 << 26  # characters: a second or two
MOST_SIZE = 1 << 22  # characters of one value, and of the result
MOST_NUMBER = 1_000_000  # as an argument, such as a width
MOST_BITS = 4096  # of a whole number that is computed
TURN, THING = 100, 16  # what a turn of a loop, or a call, counts as; and a thing of any kind
HERE = __name__


class _Meter:
    """The work of one run."""

    def __init__(self) -> None:
        self.work = self.written = 0

    def add(self, size: int) -> None:
        self.work += size
        if self.work > MOST_WORK:
            raise SecurityError(f"it must need at most {MOST_WORK} characters of work, got more")


_METER: ContextVar[_Meter] = ContextVar("meter")


@checked
class Program:
    """A program; `render` runs it. `ValueError` with `name` if it cannot be read, or fails."""

    def __init__(self, source: str, name: str) -> None:
        self.name = name
        self._environment = environment = _Sandbox()
        self._template = self._guarded(lambda: _compiled(environment, source))

    def render(self, values: Mapping[str, Any]) -> str:
        """What it writes, given values for the names that it uses."""
        return self._guarded(lambda: "".join(self._template.generate(values)))

    def _guarded(self, work: Callable[[], Any]) -> Any:
        token = _METER.set(_Meter())
        try:
            return work()
        except TemplateError as error:
            line = f" in line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
            raise ValueError(f"{self.name} cannot be followed{line}: {error.message}") from error
        except Exception as error:  # it may add a text to a number, and what not
            raise ValueError(f"{self.name} cannot be followed: {type(error).__name__}: {error}") from error
        finally:
            _METER.reset(token)


def _compiled(environment: "_Sandbox", source: str) -> Template:
    tree = _Measured().visit(environment.parse(source))
    for part in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
        written = sum(len(data.data) for data in part.find_all(nodes.TemplateData))
        part.body.insert(0, nodes.ExprStmt(_call("_turn", nodes.Const(written), of=part), lineno=part.lineno))
    tree.set_environment(environment)
    return Template.from_code(environment, environment.compile(tree), environment.make_globals(None))


# What is measured -----------------------------------------------------------------------------------------------------


def _size_of(value: object) -> int:
    """The characters of all texts in a value, and some for each thing; `SecurityError` if it has too many."""
    if isinstance(value, str):
        return len(value)
    total, left = 0, [value]
    while left:
        one = left.pop()
        total += THING + (len(one) if isinstance(one, str) else 0)
        if isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            left += one
        if total + THING * len(left) > MOST_SIZE:
            raise SecurityError(f"no value must have more than {MOST_SIZE} characters, got one that has")
    return total


def _measured(value: Any) -> Any:
    """The value, whose size is added to the work."""
    _METER.get().add(_size_of(value))
    return value


def _turn(written: int) -> str:
    """One more turn of a loop, which writes so many characters beside its expressions."""
    _METER.get().add(TURN)
    _write(written)
    return ""


def _joined(*parts: Any) -> str:
    """The parts as one text."""
    _check_size(sum(map(_size_of, parts)))
    return str(_measured("".join(map(str, parts))))


def _written(value: Any) -> Any:
    """An expression that is written out."""
    _write(_size_of(value))
    return value


def _write(size: int) -> None:
    meter = _METER.get()
    meter.written += size
    meter.add(size)
    _check_size(meter.written)


def _check_size(size: int) -> None:
    if size > MOST_SIZE:
        raise SecurityError(f"no text must have more than {MOST_SIZE} characters, got one of {size}")


def _check_call(name: str, values: tuple[Any, ...]) -> None:
    """What a filter or a method is about to make out of these, the first of which is its subject."""
    _METER.get().add(TURN + sum(map(_size_of, values)))
    numbers = [abs(value) for value in values if isinstance(value, int)]
    if max(numbers, default=0) > MOST_NUMBER:
        raise SecurityError(f"{name} must be given numbers up to {MOST_NUMBER}, got {max(numbers)}")
    match name, values:
        case "replace", (str(text), str(old), str(new), *_):
            _check_size(len(text) + text.count(old) * len(new))
        case "format" | "format_map" | "now", (str(text), *_):
            _check_format(text)
        case "join" | "indent" | "expandtabs" | "tojson" | "wordwrap" | "urlize", (subject, *rest):
            longest = max((value if isinstance(value, int) else _size_of(value) for value in rest), default=1)
            _check_size(_size_of(subject) * max(1, longest))


def _check_format(text: str) -> None:
    if re.search(r"\d{4}|\*", text):
        raise SecurityError(f"a width must have at most three digits, got {text[:80]!r}")


class _Measured(NodeTransformer):
    """Puts the measure where an expression makes something larger out of what there is."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        self.generic_visit(node)
        return _call("_joined", *node.nodes, of=node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:
        self.generic_visit(node)
        node.expr = _call("_measured", node.expr, of=node)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        return _call("_measured", node, of=node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.Expr) -> nodes.Expr:
        self.generic_visit(node)
        return _call("_measured", node, of=node)

    visit_Dict = visit_List


def _call(name: str, *args: nodes.Expr, of: nodes.Node) -> nodes.Call:
    return nodes.Call(nodes.ImportedName(f"{HERE}.{name}"), [*args], [], None, None, lineno=of.lineno)


# The sandbox ----------------------------------------------------------------------------------------------------------


class _Sandbox(ImmutableSandboxedEnvironment):
    """The environment in which transformers runs chat templates, with what is made measured."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], finalize=_written
        )
        self.filters["tojson"] = _tojson
        self.filters = {name: _measured_filter(name, filter_) for name, filter_ in self.filters.items()}
        self.globals |= {"raise_exception": _raise, "strftime_now": _now, "dict": _dict, "namespace": _Namespace}
        del self.globals["lipsum"]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        match operator, left, right:
            case "*" | "**", int(), int():
                bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
                if bits > MOST_BITS:
                    raise SecurityError(f"no number must have more than {MOST_BITS} bits, got {bits}")
            case "*", _, _:
                number, other = (left, right) if isinstance(left, int) else (right, left)
                _check_size(_size_of(other) * max(1, number if isinstance(number, int) else 1))
            case "%", str(), _:
                _check_format(left)
            case "+", _, _:
                _check_size(_size_of(left) + _size_of(right))
        return _measured(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        values = (*args, *kwargs.values())
        subject = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)  # `format` is wrapped there
        values = (subject, *values) if isinstance(subject, str | list | dict) else values
        if getattr(__obj, "__module__", None) != HERE or __obj in (_now, _dict):
            _check_call(getattr(__obj, "__name__", "").strip("_"), values)
        return _measured(super().call(__context, __obj, *args, **kwargs))


def _measured_filter(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    first = int(hasattr(filter_, "jinja_pass_arg"))  # the context, or what else jinja passes it

    @functools.wraps(filter_)
    def call(*args: Any, **kwargs: Any) -> Any:
        _check_call(name, (*args[first:], *kwargs.values()))
        return _measured(filter_(*args, **kwargs))

    return call


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says, which is for training; here it is read and does nothing."""

    tags = {"generation"}  # noqa: RUF012 -- as there

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Namespace(Namespace):
    """Without names that begin with an underscore, which are Python's own."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        values = dict(*args[1:], **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a name must not begin with an underscore, got {name!r}")


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(format: str) -> str:
    return datetime.now().strftime(format)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without HTML's escapes, which the filter of jinja makes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
