"""Widgets: figures that answer, each drawn by a script over real numbers, each with a form for paper.

A chapter says which one, in a text cell; what stands inside is its static form:

    ```{widget} mask
    :alt: A grid of who may look at whom, which you paint.
    {numref}`fig-draw-masks` shows three masks.
    ```

EPUB, PDF, print and a browser without scripts show the static form alone; elsewhere the live one stands below it.
A page gets the scripts of the widgets on it and no others:

    widget.js, widget.css       what all share
    data/NAME.js                the numbers of a widget, made here by `widget_data`, where it has any
    NAME_numbers.js             what it computes, without a page, where that is a file of its own
    NAME.js                     what is seen

Jupyter Book puts every script of _static on every page, so those of widgets, and those of questions, which have an
extension of their own, are first taken off that list. What a widget asks for on a click stays off it altogether.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import widget_data
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

SCRIPTS = Path(__file__).parents[1] / "_static" / "widgets"
OWN_LISTS = ("_static/widgets/", "_static/questions", "_static/models/")  # put on pages one by one
FIRST, LAST = 100, 600  # before other extensions add to a page; after the scripts of the theme


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(widget, html=(begin, end), latex=(nothing, nothing), text=(nothing, nothing))
    app.add_directive("widget", Widget)
    app.connect("html-page-context", put_scripts, priority=FIRST)
    app.connect("build-finished", only_for_browsers, priority=FIRST)
    return {"parallel_read_safe": True, "parallel_write_safe": False}  # pages share the files of numbers


class widget(nodes.General, nodes.Element):
    """The place of a widget, around its static form."""


class Widget(SphinxDirective):
    """The place of a widget on a page, which has it once."""

    has_content = True
    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if not (SCRIPTS / f"{name}.js").is_file() or name == "widget":
            raise self.error(f"widget: must be a script of _static/widgets, got {name}")
        if not self.options.get("alt") or not self.content:
            raise self.error(f"widget {name}: must have :alt: and a static form")
        found = widget("", name=name, alt=self.options["alt"])
        self.set_source_info(found)
        self.state.nested_parse(self.content, self.content_offset, found)
        return [found]


def begin(self: HTML5Translator, node: widget) -> None:
    if self.builder.name == "epub":
        self.body.append('<div class="widget">')
        return
    name, alt = node["name"], self.attval(node["alt"])
    self.body.append(
        f'<div class="widget" data-widget="{name}" id="widget-{name}" role="group" aria-label="{alt}">'
        '<div class="widget-static">'
    )


def end(self: HTML5Translator, node: widget) -> None:
    self.body.append("</div>\n" if self.builder.name == "epub" else "</div></div>\n")


def nothing(self: nodes.NodeVisitor, node: widget) -> None:
    """In LaTeX and plain text only the static form is written."""


def put_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Take the scripts with lists of their own off the page, and add those of the widgets on it."""
    if not isinstance(app.builder, StandaloneHTMLBuilder):
        return
    for kind in ("script_files", "css_files"):
        listed = context[kind]
        listed[:] = [file for file in listed if not str(file.filename or "").startswith(OWN_LISTS)]
    names = [node["name"] for node in doctree.findall(widget)] if doctree else []
    if not names or app.builder.name == "epub":
        return
    if len({*names}) < len(names):
        raise ValueError(f"{pagename}: must have each widget once, got {names}")
    app.add_css_file("widgets/widget.css", priority=LAST)
    for file in ["widget.js", *(file for name in names for file in files(app, name))]:
        app.add_js_file(f"widgets/{file}", priority=LAST)


def files(app: Sphinx, name: str) -> list[str]:
    """The scripts of a widget in the order in which a page needs them; its numbers are written first."""
    found = []
    if numbers := widget_data.NUMBERS.get(name):
        found.append(f"data/{name}.js")
        path = Path(app.outdir) / "_static" / "widgets" / found[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data_script(name, numbers()), encoding="utf-8")
    if (SCRIPTS / f"{name}_numbers.js").is_file():
        found.append(f"{name}_numbers.js")
    return [*found, f"{name}.js"]


def data_script(name: str, numbers: dict[str, Any]) -> str:
    """The numbers as a script, since a page that is opened as a file may fetch nothing else."""
    written = json.dumps(numbers, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"Widget.data({json.dumps(name)}, {written});\n"


def only_for_browsers(app: Sphinx, error: Exception | None) -> None:
    """An EPUB runs no script of ours, so it carries none."""
    if app.builder.name == "epub":
        shutil.rmtree(Path(app.outdir) / "_static" / "widgets", ignore_errors=True)
