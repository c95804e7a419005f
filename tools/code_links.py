"""Links between chapters and the reference pages, both ways.

In a code cell every name of the library is a link to its entry, at its first use in the cell. Which name is meant is
read from the chapter's own import statements; a name that the chapter gives another meaning is left alone. These links
take no part in the order of the Tab key, where they would be hundreds: a folded list at the chapter's end holds all of
them. From that list the reference pages know which chapters use what.
"""

import ast
import html
import re
from collections.abc import Callable, Iterator

PACKAGE = "transformer_lib"
CELL = re.compile(
    r'(<div class="cell_input docutils container">\s*'
    r'<div class="highlight-\w+ notranslate"><div class="highlight"><pre>)(.*?)(?=</pre>)',
    re.DOTALL,
)
NAME = r'<span class="n\w?">(\w+)</span>'
CHAIN = re.compile(rf'{NAME}(?:<span class="o">\.</span>{NAME})*')
DOT, EQUALS = '<span class="o">.</span>', '<span class="o">=</span>'
HEADING = re.compile(r'<section[^>]* id="([^"]+)">\s*(?:<span id="[^"]*"></span>\s*)*<h([123])>(.*?)</h\2>', re.DOTALL)
ENTRY = re.compile(
    rf'<dt class="sig[^>]* id="(?P<entry>{PACKAGE}\.[\w.]+)">(?:(?!</dt>).)*</dt>\s*<dd>(?:<p>.*?</p>)?', re.DOTALL
)
LINKED = re.compile(rf'<a class="api" tabindex="-1" href="([^"#]*)#({PACKAGE}\.[\w.]+)">')
Address = Callable[[str], "str | None"]
Home = Callable[[str], "str | None"]


def linked(body: str, home: Home, address: Address) -> str:
    """The body of a chapter with the names in its cells linked, and the list of them at its end.

    `home` gives the full name of an entry for any dotted name that leads to it, `address` the link to an entry.
    """
    names: dict[str, str] = {}
    found: dict[str, str] = {}

    def cell(match: re.Match[str]) -> str:
        try:
            tree = ast.parse(html.unescape(re.sub(r"<[^>]+>", "", match[2])))
        except SyntaxError:  # a command of IPython, or a fault that is shown on purpose
            return match[0]
        for name in bound(tree):
            names.pop(name, None)
        names.update(imported(tree))
        return match[1] + _link_names(match[2], names, home, address, found)

    body = CELL.sub(cell, body)
    return _with_list(body, found) if found else body


def imported(tree: ast.AST) -> dict[str, str]:
    """What the import statements call by which name."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    names[alias.asname or PACKAGE] = alias.name if alias.asname else PACKAGE
    return names


def bound(tree: ast.AST) -> Iterator[str]:
    """The names that the code gives a meaning, other than by importing from the library."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name.split(".")[0] for alias in aliases)


def _link_names(code: str, names: dict[str, str], home: Home, address: Address, found: dict[str, str]) -> str:
    """The highlighted code of a cell with its links; adds what was linked to `found`."""
    seen: set[str] = set()

    def link(match: re.Match[str]) -> str:
        spans = match[0].split(DOT)
        words = [re.sub(r"<[^>]+>", "", span) for span in spans]
        attribute = code.endswith(DOT, 0, match.start())
        keyword = len(words) == 1 and code.startswith(EQUALS, match.end())
        if words[0] not in names or attribute or keyword:
            return match[0]
        for end in range(len(words), 0, -1):
            entry = home(".".join([names[words[0]], *words[1:end]]))
            target = address(entry) if entry else None
            if entry and target and entry not in seen:
                seen.add(entry)
                found[entry] = target
                inside, after = DOT.join(spans[:end]), "".join(DOT + span for span in spans[end:])
                return f'<a class="api" tabindex="-1" href="{target}">{inside}</a>{after}'
            if entry:
                break
        return match[0]

    return CHAIN.sub(link, code)


def _with_list(body: str, found: dict[str, str]) -> str:
    links = ", ".join(
        f'<a class="reference internal" href="{target}"><code>{name}</code></a>'
        for name, target in sorted((entry.split(".", 1)[1], target) for entry, target in found.items())
    )
    details = (
        '<details class="library-used"><summary>What this chapter uses of the library</summary>'
        f"<p>{links}</p></details>\n"
    )
    end = body.rstrip().rfind("</section>")
    return body[:end] + details + body[end:]


def uses(body: str) -> dict[str, tuple[str, str]]:
    """Which entries the cells of a chapter use: the id and the title of the section where each comes first."""
    headings = [(match.start(), match[1], match[3]) for match in HEADING.finditer(body)]
    first: dict[str, tuple[str, str]] = {}
    for match in LINKED.finditer(body):
        before = [(target, title) for start, target, title in headings if start < match.start()]
        if before and match[2] not in first:
            target, title = before[-1]
            title = re.sub(r'<a class="headerlink".*?</a>|<span class="section-number">.*?</span>', "", title)
            first[match[2]] = (target, re.sub(r"<[^>]+>", "", title).strip())
    return first


def with_users(body: str, users: dict[str, list[tuple[str, str, str]]]) -> str:
    """A reference page that names the chapters using it, below its title all of them and below an entry its own.

    `users` has for each entry of the page: address of the section, chapter, section.
    """

    def entry(match: re.Match[str]) -> str:
        links = ", ".join(_to_chapter(*user) for user in users.get(match["entry"], []))
        return f'{match[0]}<p class="used-in">Used in {links}.</p>' if links else match[0]

    body = re.sub(r'\n?<p class="used-in">.*?</p>', "", body)  # of an earlier build
    body = ENTRY.sub(entry, body)
    entries = {match["entry"] for match in ENTRY.finditer(body)}
    chapters = {user[1]: user[0].partition("#")[0] for entry in entries for user in users.get(entry, [])}
    links = ", ".join(_to_chapter(address, chapter) for chapter, address in sorted(chapters.items()))
    return body.replace("</h1>", f'</h1>\n<p class="used-in">Used in the chapters {links}.</p>', 1) if links else body


def _to_chapter(address: str, chapter: str, section: str = "") -> str:
    title = f' title="{section}"' if section else ""
    return f'<a class="reference internal" href="{address}"{title}>{chapter}</a>'
