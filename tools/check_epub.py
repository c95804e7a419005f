"""Look into an EPUB: what is wrong with it, one line each; nothing if a reader may have it.

python tools/check_epub.py _build/book.epub
"""

import posixpath
import sys
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

OPF = "{http://www.idpf.org/2007/opf}"
MATH = "{http://www.w3.org/1998/Math/MathML}math"


def problems(path: str) -> Iterator[str]:
    """Files that are not XML, a list of files that is not theirs, links and images that lead nowhere, raw TeX."""
    with zipfile.ZipFile(path) as book:
        names = book.namelist()
        if names[0] != "mimetype" or book.read("mimetype") != b"application/epub+zip":
            yield "mimetype is not the first file"
        package = ElementTree.fromstring(book.read("content.opf"))
        listed = {unquote(item.get("href", "")): item for item in package.iter(f"{OPF}item")}
        unlisted = set(names) - set(listed) - {"mimetype", "content.opf", "META-INF/container.xml"}
        yield from (f"{name} is not in the list of files" for name in sorted(unlisted))
        yield from (f"{name} is listed and not there" for name in sorted(set(listed) - set(names)))
        pages = {}
        for name in (name for name in names if name.endswith((".xhtml", ".ncx"))):
            try:
                pages[name] = ElementTree.fromstring(book.read(name))
            except ElementTree.ParseError as error:
                yield f"{name} is not XML: {error}"
    targets = {name: {element.get("id") for element in page.iter()} for name, page in pages.items()}
    for name, page in pages.items():
        holds = "mathml" in (listed[name].get("properties") or "") if name in listed else False
        if holds != any(True for _ in page.iter(MATH)):
            yield f"{name}: the list of files is wrong about its MathML"
        for element in page.iter():
            yield from (f"{name}: {fault}" for fault in _faults(element, name, names, targets))


def _faults(
    element: ElementTree.Element, page: str, names: list[str], targets: dict[str, set[str | None]]
) -> Iterator[str]:
    if element.tag.endswith("}script"):
        yield "has a script, which readers do not run"
    if (element.text or "").startswith(("\\(", "\\[")):
        yield f"formula as TeX: {(element.text or '')[:40]}"
    for attribute in ("href", "src"):
        link = urlsplit(element.get(attribute, ""))
        if link.scheme or not (link.path or link.fragment):
            continue
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(link.path))) if link.path else page
        if target not in names:
            yield f"{attribute} to {target}, which is not there"
        elif link.fragment and target in targets and unquote(link.fragment) not in targets[target]:
            yield f"{attribute} to {target}#{link.fragment}, which is not there"


if __name__ == "__main__":
    found = [problem for path in sys.argv[1:] for problem in problems(path)]
    print("\n".join(found) or "EPUB: nothing found")
    sys.exit(bool(found))
