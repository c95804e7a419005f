"""In the HTML book a drawing stands in the page itself, so that its lines and words take the colour of the text.

A drawing is an SVG file that says so of itself, in an attribute of its root (see `transformer_lib.viz.diagram`). Plots
stay files, and so does everything in an EPUB or a PDF, where nobody switches to a dark page.
"""

import re
from collections import Counter
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

DRAWING = re.compile(r'<svg [^>]*\bdata-drawing="([\w-]+)"')


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", put_drawings_inline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def put_drawings_inline(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the text of each drawing in the place of its image, before the builder collects the files of images."""
    if app.builder.name not in ("html", "dirhtml"):
        return
    seen: Counter[str] = Counter()
    for node in list(doctree.findall(nodes.image)):
        file = Path(app.srcdir, node["uri"])
        if file.suffix != ".svg" or not file.is_file():
            continue
        svg = file.read_text(encoding="utf-8")
        if found := DRAWING.search(svg):
            seen[found[1]] += 1
            node.replace_self(nodes.raw("", with_own_ids(svg[found.start() :], seen[found[1]]), format="html"))


def with_own_ids(svg: str, number: int) -> str:
    """The drawing with ids that no other has, if it stands on the page for the second time or a later one."""
    if number == 1:
        return svg
    own = {name: f"{name}-{number}" for name in re.findall(r' id="([\w-]+)"', svg)}
    return re.sub(
        r'\b(id|aria-labelledby)="([^"]+)"',
        lambda found: f'{found[1]}="{" ".join(own[name] for name in found[2].split())}"',
        svg,
    )
