"""What Sphinx does for this book beyond ready-made extensions: the reference pages, and buttons that lead somewhere.

A docstring here is prose with code in single backticks. It becomes a page with each name of the library as a link;
after it stand the rules for arguments, read from the calls of `require` in the source; and a package says what it
exports.
"""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Set
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from argument_rules import escaped, kinds_wanted, refusals, words_allowed
from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
PACKAGE = "transformer_lib"
CODE = re.compile(r"`([^`]+)`")


def setup(app: Sphinx) -> dict[str, bool]:
    sys.path.insert(0, str(ROOT))  # the library of this tree, whichever is installed
    app.connect("builder-inited", stand_in_for_keras)
    app.connect("builder-inited", hide_launch_buttons)
    app.connect("doctree-resolved", fit_tables)
    app.connect("autodoc-process-docstring", write_docstring)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class StandIn(ModuleType):
    """A module of which only names are wanted: classes to derive from, and functions that give decorators."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[0].isupper() else StandIn(name)

    def __call__(self, *given: Any) -> Any:
        return lambda decorated: decorated


def stand_in_for_keras(app: Sphinx) -> None:
    """The pages need the docstrings of the library alone, so building them takes no Keras, nor loads it where it is."""
    keras = StandIn("keras")
    keras.config = SimpleNamespace(backend=lambda: "tensorflow")
    sys.modules["keras"] = keras


def hide_launch_buttons(app: Sphinx) -> None:
    """Without the address of a repository the buttons would lead nowhere, and on paper nobody can press them."""
    options = app.config.html_theme_options
    if app.builder.name != "html" or not options.get("repository_url"):
        for name in ("repository_url", "launch_buttons"):
            options.pop(name, None)


def fit_tables(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """The HTML in tables that cells make is for the web: an EPUB is XML with other file names, print knows no <br>."""
    for node in list(doctree.findall(nodes.raw)):
        text = node.astext()
        if text == "<br>":
            closed = nodes.raw("", "<br/>", format="html")
            node.replace_self(closed if app.builder.format == "html" else nodes.Text("; "))
        elif text.startswith("<a ") and app.builder.name == "epub":
            text = re.sub(r'href="([\w/-]+)\.html', r'href="\1.xhtml', text)
            node.replace_self(nodes.raw("", text, format="html"))


def write_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    module = name if what == "module" else getattr(obj, "__module__", None) or PACKAGE
    lines[:] = [*marked("\n".join(lines), module, own_names(obj)).split("\n"), ""]
    if what == "module" and hasattr(obj, "__path__"):
        links = ", ".join(link(exported, path) for exported, path in sorted(exports(obj).items()))
        lines += [f"``from {name} import ...`` gives {links}.", ""] if links else []
    if what in ("class", "function", "method"):
        rules, kinds = list(dict.fromkeys([*words_allowed(obj), *refusals(obj)])), kinds_wanted(obj)
        lines += ["``ValueError`` where a rule is broken:", "", *(f"- {rule}" for rule in rules), ""] if rules else []
        lines += [f"``TypeError`` unless {', '.join(kinds)}.", ""] if kinds else []


def own_names(obj: Any) -> Set[str]:
    """The arguments of a function or a class: in its docstring they mean these, whatever else has the name."""
    try:
        return inspect.signature(obj).parameters.keys()
    except (TypeError, ValueError):  # a module, or a class without a signature
        return frozenset()


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out fields: the signature of their class already shows them with type and default."""
    shown = callable(obj) or isinstance(obj, property | cached_property)
    return True if what in ("class", "exception") and not shown else None


# From backticks to reStructuredText ---------------------------------------------------------------------------------


def marked(text: str, module: str, plain: Set[str] = frozenset()) -> str:
    """Paragraphs: an indented one is code, one that begins with a bar is a table, the others are prose."""

    def written(paragraph: str) -> str:
        if paragraph.startswith("    "):
            return f".. code-block:: text\n\n{paragraph}"
        if not paragraph.startswith("|"):
            return _prose(paragraph, module, plain)
        rows = [line.strip("| ").split("|") for line in paragraph.splitlines() if not re.fullmatch(r"[|: -]+", line)]
        marks = ((("-" if i else "* -"), cell.strip()) for row in rows for i, cell in enumerate(row))
        cells = [f"   {mark} {_prose(cell, module, plain)}" for mark, cell in marks]
        return "\n".join([".. list-table::", "   :header-rows: 1", "", *cells]).replace("\n   - ", "\n     - ")

    return "\n\n".join(map(written, re.split(r"\n{2,}", text)))


def _prose(text: str, module: str, plain: Set[str]) -> str:
    """Code in backticks becomes a link or, like the names in `plain`, a literal; the rest is escaped and stays text."""
    parts = CODE.split(text)
    parts[::2] = map(escaped, parts[::2])
    parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]  # an "s" after the closing backtick
    for i, part in enumerate(parts[1::2]):
        code = " ".join(part.split())
        path = None if code in plain else target(code, module)
        parts[2 * i + 1] = link(code, path) if path else f"``{code}``"
    return "".join(parts)


def link(text: str, path: str) -> str:
    role = "py:mod" if isinstance(resolved(path), ModuleType) else "py:obj"
    return f":{role}:`{text} <{path}>`"


def target(code: str, module: str) -> str | None:
    """The full name of what a piece of code names, looked for in the module, its package and the whole library."""
    if not re.fullmatch(r"\w+(\.\w+)*", code):
        return None
    tried = [f"{module}.{code}", f"{module.rpartition('.')[0]}.{code}", f"{PACKAGE}.{code}", code]
    return next((found for path in tried if path.startswith(f"{PACKAGE}.") and (found := home(path))), None)


@cache
def home(path: str) -> str | None:
    """Where the object of that name is defined, if it is a public part of the library and so has an entry."""
    obj = resolved(path)
    if isinstance(obj, ModuleType):
        return obj.__name__ if obj.__name__.startswith(f"{PACKAGE}.") else None
    if not (inspect.isclass(obj) or inspect.isroutine(obj)):
        return None
    found = f"{getattr(obj, '__module__', '')}.{getattr(obj, '__qualname__', '')}"
    private = any(part.startswith(("_", "<")) for part in found.split(".") if part != "__main__")
    return found if found.startswith(f"{PACKAGE}.") and not private else None


@cache
def resolved(path: str) -> Any:
    """The object of a dotted name, or None."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            obj = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            obj = inspect.getattr_static(obj, part, None)
        return obj
    return None


# From the source -----------------------------------------------------------------------------------------------------


def exports(package: ModuleType) -> dict[str, str]:
    """The names that a package itself offers, and where each is defined."""
    tree = ast.parse(Path(package.__file__ or "").read_text(encoding="utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    return {name: path for name in names if (path := home(f"{package.__name__}.{name}"))}
