"""What the tests of the built pages share: where the pages are, and how a browser gets at them."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "transformer_lib"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")

# The formulas are set, in fonts that are there. On a busy machine MathJax comes late.
SET = """async () => {
    const started = () => window.MathJax && MathJax.startup && MathJax.startup.promise;
    while (document.querySelector("script[src*='mathjax/startup.js']") && !started()) {
        await new Promise(done => setTimeout(done, 50));
    }
    await (started() || null);
    await document.fonts.ready;
}"""

# What is folded is opened first, so that solutions count too.
OPEN = f"""async () => {{
    document.querySelectorAll("details").forEach(e => e.open = true);
    document.querySelectorAll(".toggle-hidden").forEach(e => e.classList.remove("toggle-hidden"));
    await ({SET})();
}}"""


def toc_pages() -> list[str]:
    """The pages of the book, as paths without suffix, in reading order."""

    def files(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (node[key] for key in ("root", "file") if key in node)
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from files(child)

    return list(files(yaml.safe_load((ROOT / "_toc.yml").read_text())))


def names_of_figures(chapter: Path) -> set[str]:
    """The labels of the figures of a chapter, plots and drawings."""
    settings = [cell.metadata.get("mystnb", {}) for cell in nbformat.read(chapter, as_version=4).cells]
    return {setting["figure"]["name"] for setting in settings if "figure" in setting}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over http on this machine, while the block runs."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
