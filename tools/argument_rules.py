"""What a public call refuses, in words for its page, read from the source and the annotations of the library.

A rule is the text of a message about one call, with that call's numbers in it. Here it is turned into a text about all
calls: with what a function gives to its helpers in the place of their names, with constants as their values and
expressions of the arguments as code. A rule that speaks of anything else is left out.
"""

import ast
import copy
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from types import FunctionType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

PACKAGE = "transformer_lib"
ACTIVE = re.compile(r"([*|\\]|_(?!\w))")  # what reStructuredText would take for markup
RULES = {  # the checks of `transformer_lib.checks` that take their fields as keywords
    "require_positive": "must be a whole number of at least 1",
    "require_sizes": "must be a whole number of at least 1 and below 2\\*\\*31",
    "require_whole": "must be a whole number of at most 64 bits",
    "require_numbers": "must be a finite number",
    "require_between": "must be at least {} and at most {}",
}
HELPERS = ("_", "check_", "require_")  # how the functions begin that may refuse for the one that calls them
PURE = {"dataclasses.fields", "get_args", "len", "list", "map", "repr", "sorted", "str", "tuple"}
LONGEST_CODE = 48  # characters of an expression within a rule, beyond which nobody reads it


def escaped(text: str) -> str:
    """Prose in which nothing is markup."""
    return ACTIVE.sub(r"\\\1", text)


def kinds_wanted(obj: Any) -> list[str]:
    """What kind each argument of a checked call must be of, in words: "``x`` is a Tensor", "``eps`` a number"."""
    from transformer_lib.kinds import kind_words

    wanted = [(name, kind_words(annotation)) for name, annotation in _checked_arguments(obj).items()]
    known = [(name, text) for name, text in wanted if text]
    return [f"``{name}`` {'' if index else 'is '}{escaped(text)}" for index, (name, text) in enumerate(known)]


def words_allowed(obj: Any) -> Iterator[str]:
    """The words that an argument may be, where its annotation lists them."""
    for name, annotation in _checked_arguments(obj).items():
        options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        for option in options:
            if get_origin(option) is Literal and all(isinstance(word, str) for word in get_args(option)):
                others = [repr(o) for o in options if o is not option and o is not NoneType]
                if not others:
                    yield f"``{name}`` must be one of {escaped(', '.join(map(repr, get_args(option))))}"


def _checked_arguments(obj: Any) -> dict[str, Any]:
    """The arguments with their annotations of what a decorator of `transformer_lib.contract` checks."""
    from transformer_lib.kinds import annotations_of

    if inspect.isclass(obj):
        obj = vars(obj).get("__new__" if issubclass(obj, tuple) else "__init__")
    function = getattr(obj, "__func__", obj)
    return annotations_of(function) if hasattr(function, "checks_its_arguments") else {}


def refusals(obj: Any) -> Iterator[str]:
    """What values must be: the calls of `require` in a function and in its helpers, or where an object is made.

    Each is shown as a reader of the signature can understand it: with what the caller gave to a helper in the place of
    its names, with constants as their values, and without those that speak of the function's own variables.
    """
    if inspect.isclass(obj):
        for name in ("__init__", "__post_init__"):
            yield from refusals(vars(obj).get(name))
        return
    function = _plain(obj)
    if function is not None:
        names = {*inspect.signature(function).parameters, "self", "cls"}
        yield from _refusals(function, {name: ast.Name(name) for name in names}, names, depth=2)


def _plain(obj: Any) -> FunctionType | None:
    """The function of the library's source behind decorators and methods."""
    obj = inspect.unwrap(getattr(obj, "__func__", obj)) if obj else None
    if not isinstance(obj, FunctionType) or not obj.__module__.startswith(PACKAGE) or "<" in obj.__code__.co_filename:
        return None
    return obj


def _refusals(function: FunctionType, given: dict[str, ast.expr], public: set[str], depth: int) -> Iterator[str]:
    """`given` says what each argument is, in terms of the public ones."""
    calls, assignments = _parsed(function)
    for called, node in calls:
        seen = _Reader(function, assignments, node.lineno, given, public)
        if called == "require" and len(node.args) == 4:
            field, rule = seen.field(node.args[1]), seen.rule(node.args[2])
            if field and rule:
                yield f"``{field}`` {rule}"
        elif called in RULES:
            bounds = [seen.constant(argument) for argument in node.args]
            if None not in bounds:
                yield from (f"``{word.arg}`` {RULES[called].format(*bounds)}" for word in node.keywords if word.arg)
        elif called.startswith(HELPERS) and depth and (helper := _plain(function.__globals__.get(called))):
            names = list(inspect.signature(helper).parameters)
            passed = dict(zip(names, node.args, strict=False))
            passed |= {word.arg: word.value for word in node.keywords if word.arg}
            inner = {name: seen.resolved(value) for name, value in passed.items()}
            yield from _refusals(helper, inner, public, depth - 1)


