"""The library's source as pages of the book, so that a reference entry can show the lines that it describes.

They are plain pages, without the menus of the book: with those, Sphinx's own `viewcode` would take a hundred times the
weight. They lie in the book, not in a repository, so they show the version that was built and work without a network.
"""

import ast
import html
import re
from functools import cache
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

PACKAGE = "transformer_lib"
CHAPTERS = "chapters/intro.html#the-map"
PAGE = """\
<!DOCTYPE html>
<html lang="en" data-content_root="{up}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Source of {name}</title>
<link rel="icon" href="{up}_static/favicon.svg">
<link rel="stylesheet" href="{up}_static/pygments.css">
<link rel="stylesheet" href="{up}_static/reader.css">
<script>
let theme = "light";
try {{ theme = localStorage.getItem("theme") || "light"; }} catch {{}}
document.documentElement.dataset.theme = theme;
</script>
</head>
<body class="source-page">
<header><nav aria-label="Book">
<a href="{up}{entry}">Reference of {name}</a>
<a href="{up}{chapters}">Chapters</a>
</nav></header>
<main><h1><code>{path}</code></h1>
<div class="highlight"><pre tabindex="0">{code}</pre></div></main>
</body>
</html>
"""
ENTRY = re.compile(
    rf'(<dt class="sig[^>]* id="(?P<entry>{PACKAGE}\.[\w.]+)">(?:(?!</dt>).)*?)(?=<a class="headerlink")', re.DOTALL
)


@cache
def places(root: Path) -> dict[str, tuple[str, int]]:
    """Where each function, class and method stands: its module and the line that begins it."""
    found = {}

    def walk(node: ast.Module | ast.ClassDef, prefix: str, module: str) -> None:
        for part in node.body:
            if isinstance(part, ast.FunctionDef | ast.ClassDef):
                first = min([part.lineno, *(decorator.lineno for decorator in part.decorator_list)])
                found[f"{prefix}.{part.name}"] = (module, first)
                if isinstance(part, ast.ClassDef):
                    walk(part, f"{prefix}.{part.name}", module)

    for module, path in modules(root).items():
        walk(ast.parse(path.read_text(encoding="utf-8")), module, module)
    return found


def modules(root: Path) -> dict[str, Path]:
    """The files of the library by the names of their modules."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def page_of(module: str) -> str:
    return f"source/{module}.html"


def with_links(body: str, up: str, places: dict[str, tuple[str, int]]) -> str:
    """A reference page with a link to its source at each entry; `up` leads to the top of the book."""

    def entry(match: re.Match[str]) -> str:
        name = match["entry"]
        if name not in places:
            return match[0]
        module, line = places[name]
        label = f'[source<span class="visually-hidden"> of {name.rpartition(".")[2]}</span>]'
        return f'{match[1]}<a class="source" href="{up}{page_of(module)}#L{line}">{label}</a>'

    return ENTRY.sub(entry, body)


def write(root: Path, out: Path, entries: dict[str, str]) -> None:
    """A page for each module; `entries` says where in the book its reference stands."""
    (out / "source").mkdir(exist_ok=True)
    for module, path in modules(root).items():
        if module in entries:
            lines = highlight(path.read_text(encoding="utf-8"), PythonLexer(), HtmlFormatter(nowrap=True)).splitlines()
            code = "\n".join(f'<span id="L{number}">{line}</span>' for number, line in enumerate(lines, start=1))
            written = PAGE.format(
                up="../",
                name=html.escape(module),
                path=path.relative_to(root).as_posix(),
                entry=entries[module],
                chapters=CHAPTERS,
                code=code,
            )
            (out / page_of(module)).write_text(written, encoding="utf-8")
