"""Figures on a page and on paper.

On a page every image says how large it is, so that the text does not jump when it arrives, and all but the first are
loaded only when the reader comes near. `_static/figures.js` lets a reader enlarge them.
LaTeX reads no SVG, so for the PDF each is converted, lines and letters staying lines and letters.
"""

import re
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms.images import ImageConverter
from sphinx.util import logging
from sphinx.util.images import get_image_size
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)
PIXELS = {"": 1, "px": 1, "pt": 96 / 72, "in": 96, "cm": 96 / 2.54, "mm": 96 / 25.4}  # in one unit of an SVG


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(nodes.image, override=True, html=(visit_image, None))
    app.add_post_transform(SvgToPdf)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def visit_image(self: HTML5Translator, node: nodes.image) -> None:
    """Write the image as the theme does, and add its size and when to load it."""
    file = Path(self.builder.srcdir, node["uri"])
    type(self).visit_image(self, node)
    attributes = {}
    if not {"width", "height", "scale"} & set(node.attributes) and (size := size_of(file)):
        attributes["width"], attributes["height"] = size
    written = sum(part.startswith("<img ") for part in self.body)
    if self.builder.name != "epub" and written > 1:  # a reader of books loads what it likes
        attributes["loading"] = "lazy"
    text = "".join(f' {name}="{value}"' for name, value in attributes.items())
    self.body[-1] = self.body[-1].replace("<img", f"<img{text}", 1)


def size_of(file: Path) -> tuple[int, int] | None:
    """Width and height in CSS pixels, or None where a file does not say."""
    if not file.is_file():
        return None
    if file.suffix != ".svg":
        return get_image_size(str(file))
    root = re.search(r"<svg\b[^>]*>", file.read_text(encoding="utf-8"))
    tag = root[0] if root else ""
    sides = [re.search(rf'\b{side}="([\d.]+)([a-z]*)"', tag) for side in ("width", "height")]
    if all(side and side[2] in PIXELS for side in sides):
        width, height = (round(float(side[1]) * PIXELS[side[2]]) for side in sides if side)
        return width, height
    box = re.search(r'viewBox="[-\d.]+[ ,]+[-\d.]+[ ,]+([\d.]+)[ ,]+([\d.]+)"', tag)
    return (round(float(box[1])), round(float(box[2]))) if box else None


class SvgToPdf(ImageConverter):
    """For builders that take no SVG but PDF, which LaTeX is."""

    conversion_rules: ClassVar = [("image/svg+xml", "application/pdf")]

    def is_available(self) -> bool:
        try:
            import cairosvg  # noqa: F401
        except OSError as error:  # the package is there, the library that it calls is not
            LOGGER.warning("figures are left out, since CairoSVG lacks the system's library cairo: %s", error)
            return False
        return True

    def convert(self, source: str, target: str) -> bool:
        import cairosvg

        cairosvg.svg2pdf(url=source, write_to=target)
        return True