@cache
def _parsed(function: FunctionType) -> tuple[list[tuple[str, ast.Call]], list[ast.Assign]]:
    """The calls in a function that may refuse something, by the name of what is called; its assignments in order."""
    nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    calls = [(node.func.id, node) for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    refusing = [(name, node) for name, node in calls if name == "require" or name in RULES or name.startswith(HELPERS)]
    assignments = [node for node in nodes if isinstance(node, ast.Assign) and len(node.targets) == 1]
    return refusing, sorted(assignments, key=lambda node: node.lineno)


class _Reader:
    """Reads expressions at one line of a function as somebody who sees its signature alone."""

    def __init__(
        self,
        function: FunctionType,
        assignments: list[ast.Assign],
        line: int,
        given: dict[str, ast.expr],
        public: set[str],
    ) -> None:
        self.names, self.given, self.public = function.__globals__, given, public
        self.assigned: dict[str, ast.expr] = {}
        for node in assignments:
            if node.lineno <= line:
                self.assigned |= _values(node)

    def resolved(self, node: ast.expr, depth: int = 3) -> ast.expr:
        """The expression with variables replaced by what they were set to."""
        if not depth:
            return node
        assigned, given = self.assigned, self.given
        reader = self

        class Replace(ast.NodeTransformer):
            def visit_Name(self, name: ast.Name) -> ast.expr:
                if name.id in assigned:
                    return reader.resolved(copy.deepcopy(assigned[name.id]), depth - 1)
                return copy.deepcopy(given.get(name.id, name))

            def visit_Subscript(self, part: ast.Subscript) -> ast.expr:
                self.generic_visit(part)
                match part:
                    case ast.Subscript(value=ast.Tuple(elts=parts), slice=ast.Constant(value=int(index))):
                        return parts[index]
                    case _:
                        return part

        return Replace().visit(copy.deepcopy(node))

    def field(self, node: ast.expr) -> str | None:
        """The name of a field, as the signature has it: "path", "rows[index]"."""
        node = self.resolved(node)
        if isinstance(node, ast.Call) and len(node.args) == 1 and ast.unparse(node.func) in ("str", "os.fspath"):
            node = node.args[0]  # a message names a path by its text
            return ast.unparse(node) if self._is_public(node) else None
        if not isinstance(node, ast.JoinedStr):
            return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
        text = ""
        for part in node.values:
            value = part if isinstance(part, ast.Constant) else part.value
            if isinstance(value, ast.Constant):
                text += str(value.value)
            elif text.endswith("[") or self._is_public(value):  # an index means any
                text += ast.unparse(value)
            else:
                return None
        return text

    def rule(self, node: ast.expr) -> str | None:
        """A rule: a constant as it is, the places of an f-string as far as they can be understood."""
        node = self.resolved(node)
        if isinstance(node, ast.Constant):
            return escaped(str(node.value))
        if not isinstance(node, ast.JoinedStr):
            return None
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += (r"\ " if text.endswith("``") and part.value[:1].isalnum() else "") + escaped(part.value)
                continue
            value = self.constant(part.value, part.format_spec)
            if text.rstrip().endswith("=") and value is None:
                text = text.rstrip("= ")  # "d_model=8" in a message is "d_model" before there is a value
            elif value is not None:
                text += escaped(value)
            elif code := self.code(part.value):
                text += f"``{code}``"
            else:
                return None
        return text

    def code(self, node: ast.expr) -> str | None:
        """An expression that speaks of arguments alone, as it is written; else None."""
        node = self.resolved(node)
        text = ast.unparse(node).replace("self.", "")
        return text if self._is_public(node) and len(text) <= LONGEST_CODE else None

    def constant(self, node: ast.expr, form: ast.expr | None = None) -> str | None:
        """The value of an expression that speaks of constants alone, and of nothing that differs between machines."""
        node = self.resolved(node)
        calls = {ast.unparse(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)}
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if names & self.public or any(call not in PURE and not call.endswith(".join") for call in calls):
            return None
        try:
            value = eval(ast.unparse(node), dict(self.names))
        except Exception:  # it speaks of a variable
            return None
        if isinstance(form, ast.JoinedStr):
            return format(value, form.values[0].value)
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        known = isinstance(value, str | int | float) and len(str(value)) <= 4 * LONGEST_CODE
        return (f"{value:g}" if isinstance(value, float) else str(value)) if known else None

    def _is_public(self, node: ast.expr) -> bool:
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        simple = not any(isinstance(part, ast.comprehension | ast.Lambda | ast.IfExp) for part in ast.walk(node))
        private = any(isinstance(part, ast.Attribute) and part.attr.startswith("_") for part in ast.walk(node))
        own = names & self.public
        return bool(own) and simple and not private and all(name in ("len", "sorted", "tuple") for name in names - own)


def _values(node: ast.Assign) -> dict[str, ast.expr]:
    """What an assignment sets: `a = x`, `a, b = x, y`, or `a, b = x.shape`, where a is `x.shape[0]`."""
    match node.targets[0], node.value:
        case ast.Name(id=name), value:
            return {name: value}
        case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
            pairs = zip(targets, values, strict=True)
            return {target.id: value for target, value in pairs if isinstance(target, ast.Name)}
        case ast.Tuple(elts=targets), ast.Attribute(attr="shape") as shape:
            places = {t.id: i for i, t in enumerate(targets) if isinstance(t, ast.Name)}
            whole = all(isinstance(target, ast.Name) for target in targets)
            return {n: ast.Subscript(shape, ast.Constant(i), ast.Load()) for n, i in places.items()} if whole else {}
        case _:
            return {}
