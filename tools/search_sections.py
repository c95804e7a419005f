"""The text of a built page, cut into the places that a search can lead to.

A place is whatever has an anchor and means something by itself: a section without its subsections, a term of the
glossary, a row of the notation, an entry of the library, an exercise, a solution, a reference. Everything is read from
the finished HTML, so a hit leads to an anchor that exists, and an excerpt quotes what the page shows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

from search_formulas import plain

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
SKIPPED = {"button", "nav", "script", "style", "summary", "svg", "template", "thead"}
# The signs beside a heading, an equation and a reference; what is said of a page, and lists of links. And questions:
# their wrong answers are written as if they were true, which no excerpt may quote.
SKIPPED_CLASSES = {"headerlink", "eqno", "label", "source", "chapter-facts", "library-used", "used-in", "question"}
BLOCKS = {"blockquote", "dd", "div", "dt", "figcaption", "li", "p", "pre", "section", "table", "tr"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
BOXES = {"exercise": "exercise", "solution": "solution", "citation": "reference"}


@dataclass
class Place:
    """Where a hit may lead: `above` is the place around it. Each line of the text is a paragraph or a line of code."""

    anchor: str
    kind: str
    title: str
    above: "Place | None" = None
    text: str = ""
    names: list[str] = field(default_factory=list)  # what else it is called: a symbol has names in the code


@dataclass
class Element:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element | str"] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return self.attributes.get("id", "")

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def elements(self) -> "list[Element]":
        return [child for child in self.children if isinstance(child, Element)]

    def walk(self) -> "Iterator[Element]":
        yield self
        for child in self.elements():
            yield from child.walk()


class Tree(HTMLParser):
    """HTML as elements; an end tag closes what was left open inside."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("")
        self.open = [self.root]
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        for depth in range(len(self.open) - 1, 0, -1):
            if self.open[depth].tag == tag:
                del self.open[depth:]
                return

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def places(html: str) -> list[Place]:
    """The places of a page in reading order; the first is the page itself."""
    found: list[Place] = []
    # Most of a page is tags that say nothing here, and a parser in Python is slow: menus, drawings, colours of code.
    html = "".join(re.findall(r"<article\b.*</article>", html, re.DOTALL))
    html = re.sub(r"<(script|style|svg)\b.*?</\1>", "", html, flags=re.DOTALL)
    html = re.sub(
        r"<pre\b.*?</pre>", lambda code: f"<pre>{re.sub('<[^>]+>', '', code[0])}</pre>", html, flags=re.DOTALL
    )
    for element in Tree(html).root.walk():
        if element.tag == "article" and "bd-article" in element.classes:
            _read(element, None, found)
    for place in found:
        lines = (re.sub(r"\s+", " ", line).strip(" ·") for line in place.text.split("\n"))
        place.text = "\n".join(filter(None, lines))
    return found


def _read(element: Element | str, above: Place | None, found: list[Place], code: bool = False) -> str:
    """The text of an element, less what belongs to places of their own, which are added to `found`."""
    if isinstance(element, str):
        return element if code else re.sub(r"\s+", " ", element)
    if element.tag in SKIPPED or element.classes & SKIPPED_CLASSES:
        return ""
    if "math" in element.classes:
        return plain(re.sub(r"^\s*\\[(\[]|\\[)\]]\s*$", "", _words(element)))
    for place, contents in _opened(element, above):
        found.append(place)
        place.text = "\n".join(_read(part, place, found) for part in contents)
    if any(_opened(element, above)):
        return ""
    text = "".join(_read(child, above, found, code or element.tag == "pre") for child in element.children)
    if element.tag in ("td", "th"):
        return " ".join(text.split()) + " · "
    return f"\n{text}\n" if element.tag in BLOCKS else text


def _opened(element: Element, above: Place | None) -> Iterator[tuple[Place, list[Element]]]:
    """The places that begin with this element, and what stands in each."""
    parts = element.elements()
    box = next((BOXES[name] for name in BOXES if name in element.classes), None)
    if element.tag == "section" and (heading := next((part for part in parts if part.tag in HEADINGS), None)):
        yield Place(element.anchor, "section", _title(heading), above), [part for part in parts if part is not heading]
    elif element.tag == "div" and element.anchor and box == "reference":
        yield Place(element.anchor, box, _work(_title(element)), above), parts
    elif element.tag == "div" and element.anchor and box:
        head = next(part for part in parts if "admonition-title" in part.classes)
        yield Place(element.anchor, box, _title(head), above), [part for part in parts if part is not head]
    elif element.tag == "tr" and element.anchor:
        names = [_title(part) for part in element.walk() if part.tag == "code"]
        row = Place(element.anchor, "symbol", _title(parts[0]).strip(" ·"), above, names=names)
        yield row, [Element("tr", {}, parts[1:])]
    elif element.tag == "dl":
        terms = [i for i, part in enumerate(parts) if part.tag == "dt" and part.anchor]
        for i, end in pairwise([*terms, len(parts)]):
            # A signature is written over several lines of the page; here it is one.
            signature = [Element("p", {}, [_title(parts[i])])] if "sig" in parts[i].classes else []
            yield _entry(element, parts[i], above), [*signature, *parts[i + 1 : end]]


def _entry(holder: Element, term: Element, above: Place | None) -> Place:
    """A term of the glossary, or an object of the library by its short name."""
    if "sig" not in term.classes:
        return Place(term.anchor, "term", _title(term), above)
    inside = holder.classes & {"method", "property", "classmethod", "staticmethod", "attribute"}
    return Place(term.anchor, "object", ".".join(term.anchor.split(".")[-2 if inside else -1 :]), above)


def _title(element: Element) -> str:
    return " ".join(_read(Element("span", {}, element.children), None, []).split())


def _words(element: Element) -> str:
    """The text of a formula without its number."""
    return "".join(child for child in element.children if isinstance(child, str))


def _work(reference: str) -> str:
    """The title of a work: what follows the authors. The full stop after an initial ends nothing."""
    parts = re.split(r"(?<=\w\w)\. ", reference)
    return parts[1] if len(parts) > 1 else reference
