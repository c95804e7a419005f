"""A search of the book's own, which needs neither a server nor another machine.

Sphinx's search knows whole pages, forgets where on a page the words stand, and fetches each hit for an excerpt, which a
browser refuses to pages opened from a disk. Here the text of all places is written into one script beside the pages;
search.html reads it, finds, and quotes (`tools/search/`). On the page of a hit `_static/search_hit.js` marks the words.
"""

import hashlib
import re
import shutil
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from docutils import nodes
from search_formulas import plain
from search_packing import ENCODING, packed
from search_sections import Place, places
from sphinx.application import Sphinx

SCRIPTS = Path(__file__).parent / "search"
WORDS = Path(__file__).parent / "search_words.toml"
UNUSED = ("searchtools.js", "language_data.js")  # of Sphinx's own search
HAN = "\u4e00-\u9fff"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", lambda app, config: config.templates_path.append(str(SCRIPTS)))
    app.connect("builder-inited", replace_search)
    app.connect("doctree-resolved", name_symbols)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def replace_search(app: Sphinx) -> None:
    """Sphinx makes no index and no page for it; search.html comes from our template, at the same address."""
    if app.builder.name == "html":
        app.builder.search = False  # type: ignore[attr-defined]
        app.config.html_additional_pages["search"] = "search_page.html"


def name_symbols(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Each row of the notation gets an anchor, so that a search for a symbol leads to it."""
    if not docname.endswith("notation") or app.builder.name != "html":
        return
    taken: Counter[str] = Counter()
    for body in doctree.findall(nodes.tbody):
        for row in body.findall(nodes.row):
            formulas = [plain(formula.astext()) for formula in row[0].findall(nodes.math)]
            name = re.sub(r"\W+", "-", "-".join(["symbol", *formulas])).strip("-")
            taken[name] += 1
            row["ids"].append(name if taken[name] == 1 else f"{name}-{taken[name]}")


def write(app: Sphinx, error: Exception | None) -> None:
    """The text of the finished pages, and the scripts that search it."""
    if app.builder.name != "html" or error:
        return
    files = [app.builder.get_target_uri(name) for name in sorted(app.env.found_docs)]
    pages = {file: places((Path(app.outdir) / file).read_text(encoding="utf-8")) for file in files}
    static = Path(app.outdir) / "_static"
    shutil.copytree(SCRIPTS, static / "search", ignore=shutil.ignore_patterns("*.html"), dirs_exist_ok=True)
    data = table(pages, tomllib.loads(WORDS.read_text(encoding="utf-8")))
    (static / "search" / "data.js").write_text(packed(data), encoding=ENCODING)
    renew(Path(app.outdir) / "search.html", static / "search")
    for name in UNUSED:
        (static / name).unlink(missing_ok=True)


def renew(page: Path, folder: Path) -> None:
    """The page asks for its scripts by what they hold, so that no browser keeps an older one."""
    content = b"".join(script.read_bytes() for script in sorted(folder.glob("*.js")))
    version = hashlib.sha256(content).hexdigest()[:8]
    text = re.sub(r'(/search/\w+\.js)[^"]*', rf"\1?v={version}", page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")


def table(pages: dict[str, list[Place]], words: dict[str, Any]) -> dict[str, Any]:
    """What the scripts read: places as lists, the one around a place by its number, and words that mean the same."""
    rows: list[list[Any]] = []
    numbers: dict[int, int] = {}
    for file, found in pages.items():
        for place in found:
            numbers[id(place)] = len(rows)
            above = -1 if place.above is None else numbers[id(place.above)]
            also = place.names + words["also"].get(f"{file}#{place.anchor}", [])
            rows.append([file, place.anchor, place.kind, place.title, above, place.text, also])
    terms = [place for found in pages.values() for place in found if place.kind == "term"]
    chinese = [[place.title, *names] for place in terms if (names := chinese_names(place.text))]
    return {"places": rows, "same": words["same"] + chinese, "stop": words["stop"]}


def chinese_names(text: str) -> list[str]:
    """The Chinese of a term, with which its entry begins; a second name stands in brackets."""
    head = text.split(". ")[0]
    return re.findall(rf"[{HAN}A-Za-z\d-]*[{HAN}]+[{HAN}A-Za-z\d-]*", head) if re.match(rf"\S*[{HAN}]", head) else []
