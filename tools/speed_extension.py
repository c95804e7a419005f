"""A faster build: two pages at a time, references by number read once, and packages looked up once.

Sphinx can read and write pages in several processes, but Jupyter Book offers no option for it. For every reference such
as "Fig. 3.1" it reads the page of the figure from its file again, and for every citation the bibliography looks through
all packages that are installed. Together that took half of the time of a build.
"""

import importlib
import os
import pkgutil
from functools import cache
from typing import Any

import pybtex.plugin
import sphinxcontrib.bibtex.plugin
from book_extension import PACKAGE, ROOT
from docutils.nodes import Element
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.domains.std import StandardDomain
from sphinx.environment import BuildEnvironment
from sphinx_proof.domain import ProofDomain

PROCESSES = 2  # more bring little: each begins with a copy of the whole book
# These say nothing of it; the first two read nothing, the third numbers the chapters when all are read.
SAFE = ("sphinx-mathjax-offline", "sphinx_jupyterbook_latex", "sphinx_multitoc_numbering")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_domain(Numbered, override=True)
    app.connect("config-inited", read_and_write_together)
    app.connect("env-before-read-docs", load_library)
    look_up_once()
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read_and_write_together(app: Sphinx, config: Config) -> None:
    app.parallel = max(app.parallel, min(PROCESSES, os.cpu_count() or 1))
    for name in SAFE:
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True
    # Theorems are merged by an event; this domain itself keeps nothing, and has no word for that.
    ProofDomain.merge_domaindata = lambda self, pages, other: None


def load_library(app: Sphinx, env: BuildEnvironment, pages: list[str]) -> None:
    """Here once, and not in each process that reads a page of docstrings."""
    if any(page.startswith("chapters/api/") for page in pages):
        for module in pkgutil.walk_packages([str(ROOT / PACKAGE)], f"{PACKAGE}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def look_up_once() -> None:
    """What is installed does not change during a build."""
    for module in (pybtex.plugin, sphinxcontrib.bibtex.plugin):
        module.entry_points = cache(module.entry_points)


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
