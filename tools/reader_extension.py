"""What readers expect of a page beyond its text: previews, times, links to the source and back, and a way to cite it.

Each part is a file of its own: `previews`, `code_links`, `source_pages`, `downloads`, `copy_facts`. Here they meet the
build. What concerns one page is written with it; what needs all pages waits until they are built.
"""

import functools
import html
import inspect
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import code_links
import copy_facts
import downloads
import previews
import source_pages
from book_extension import PACKAGE, home, resolved
from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
ABOUT, WAYS = "chapters/about", "chapters/ways"
API = "chapters/api/"
LONGEST = 26  # letters of code that fit into a line on a phone, inside a list or a box too
LITERAL = re.compile(r'(<code class="[^"]*\bliteral\b[^"]*)("[^>]*>)(.*?)(?=</code>)', re.DOTALL)
VIEWPORT = re.compile(r'\s*<meta name="viewport"[^>]*>')
PREVIEWS = re.compile(r'<script type="application/json" id="previews">.*?</script>\n', re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("report_address", "", "env", [str])
    app.connect("source-read", fill_in)
    app.connect(
        "env-get-outdated", lambda app, *_: [ABOUT] if ABOUT in app.env.found_docs else []
    )  # the commit changes, and the page with it
    app.connect("html-page-context", write_page, priority=900)  # after the theme has made its menus
    app.connect("html-collect-pages", not_found)
    app.connect("build-finished", finish, priority=850)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """The facts of this copy, where the page about it has their names in double braces."""
    if docname != ABOUT:
        return
    facts = {
        "version": app.config.version,
        "commit": copy_facts.made_from(),
        "bibtex": f"```bibtex\n{copy_facts.bibtex()}\n```",
        "mistakes": mistakes(app),
        "downloads": offers(app),
    }
    for name, written in facts.items():
        source[0] = source[0].replace(f"{{{{ {name} }}}}", written)


def mistakes(app: Sphinx) -> str:
    repository = app.config.html_theme_options.get("repository_url", "").rstrip("/")
    address = app.config.report_address or (f"{repository}/issues" if repository else "")
    if not address:
        return "Tell whoever gave you this copy: its publisher has left no address."
    mail = "@" in address and "/" not in address
    return f"Write to [{address.removeprefix('mailto:')}]({'mailto:' if mail and ':' not in address else ''}{address})."


def offers(app: Sphinx) -> str:
    if app.builder.name != "html":
        return "The web pages of this book offer its notebooks and its library as one archive."
    lines = [
        f'<li><a href="../{name}" download>{posixpath.basename(name)}</a>: {words}</li>'
        for name, words in downloads.offered(ROOT).items()
    ]
    return "\n".join(["<ul>", *lines, "</ul>"])


# One page ------------------------------------------------------------------------------------------------------------


def write_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    if app.builder.name != "html":
        return
    if ABOUT in app.env.found_docs:
        about = context["pathto"](ABOUT)
        context["theme_extra_footer"] = (
            f'<p><a href="{about}">About this copy</a>: licence, how to cite it, how to report a mistake</p>'
        )
    if page == "404":
        context["pageurl"] = None  # it stands for many addresses
    if doctree is None:
        return
    offer_downloads(context)
    describe(app, context)
    body = context["body"]
    entries = app.env.domains["py"].objects
    if is_notebook(app, page):

        def address(entry: str) -> str | None:
            known = entries.get(entry)
            return f"{app.builder.get_relative_uri(page, known.docname)}#{known.node_id}" if known else None

        body = with_facts(app, page, code_links.linked(body, meant, address))
    elif page.startswith(API):
        body = source_pages.with_links(body, context["pathto"]("", 1), source_pages.places(ROOT))
    context["body"] = with_long_code(body)
    context["pagetitle"] = context["title"]  # the theme prints the title without its number


def with_long_code(body: str) -> str:
    """Code in a line stays in one piece; what is too long for that carries a class that lets it break."""

    def named(code: re.Match[str]) -> str:
        return f"{code[1]} long{code[2]}{code[3]}" if len(plain(code[3])) > LONGEST else code[0]

    return LITERAL.sub(named, body)


@functools.cache
def meant(path: str) -> str | None:
    """The entry that an import of the name gives; a package may have a function and a file of one name."""
    parent, _, name = path.rpartition(".")
    obj = inspect.getattr_static(resolved(parent), name, None) if parent else None
    if (getattr(obj, "__module__", None) or "").startswith(PACKAGE) and hasattr(obj, "__qualname__"):
        return home(f"{obj.__module__}.{obj.__qualname__}")
    return home(path)


def offer_downloads(context: dict[str, Any]) -> None:
    """The whole book beside the page, in the theme's own menu."""
    for group in context.get("header_buttons", []):
        if group.get("label") == "download-buttons":
            group["buttons"] += [
                {
                    "type": "link",
                    "url": context["pathto"](name, 1),
                    "text": f"book ({Path(name).suffix})",
                    "tooltip": f"Download {words}",
                    "icon": "fas fa-book",
                    "label": f"download-book-{Path(name).suffix[1:]}",
                }
                for name, words in downloads.offered(ROOT).items()
            ]


def describe(app: Sphinx, context: dict[str, Any]) -> None:
    """Say to search engines, and to whoever is sent a link, what the page is."""
    said = plain(previews.first_paragraph(context["body"]))
    if len(said) > 160:
        said = said[:159].rsplit(" ", 1)[0].rstrip(",;:") + "…"
    properties = {
        "og:title": re.sub(r"^[\d.]+ ", "", plain(context["title"])),
        "og:description": said,
        "og:type": "article",
        "og:site_name": app.config.project,
        "og:url": context.get("pageurl") or "",
    }
    tags = [f'<meta name="description" content="{html.escape(said)}" />'] if said else []
    tags += [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in properties.items() if text]
    context["metatags"] = "\n".join([VIEWPORT.sub("", context.get("metatags", "")), *tags])


def plain(text: str) -> str:
    """Text without its tags, and formulas without the signs that begin and end them."""
    return " ".join(re.sub(r"\\[()]", "", html.unescape(re.sub(r"<[^>]+>", "", text))).split())


def with_facts(app: Sphinx, page: str, body: str) -> str:
    """How long the chapter takes to read and to run, how hard it is, and when it last changed, below its title."""
    minutes = copy_facts.reading_minutes(Path(app.env.doc2path(page)))
    marks = f"{app.builder.get_relative_uri(page, WAYS)}#marks" if WAYS in app.env.found_docs else ""
    date = copy_facts.last_changes().get(f"{page}.ipynb")
    level = copy_facts.levels().get(page)
    seconds = copy_facts.seconds().get(page)
    facts = [
        f"{minutes} minutes to read",
        f"runs {copy_facts.run_time(seconds)}" if seconds is not None else "",
        f'<a href="{marks}">level {level}<span class="visually-hidden"> of ★★★</span></a>' if level and marks else "",
        f"changed {copy_facts.spelled(date)}" if date else "",
    ]
    said = " · ".join(filter(None, facts))
    return body.replace("</h1>", f'</h1>\n<p class="chapter-facts">{said}</p>', 1)


def not_found(app: Sphinx) -> list[tuple[str, dict[str, Any], str]]:
    """The page that a server shows for an address that has none."""
    if app.builder.name != "html":
        return []
    body = (
        "<h1>There is no such page</h1>\n<p>The address may have a slip, or the page has moved. "
        f'The <a href="{app.config.root_doc}.html">first page</a> has a map of the book, '
        'and the <a href="search.html">search</a> looks through all of it.</p>'
    )
    return [("404", {"title": "There is no such page", "body": body}, "page.html")]


# All pages -----------------------------------------------------------------------------------------------------------


def finish(app: Sphinx, error: Exception | None) -> None:
    if app.builder.name != "html" or error:
        return
    out = Path(app.outdir)
    texts = {name: (out / f"{name}.html").read_text(encoding="utf-8") for name in sorted(app.env.found_docs)}
    users = used_by(app, texts)
    for name in texts:
        if name.startswith(API):
            address = functools.partial(app.builder.get_relative_uri, name)
            here = {
                entry: [(f"{address(page)}#{target}", *titles) for page, target, *titles in found]
                for entry, found in users.items()
            }
            texts[name] = code_links.with_users(texts[name], here)
    pages = {name: previews.Page(name, text) for name, text in texts.items()}
    for name, text in texts.items():
        text, carried = PREVIEWS.sub("", text), previews.script(previews.previews(pages[name], pages))
        end = text.rindex("</body>")
        (out / f"{name}.html").write_text(text[:end] + carried + text[end:], encoding="utf-8")
    for path in [*out.glob("*.html"), *(out / "chapters").rglob("*.html")]:
        text = path.read_text(encoding="utf-8")
        first = VIEWPORT.search(text)
        if first:
            path.write_text(text[: first.end()] + VIEWPORT.sub("", text[first.end() :]), encoding="utf-8")
    entries = app.env.domains["py"].modules
    where = {name: f"{app.builder.get_target_uri(entry.docname)}#{entry.node_id}" for name, entry in entries.items()}
    source_pages.write(ROOT, out, where)
    downloads.write(ROOT, out)
    write_for_servers(app, out)


def used_by(app: Sphinx, texts: dict[str, str]) -> dict[str, list[tuple[str, str, str, str]]]:
    """The chapters that use each entry: page, id of the section, title of the chapter, title of the section."""
    users: dict[str, list[tuple[str, str, str, str]]] = {}
    for page in (page for page in reading_order(app) if is_notebook(app, page)):
        title = app.env.titles[page].astext().partition(":")[0]
        for entry, (target, section) in code_links.uses(texts[page]).items():
            users.setdefault(entry, []).append((page, target, html.escape(title), section))
    return users


def is_notebook(app: Sphinx, page: str) -> bool:
    return Path(app.env.doc2path(page)).suffix == ".ipynb"


def reading_order(app: Sphinx) -> list[str]:
    relations = app.env.collect_relations()
    page, order = app.config.root_doc, []
    while page:
        order.append(page)
        page = relations[page][2]
    return order


def write_for_servers(app: Sphinx, out: Path) -> None:
    """A list of all pages, a word to robots, and a page for wrong addresses that works wherever it is shown."""
    site = app.config.html_baseurl.rstrip("/")
    dates = copy_facts.last_changes()
    entries = []
    for name in reading_order(app):
        source = Path(app.env.doc2path(name)).relative_to(ROOT).as_posix()
        date = f"<lastmod>{dates[source]}</lastmod>" if source in dates else ""
        entries.append(f"<url><loc>{escape(f'{site}/{app.builder.get_target_uri(name)}')}</loc>{date}</url>")
    listed = '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    (out / "sitemap.xml").write_text(listed + "\n".join(entries) + "\n</urlset>\n", encoding="utf-8")
    (out / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {site}/sitemap.xml\n", encoding="utf-8")
    path = out / "404.html"
    top = f"{urlsplit(site).path}/"
    absolute = re.sub(
        r'\b(href|src|action|data-content_root)="(?!#|\w+:|//)(?:\./)?([^"]*)"',
        lambda match: f'{match[1]}="{top}{match[2]}"',
        path.read_text(encoding="utf-8"),
    )
    path.write_text(absolute, encoding="utf-8")
