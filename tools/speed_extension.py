"""A faster build of the same pages: what stays as it is during a build is worked out once.

For every reference such as "Fig. 3.1" Sphinx reads the page of the figure from its file again; for every citation the
bibliography looks through all packages that are installed; for the menu of every page the headings of all pages are
copied, and thrown away again, since the menu shows titles. And Python looks for objects that only hold each other after
every few hundred new ones, though a page is made of a hundred thousand. Together that took almost half of a build.
"""

import gc
from functools import cache
from typing import Any

import pybtex.plugin
import sphinx.builders.html
import sphinxcontrib.bibtex.plugin
from docutils.nodes import Element
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.environment import BuildEnvironment
from sphinx.environment.adapters.toctree import global_toctree_for_doc

NEW_OBJECTS = 100_000  # after so many Python looks for what can go; it costs memory, some 100 MB


def setup(app: Sphinx) -> dict[str, bool]:
    gc.set_threshold(NEW_OBJECTS, 20, 100)
    app.add_domain(Numbered, override=True)
    for module in (pybtex.plugin, sphinxcontrib.bibtex.plugin):  # what is installed does not change during a build
        module.entry_points = cache(module.entry_points)
    sphinx.builders.html.global_toctree_for_doc = menu
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Numbered(StandardDomain):
    """Sphinx's own labels, with every page that numbers are looked up in read once."""

    def __init__(self, env: BuildEnvironment) -> None:
        super().__init__(env)
        self.page = cache(env.get_doctree)

    def resolve_xref(self, env: BuildEnvironment, *reference: Any) -> Element | None:
        """What `StandardDomain.resolve_xref` gives."""
        env.get_doctree = self.page  # type: ignore[method-assign]
        try:
            return super().resolve_xref(env, *reference)
        finally:
            del env.get_doctree  # the class's own again: whoever changes a page needs one to himself


def menu(env: BuildEnvironment, *given: Any, titles_only: bool = False, **options: Any) -> Element | None:
    """What `global_toctree_for_doc` gives; for a menu of titles it sees no others."""
    whole = env.tocs
    env.tocs = titles(env) if titles_only else whole
    try:
        return global_toctree_for_doc(env, *given, titles_only=titles_only, **options)
    finally:
        env.tocs = whole


@cache
def titles(env: BuildEnvironment) -> dict[str, Any]:
    """The contents of every page without its headings: its title, and lists of further pages."""
    found = {page: contents.deepcopy() for page, contents in env.tocs.items()}
    for contents in found.values():
        for entry in contents.children:
            if len(entry) > 1:
                entry[1][:] = list(entry.findall(addnodes.toctree))
    return found
