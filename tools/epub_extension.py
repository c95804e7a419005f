"""The book as an EPUB: formulas as MathML, since readers of EPUB 3 know it and run no scripts.

The TeX is read by docutils, so nothing else has to be installed. Each formula keeps its TeX as alternative text.
"""

import html
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", NAMESPACE)
LOGGER = logging.getLogger(__name__)
PLAIN = {  # what docutils does not know, in words that it does
    r"\\([dt]?frac)\s*(\d)\s*(\d)": r"\\\1{\2}{\3}",  # two digits and not a number of two
    r"\\dots\b": r"\\ldots",
    r"\\iff\b": r"\\;\\Longleftrightarrow\\;",
    r"\\textstyle\s*(\\[a-z]+)": r"{\\textstyle\1}",
    r"\\[bB]igg?(?![a-zA-Z])": "",  # brackets grow by themselves
    r"\\(begin|end)\{(align|equation|gather)\*?\}": "",  # a displayed formula is one by itself
    r"\{(split|gathered)\}": "{aligned}",
    r"\\texttt\b": r"\\mathtt",
}


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
    app.add_builder(Epub, override=True)
    app.connect("builder-inited", choose)
    app.connect("build-finished", pack, priority=900)  # some extensions only then bring their style sheets
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def choose(app: Sphinx) -> None:
    app.config.html_math_renderer = "mathml" if app.builder.name == "epub" else "mathjax"


def pack(app: Sphinx, error: Exception | None) -> None:
    if isinstance(app.builder, Epub) and not error:
        Epub3Builder.handle_finish(app.builder)


class Epub(Epub3Builder):
    """Sphinx's own without what only a browser uses; its list of files says which hold MathML, as EPUB 3 asks."""

    def handle_finish(self) -> None:
        """Later: see `pack`."""

    def build_content(self) -> None:
        shutil.rmtree(Path(self.outdir) / "_static" / "mathjax", ignore_errors=True)
        (Path(self.outdir) / "index.html").unlink(missing_ok=True)
        super().build_content()
        listed = Path(self.outdir) / "content.opf"
        text = listed.read_text(encoding="utf-8")
        for name in self.files:
            if name.endswith(".xhtml") and "<math" in (Path(self.outdir) / name).read_text(encoding="utf-8"):
                text = text.replace(f'href="{name}"', f'href="{name}" properties="mathml"')
        listed.write_text(text, encoding="utf-8")


def write_inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), node, block=False))
    raise nodes.SkipNode


def write_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    self.body.append(mathml(node.astext(), node, block=True) + "</div>\n")
    raise nodes.SkipNode


def mathml(tex: str, node: nodes.Node, *, block: bool) -> str:
    """The formula as MathML, or its TeX with a warning where docutils cannot read it."""
    read = tex.strip()
    for pattern, plain in PLAIN.items():
        read = re.sub(pattern, plain, read)
    try:
        written = tex2mathml(read, as_block=block)
    except MathError as error:
        LOGGER.warning("no MathML for %s: %s", tex, error, location=node)
        return f"<code>{html.escape(tex)}</code>"
    # XML knows four of HTML's entities; the others become the characters that they name.
    written = re.sub(r"&(?!(?:amp|lt|gt|quot);)\w+;", lambda entity: html.unescape(entity[0]), written)
    root = ElementTree.fromstring(written)
    root.set("alttext", " ".join(tex.split()))
    for over in list(root.iter(f"{{{NAMESPACE}}}mover")):
        if over[1].text == "_":  # a bar of fixed length: draw one as long as what is below
            over.remove(over[1])
            over.tag, over.attrib = f"{{{NAMESPACE}}}mrow", {"style": "border-top: 1px solid"}
    return ElementTree.tostring(root, encoding="unicode")
