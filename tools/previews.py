"""What a link would lead to, shown beside it: the text of previews, cut from the built pages.

Every page carries as JSON the previews of its own links, by the address as the link writes it. A page of the book may
be opened as a file, and there a script can fetch nothing. `_static/reader.js` shows them.

A figure and a part of the library of the same page have an empty preview: the script copies them from where they stand.
"""

import html
import json
import posixpath
import re

from epub_extension import mathml

LINK = re.compile(r'<a class="(?:reference internal|api)[^"]*"[^>]*? href="([^"#]*)#([^"]+)"')
TITLE = re.compile(r'<p class="admonition-title">.*?</p>', re.DOTALL)
TAG_WITH_ID = re.compile(r'<(\w+)\b[^>]*?\bid="([^"]+)"[^>]*>')
FORMULA = re.compile(r'(class="math[^>]*>(?:\s*<span class="eqno">[^<]*</span>)?\s*)\\[(\[](.+?)\\[)\]]', re.DOTALL)
LONG = 1200  # bytes of a theorem or an exercise; of longer ones only the beginning is shown


class Page:
    """A built page: its article, and where in it each id stands."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.article = article(text)
        self.ids = {match[2]: match.start() for match in TAG_WITH_ID.finditer(self.article)}


def article(text: str) -> str:
    """The part of a page that is the book; around it stand menus."""
    start = text.find('<article class="bd-article"')
    return element(text, start) if start >= 0 else ""


def element(text: str, start: int) -> str:
    """The element whose opening tag begins at that place, whole."""
    tag = re.compile(r"<(\w+)").match(text, start)[1]
    depth = 0
    for match in re.compile(rf"<(/?){tag}\b[^>]*?(/?)>").finditer(text, start):
        depth += -1 if match[1] else 0 if match[2] else 1
        if depth == 0:
            return text[start : match.end()]
    return text[start:]


def previews(page: Page, pages: dict[str, Page]) -> dict[str, str]:
    """What the links of this page lead to, by their addresses; a link that leads to nothing special has none."""
    found = {}
    text = TITLE.sub("", page.article)  # the title of a solution leads to the exercise right above it
    for path, target in dict.fromkeys(LINK.findall(text)):
        folder = posixpath.dirname(page.name)
        name = posixpath.normpath(posixpath.join(folder, path)).removesuffix(".html") if path else page.name
        if name not in pages or html.unescape(target) not in pages[name].ids:
            continue
        written = preview(pages[name], html.unescape(target))
        if written is None:
            continue
        if name == page.name and written.startswith(("<figure", "<p><code>")):
            written = ""
        if 'class="math' not in page.article:  # then it has no MathJax either
            written = FORMULA.sub(_as_mathml, written)
        found[html.unescape(f"{path}#{target}")] = _moved(written, posixpath.dirname(name), folder)
    return found


def preview(page: Page, target: str) -> str | None:
    """What stands at an id, short enough for a small box."""
    start = page.ids[target]
    text = page.article[start : page.article.index(">", start) + 1]
    tag = re.match(r"<(\w+)", text)[1]
    if tag == "figure":
        return _plain(element(page.article, start))
    if tag == "dt":
        return _entry(page.article, start)
    if tag == "div" and re.search(r'class="(?:math|amsmath)\b', text):
        return _plain(element(page.article, start))
    if tag == "div" and 'class="citation"' in text:
        return _plain(element(page.article, page.article.index("<p>", start)))
    if tag == "div" and re.search(r'class="(?:exercise|proof)\b', text):
        return _box(element(page.article, start))
    if tag in ("section", "span"):
        return _section(page.article, start)
    return None


def script(found: dict[str, str]) -> str:
    """The element that carries the previews; nothing in it can end it early."""
    written = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return f'<script type="application/json" id="previews">{written}</script>\n' if found else ""


def _entry(text: str, start: int) -> str:
    """A term of the glossary with its meaning, or a part of the library with its first paragraph."""
    name = element(text, start)
    meaning = element(text, text.index("<dd", start + len(name)))  # a signature over several lines has its own <dd>
    first = re.search(r"<p>.*?</p>", meaning, re.DOTALL)
    said = first[0] if first else ""
    if 'class="sig' in name:
        written = html.escape(_shortened(_words(name)), quote=False)
        return f"<p><code>{written}</code></p>{_plain(said)}"
    return f"<p><strong>{_plain(re.sub(r'</?dt[^>]*>', '', name))}</strong></p>{_plain(said)}"


def _box(text: str) -> str:
    title = TITLE.search(text)
    content = element(text, text.index("<section"))
    inner = re.sub(r"^<section[^>]*>|</section>$", "", content).strip()
    if len(inner) > LONG:
        inner = re.match(r"<(\w+).*?</\1>|", inner, re.DOTALL)[0] + "<p>…</p>"
    return f"<p><strong>{_plain(re.sub(r'</?p[^>]*>', '', title[0])) if title else ''}</strong></p>{_plain(inner)}"


def _section(text: str, start: int) -> str | None:
    """A heading with the first paragraph below it that says something."""
    heading = re.compile(r"<h(\d)[^>]*>(.*?)</h\1>", re.DOTALL).search(text, start)
    if not heading:
        return None
    end = text.find("<section", heading.end())
    said = first_paragraph(text[heading.end() : end if end >= 0 else len(text)])
    return f"<p><strong>{_plain(heading[2])}</strong></p>{f'<p>{_plain(said)}</p>' if said else ''}"


def first_paragraph(text: str) -> str:
    """The HTML inside the first paragraph, without the words that only lead to a list."""
    for match in re.finditer(r"<p>(.*?)</p>", text, re.DOTALL):
        said = re.sub(r"\b(?:After (?:this chapter|it) you can|[^.]*:)\s*$", "", match[1]).strip()
        if said:
            return said
    return ""


def _plain(text: str) -> str:
    """Without links and ids: a preview is read, and an id may stand once in a page."""
    text = re.sub(r'<a class="headerlink".*?</a>|<a class="source".*?</a>', "", text, flags=re.DOTALL)
    text = re.sub(r"</?a\b[^>]*>", "", text)
    text = re.sub(r'<span class="pre">(.*?)</span>', r"\1", text)
    if "<svg" not in text:  # a drawing refers to its own parts
        text = re.sub(r'\s(?:id|role|title)="[^"]*"', "", text)
    return text.replace(" notranslate nohighlight", "").replace(' class="docutils literal notranslate"', "").strip()


def _words(text: str) -> str:
    """The text alone, links of the page's own furniture left out."""
    text = re.sub(r'<a class="(?:headerlink|source)".*?</a>', "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


def _shortened(text: str, length: int = 160) -> str:
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"


def _as_mathml(match: re.Match[str]) -> str:
    return match[1] + mathml(html.unescape(match[2]), None, block="<" not in match[1] and "eqno" in match[1])


def _moved(text: str, old: str, new: str) -> str:
    """The addresses of images, as another folder of the book writes them."""

    def written(match: re.Match[str]) -> str:
        if ":" in match[1]:  # data within the page
            return match[0]
        return f'src="{posixpath.relpath(posixpath.join("/", old, match[1]), posixpath.join("/", new))}"'

    return re.sub(r'src="([^"]+)"', written, text)
