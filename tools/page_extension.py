"""What is put right in the pages that the theme writes: what a screen reader is told, and what a browser must load.

Every page passes through `corrected` as finished HTML, so that the title, the side bars and the tables that cells
printed are seen too. The pages of the EPUB pass as well, with the corrections that concern their text.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.jinja2glue import BuiltinTemplateLoader

# MathJax in the parts that the book needs: without its menu, which is larger than all that reads TeX.
MATHJAX = "mathjax/startup.js"
PARTS = ["input/tex-base", "[tex]/ams", "output/chtml", "a11y/assistive-mml"]
FILES = ["core", "input/tex-base", "input/tex/extensions/ams", "output/chtml", "output/chtml/fonts/tex"]
FILES += ["a11y/assistive-mml"]

TEXT = [  # in every page, of the site and of the EPUB: (what it is, what it becomes)
    # The lists of the parameters stand inside a term, where no list may stand.
    (r'<dt class="sig .*?</dt>', lambda found: _spans(found[0])),
    # A list of works is a list of paragraphs; the roles of the citations are no longer in use.
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    (r' role="doc-biblioentry"', ""),
    # An empty cell is the head of nothing.
    (r"<th\b([^>]*)>(\s*(?:<p></p>)?\s*)</th>", r"<td\1>\2</td>"),
]
SITE = [
    # The icons come as a font, and nothing here is searched while the reader types.
    (r"\s*<script\b[^>]*/fontawesome\.js[^>]*></script>", ""),
    (r'\s*<meta name="docsearch:[^>]*>', ""),
    (r'(?<=initial-scale=1.0" />)<meta name="viewport"[^>]*>|\s*<meta name="viewport"[^>]*initial-scale=1"/>', ""),
    # The skip link leads to the text, behind the buttons above it.
    (r'href="#main-content"', 'href="#page-text"'),
    (r'<article class="bd-article">', '<article class="bd-article" id="page-text">'),
    # What has a name on the screen is called by it, and what has none gets one.
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (r'(<button class="btn search-button-field[^>]*?) title="Search" aria-label="Search"', r"\1"),
    (r"(<a [^>]*>)([^<]*)(</a><details[^>]*>)<summary>", r'\1\2\3<summary aria-label="\2: pages">'),
    (r'<div id="pst-primary-sidebar"', r'<div id="pst-primary-sidebar" role="region" aria-label="Book"'),
    (r'(<button class="sidebar-toggle primary-toggle[^>]*) title="[^"]*"', r'\1 title="Pages of the book"'),
    (r'(<button class="sidebar-toggle secondary-toggle[^>]*) title="[^"]*"', r'\1 title="Contents of this page"'),
    # What follows a formula immediately stays in its line.
    (r'(<span class="math [^>]*>[^<]*</span>)([.,;:!?)\]]+|-\w+)', r'<span class="unbroken">\1\2</span>'),
]
SEARCH = r"\s*<script\b[^>]*\b(?:searchtools|language_data|searchindex)\.js[^>]*></script>"
TABS = r"\s*<(?:script|link)\b[^>]*/(?:design-tabs\.js|sphinx-design\.min\.css)[^>]*>(?:</script>)?"
FORMULAS = r"\s*<script>window\.MathJax = .*?</script>|\s*<script\b[^>]*/mathjax/[^>]*></script>"
# One script says where the page is, and scripts inside the page ask it at once; the others wait for the text.
LATER = r'<script src="(?![^"]*documentation_options)'

HAN = r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
# What holds no text of the page, or text that a tag would break; then runs of Chinese with their punctuation.
SKIPPED = r'<!--.*?-->|<(script|style|title|math|svg)\b.*?</\1>|<(span|div) class="[^"]*\bmath\b.*?</\2>'
TAG = r"""<(?:"[^"]*"|'[^']*'|[^>"'])*>"""
CHINESE = re.compile(rf"{SKIPPED}|{TAG}|({HAN}(?: ?(?:{HAN}|[\u3001-\u3011\uff00-\uff65]))*)", re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    app.config.template_bridge = "page_extension.Pages"
    app.config.mathjax_path = MATHJAX
    app.config.mathjax3_config = {"loader": {"load": PARTS}, "tex": {"packages": {"[+]": ["ams"]}}}
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Pages(BuiltinTemplateLoader):
    """Sphinx's own templates; a page that they write is corrected."""

    def render(self, template: str, context: dict[str, Any]) -> str:
        page = super().render(template, context)
        return corrected(page, context["pagename"], context["builder"]) if "pagename" in context else page


def corrected(page: str, name: str, builder: str) -> str:
    """A finished page as the book wants it."""
    for pattern, new in TEXT if builder != "html" else TEXT + SITE:
        page = re.sub(pattern, new, page, flags=re.DOTALL)
    if builder == "html":
        page = light(page, name)
    return in_chinese(page, 'xml:lang="zh-Hans" lang="zh-Hans"' if builder == "epub" else 'lang="zh-Hans"')


def light(page: str, name: str) -> str:
    """Without the scripts that this page does not use; those that it does use wait until the text is read."""
    unused = [] if name == "search" else [SEARCH]
    unused += [] if 'class="sd-' in page else [TABS]
    unused += [] if 'class="math' in page else [FORMULAS]
    for pattern in unused:
        page = re.sub(pattern, "", page, flags=re.DOTALL)
    page = re.sub(LATER, '<script defer src="', page) if name != "search" else page
    # The parts of MathJax ask for each other in turn; named here, they arrive together.
    if startup := re.search(rf'src="([^"]*){MATHJAX}', page):
        folder = startup[1] + "mathjax/"
        links = [f'<link rel="preload" as="script" href="{folder}{file}.js">' for file in FILES]
        page = page.replace("</head>", "\n".join([*links, "</head>"]), 1)
    return page


def in_chinese(page: str, language: str, tag: str = "span") -> str:
    """The page with each run of Chinese marked as such, so that it is read aloud and drawn as Chinese."""

    def marked(found: re.Match[str]) -> str:
        if found[1] == "svg":  # a drawing has an element of its own for a part of a text
            return re.sub(
                r"<text\b.*?</text>", lambda text: in_chinese(text[0], language, "tspan"), found[0], flags=re.S
            )
        return f"<{tag} {language}>{found[3]}</{tag}>" if found[3] else found[0]

    return CHINESE.sub(marked, page)


def _spans(signature: str) -> str:
    """A signature whose parameters stand on lines of their own, as text and not as a list."""
    signature = re.sub(r"<(/?)dl>", r"<\1span>", signature).replace("</dd>", "</span>")
    return signature.replace("<dd>", '<span class="sig-line">').replace("<span>\n", '<span class="sig-lines">\n', 1)
