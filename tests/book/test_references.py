"""The book keeps its own promises: symbols, terms, papers, labels and the numbers in its text all stand somewhere.

Pages are read as text, without building them. A rule takes a book and yields (page, complaint).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pybtex.database import parse_string

ROOT = Path(__file__).parents[2]
Problem = tuple[str, str]


# --- Reading a page: blocks of prose and formulas, and what the code cells of each section print or say.


@dataclass
class Block:
    """A paragraph, list item, table row, heading, caption or displayed formula."""

    kind: str
    text: str
    section: str
    roles: list[tuple[str, str]] = field(default_factory=list)
    maths: list[str] = field(default_factory=list)
    prose: str = ""

    def __post_init__(self) -> None:
        if self.kind == "math":
            self.maths = [self.text]
            return
        self.roles = re.findall(r"\{([\w:]+)\}`([^`]+)`", self.text)
        bare = re.sub(r"\{[\w:]+\}`[^`]+`", " ", self.text)
        bare = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", " ", bare, flags=re.DOTALL)
        bare = re.sub(r"https?://\S+", " ", bare)
        inline = re.compile(r"(?<!\\)(\$\$?)(.+?)(?<!\\)\1", re.DOTALL)
        self.maths = [match[1] for match in inline.findall(bare)]
        self.prose = inline.sub(" ", bare)


@dataclass
class Page:
    """One page: its blocks, the labels it sets, and the numbers in the code cells of each section."""

    blocks: list[Block]
    labels: list[str]
    numbers: dict[str, set[float]]
    is_notebook: bool


@dataclass
class Book:
    pages: dict[str, Page]
    bibliography: str


def read_page(source: str | NotebookNode) -> Page:
    page = Page([], [], {}, not isinstance(source, str))
    cells = [new_markdown_cell(source)] if isinstance(source, str) else source.cells
    section = "top"
    for cell in cells:
        if cell.cell_type == "markdown":
            section = _read_text(cell.source, section, page)
            continue
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if "name" in figure:
            page.labels.append(figure["name"])
        page.blocks.append(Block("caption", figure.get("caption", ""), section))
        stored = "\n".join([cell.source, *_output_text(cell)])
        page.numbers.setdefault(section, set()).update(value for value, _ in _numbers(stored))
    return page


def _output_text(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        yield from (str(output.get(key, "")) for key in ("text", "evalue"))
        yield from (str(data) for mime, data in output.get("data", {}).items() if mime.startswith("text/"))


FENCE = re.compile(r"\s*(`{3,}|:{3,})\s*(?:\{([\w:-]+)\})?\s*(.*)")
ITEM = re.compile(r"\s*(?:[-*]|\d+\.)\s")


def _read_text(text: str, section: str, page: Page) -> str:
    """Appends the blocks and labels of a text cell; returns the section in which it ends."""
    lines: list[str] = []
    kind, inside = "paragraph", ["prose"]

    def flush(following: str = "paragraph") -> None:
        nonlocal kind
        if content := "\n".join(lines).strip():
            page.blocks.append(Block(kind, content, section))
        lines.clear()
        kind = following

    for line in text.split("\n"):
        fence = FENCE.fullmatch(line)
        label = re.fullmatch(r"\((.+)\)=|\s*:(?:label|name):\s*(.+)", line)
        if fence and (inside[-1] == "prose" or not (fence[2] or fence[3])):
            flush()
            if fence[2] or fence[3] or inside == ["prose"]:
                inside.append("math" if fence[2] == "math" else "prose" if fence[2] else "code")
                kind = "math" if inside[-1] == "math" else "paragraph"
                start = "solution" if fence[2] == "solution-start" else "title"
                if fence[2] not in (None, "math") and fence[3]:
                    page.blocks.append(Block(start, fence[3], section))
            else:
                inside.pop()
        elif label:
            page.labels.append(label[1] or label[2].strip())
        elif inside[-1] == "code" or re.match(r"\s*:[\w-]+:", line) or (not lines and line.startswith("    ")):
            continue
        elif inside[-1] == "math":
            lines.append(line)
        elif not line.strip():
            flush()
            page.blocks.append(Block("gap", "", section))
        elif heading := re.match(r"(#+)\s+(.*)", line):
            flush()
            section = heading[2] if heading[1] == "##" else section
            page.blocks.append(Block("heading", heading[2], section))
        elif line.lstrip().startswith("|"):
            flush()
            page.blocks.append(Block("row", line.strip(), section))
        else:
            if ITEM.match(line):
                flush()
            lines.append(line)
    flush()
    return section


# --- Symbols: those of every formula stand in the notation table.

WORDS = re.compile(r"\\(?:text\w*|mathrm|mathsf|mathtt|operatorname\*?|mbox)\s*\{([^{}]*)\}")
DROPPED = re.compile(
    r"\\(?:begin|end)\{\w+\*?\}(?:\{[^{}]*\})?|\\(?:label|tag|hspace|vspace|color)\*?\{[^{}]*\}|\\\\\[[^\]]*\]"
)
TOKEN = re.compile(r"\x02[^\x03]*\x03|\\[A-Za-z]+|\\.|[A-Za-z]|[{}_^]|\S")
GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|(?:var)?epsilon|zeta|eta|(?:var)?theta|iota|kappa|lambda|mu|nu|xi|pi|(?:var)?rho"
    r"|(?:var)?sigma|tau|upsilon|(?:var)?phi|chi|psi|omega|ell"
    r"|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega)"
)
FONTS = {"mathbf", "mathcal", "mathbb", "mathfrak", "boldsymbol", "bm", "pmb"}
ACCENTS = {"hat", "tilde", "bar", "overline", "vec", "dot", "ddot", "widehat", "widetilde", "underline", "check"}


@dataclass(frozen=True)
class Symbol:
    """A letter with its font, and the subscript it carries: `base_sub` is one symbol if the table has it."""

    base: str
    sub: str
    indices: tuple["Symbol", ...]

    @property
    def compound(self) -> str:
        return f"{self.base}_{self.sub}" if self.sub else self.base


def symbols(latex: str) -> list[Symbol]:
    """The symbols of a formula: letters with font and subscript; words, functions and operators are dropped."""
    plain = DROPPED.sub(" ", WORDS.sub("\x02\\1\x03", latex))
    tokens = TOKEN.findall(plain)
    return _sequence(tokens, 0)[0]


def _sequence(tokens: list[str], at: int) -> tuple[list[Symbol], int]:
    found: list[Symbol] = []
    while at < len(tokens) and tokens[at] != "}":
        atom, at = _atom(tokens, at)
        sub, indices = "", []
        while at + 1 < len(tokens) and tokens[at] in "_^":
            below, start = tokens[at] == "_", at + 1
            part, at = _atom(tokens, start)
            if below and len(atom) == 1:
                sub, indices = "".join(tokens[start:at]), part
            else:
                found += part
        if sub:
            name = re.sub(r"[{}\\\x02\x03]", "", sub)
            atom = [replace(atom[0], sub=name, indices=tuple(indices))]
        found += atom
    return found, at


def _atom(tokens: list[str], at: int) -> tuple[list[Symbol], int]:
    token = tokens[at]
    if token == "{":
        found, at = _sequence(tokens, at + 1)
        return found, at + 1
    name = token[1:] if token.startswith("\\") else ""
    if name in FONTS and at + 1 < len(tokens):
        letters, at = _atom(tokens, at + 1)
        return [replace(letter, base=f"\\{name} {letter.base}") for letter in letters], at
    if name in ACCENTS and at + 1 < len(tokens):
        return _atom(tokens, at + 1)
    is_symbol = GREEK.fullmatch(token) or re.fullmatch("[A-Za-z]", token)
    return [Symbol(token, "", ())] if is_symbol else [], at + 1


def table_rows(page: Page) -> Iterator[tuple[list[str], list[str]]]:
    """(header, cells) of every row of the tables of a page that describe symbols."""
    header: list[str] = []
    for block in page.blocks:
        if block.kind != "row":
            header = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", block.text)[1:-1]]
        if not header:
            header = cells
        elif header[0] == "symbol" and not set("".join(cells)) <= set(":- "):
            yield header, cells


def symbol_problems(book: Book) -> Iterator[Problem]:
    everywhere: set[str] = set()
    of_chapter: set[tuple[str, str]] = set()
    for header, cells in table_rows(book.pages["notation"]):
        names = {symbol.compound for formula in Block("row", cells[0], "").maths for symbol in symbols(formula)}
        if not re.search("[一-鿿]", cells[-1]):
            yield "notation", f"{cells[0]} has no Chinese name"
        chapters = [""]
        if "chapter" in header:
            chapters = [_target(text) for _, text in Block("row", cells[header.index("chapter")], "").roles]
        if "" in chapters and names & everywhere:
            yield "notation", f"{cells[0]} stands there twice"
        everywhere |= names if "" in chapters else set()
        of_chapter |= {(chapter, name) for chapter in chapters if chapter for name in names}
    used: set[tuple[str, str]] = set()
    for page, content in book.pages.items():
        if page == "notation":
            continue
        known = everywhere | {name for chapter, name in of_chapter if chapter == page}
        for formula in (formula for block in content.blocks for formula in block.maths):
            names = {name for symbol in symbols(formula) for name in _names(symbol, known)}
            used |= {(page, name) for name in names}
            for name in sorted(names - known):
                yield page, f"symbol {name} of ${' '.join(formula.split())[:60]}$ is not in the notation table"
    for name in everywhere - {name for _, name in used}:
        yield "notation", f"{name}: no chapter uses it"
    for chapter, name in of_chapter - used:
        yield "notation", f"{name}: {chapter} does not use it"


def _names(symbol: Symbol, known: set[str]) -> Iterator[str]:
    if symbol.compound in known:
        yield symbol.compound
        return
    yield symbol.base
    for index in symbol.indices:
        yield from _names(index, known)


# --- Terms: what is bold or a {term} stands in the glossary.


def glossary_terms(page: Page) -> list[list[str]]:
    """The entries in their order, each the list of its terms."""
    entries: list[list[str]] = []
    for block in page.blocks:
        if block.kind == "paragraph" and re.search(r"\n\s+\S", block.text) and not block.text.startswith("|"):
            entries.append([line for line in block.text.split("\n") if not line.startswith(" ")])
    return entries


def _stem(term: str) -> str:
    words = " ".join(term.lower().split()).strip(" .:,;?")
    for plural, singular in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("s", "")):
        if words.endswith(plural) and not words.endswith("ss"):
            return words.removesuffix(plural) + singular
    return words


def term_problems(book: Book) -> Iterator[Problem]:
    entries = glossary_terms(book.pages["glossary"])
    terms = [term for entry in entries for term in entry]
    for term, count in Counter(map(str.lower, terms)).items():
        if count > 1:
            yield "glossary", f"{term} is defined {count} times"
    order = [entry[0].lower() for entry in entries]
    for before, after in zip(order, sorted(order), strict=True):
        if before != after:
            yield "glossary", f"{before} is out of alphabetical order, expected {after}"
            break
    for block in book.pages["glossary"].blocks:
        first = block.text.split("\n")[0]
        if first in terms and not re.search("[一-鿿]", block.text):
            yield "glossary", f"{first} has no Chinese name"
    exact, stems, used = {term.lower() for term in terms}, {_stem(term) for term in terms}, set()
    for page, content in book.pages.items():
        for block in content.blocks:
            for target in (_target(text) for role, text in block.roles if role == "term"):
                if target.lower() not in exact:
                    yield page, f"term {target!r} is not in the glossary"
                elif page != "glossary":
                    used.add(_stem(target))
            if block.kind in ("row", "heading", "title"):
                continue
            for bold in re.findall(r"\*\*(.+?)\*\*", block.prose, re.DOTALL):
                if bold.strip() and _stem(bold) not in stems:
                    yield page, f"bold {' '.join(bold.split())!r} is not a glossary term"
                used.add(_stem(bold))
    for block in book.pages["glossary"].blocks:
        if re.search(r"\{(?:doc|ref)\}`|\.ipynb#", block.text):  # an entry may itself say where its term is used
            used.update(_stem(line) for line in block.text.split("\n") if not line.startswith(" "))
    for term in terms:
        if _stem(term) not in used:
            yield "glossary", f"{term}: no chapter uses it"


def _target(text: str) -> str:
    explicit = re.fullmatch(r".*<(.+)>", text, re.DOTALL)
    return " ".join((explicit[1] if explicit else text).split())


# --- Papers: every key exists, every entry is cited and complete.

IDENTIFIERS = ("eprint", "doi", "url", "journal", "booktitle", "publisher")


def citation_problems(book: Book) -> Iterator[Problem]:
    entries = parse_string(book.bibliography, "bibtex").entries
    cited: set[str] = set()
    for page, content in book.pages.items():
        for role, text in (role for block in content.blocks for role in block.roles):
            if role.startswith("cite"):
                keys = {key.strip() for key in text.split(",")}
                cited |= keys
                yield from ((page, f"{key} is not in references.bib") for key in sorted(keys - entries.keys()))
    for key, entry in entries.items():
        authors = [str(person) for person in entry.persons.get("author", [])]
        faults = {
            "no chapter cites it": key not in cited,
            "no author": not authors,
            "authors are left out": "others" in authors or any("et al" in author for author in authors),
            "no title": not entry.fields.get("title"),
            "no year": not re.fullmatch(r"\d{4}", entry.fields.get("year", "")),
            f"none of {', '.join(IDENTIFIERS)}": not any(entry.fields.get(name) for name in IDENTIFIERS),
        }
        yield from (("references", f"{key}: {fault}") for fault, holds in faults.items() if holds)


# --- Labels: each is set once, and what is referred to is set.


def label_problems(book: Book) -> Iterator[Problem]:
    owners = [(label, page) for page, content in book.pages.items() for label in content.labels]
    count = Counter(label for label, _ in owners)
    for label, page in owners:
        if count[label] > 1:
            yield page, f"label {label} is set {count[label]} times"
    for page, content in book.pages.items():
        for block in content.blocks:
            wanted = [(role, _target(text)) for role, text in block.roles]
            wanted += [("solution", block.text)] if block.kind == "solution" else []
            for role, target in wanted:
                if role in ("ref", "numref", "eq", "prf:ref", "solution") and target not in count:
                    yield page, f"{role} {target!r} leads nowhere"
                if role == "doc" and target.removeprefix("/chapters/") not in book.pages:
                    yield page, f"doc {target!r} leads nowhere"


# --- Numbers: a decimal number in the text stands, rounded, in a code cell of its section, or its paragraph cites.

NUMBER = re.compile(
    r"(?<![\w.])(?P<whole>\d{1,3}(?:,\d{3})+|\d[\d_]*)?(?P<part>\.\d+)?(?:e(?P<e>[+-]?\d+))?(?![\d]|\.\d)",
    re.IGNORECASE,
)
POWER = re.compile(r"\s*(?:\\cdot|\\times|×|·)\s*10\^\{?\s*(-?\d+)")
UNITS = {
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "%": 0.01,
    "percent": 0.01,
    "per cent": 0.01,
}
NAMED = re.compile(
    r"(?:\b(?:versions?|sections?|chapters?|figure|table|Python|PyTorch|torch|CUDA|Llama|GPT|Qwen|Kimi|DeepSeek|GLM"
    r"|Transformers|TensorFlow|Keras|NumPy|SQuAD)[\s~-]|[A-Za-z]-)$",
    re.IGNORECASE,
)


def _numbers(text: str) -> Iterator[tuple[float, re.Match[str]]]:
    for match in NUMBER.finditer(text):
        if match["whole"] or match["part"]:
            digits = (match["whole"] or "0").replace(",", "").replace("_", "") + (match["part"] or "")
            yield float(f"{digits}e{match['e'] or 0}"), match


def quoted(text: str) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Every decimal number of a text, as written, with each (value, tolerance) it may stand for."""
    text = text.replace("{,}", ",").replace(r"\,", "").replace(r"\%", "%")
    for value, match in _numbers(text):
        if not match["part"] or NAMED.search(text[: match.start()]):
            continue
        rest = text[match.end() :]
        power = POWER.match(rest)
        unit = re.match(r"\s*(thousand|million|billion|trillion|%|per ?cent)", rest)
        scales = [1.0]
        scales += [10.0 ** int(power[1])] if power else []
        scales += [UNITS[unit[1]]] if unit else []
        tolerance = 0.5 * 10.0 ** (1 - len(match["part"]) + int(match["e"] or 0))
        yield match[0] + (power[0] if power else ""), [(value * scale, tolerance * scale) for scale in scales]


def number_problems(book: Book) -> Iterator[Problem]:
    for page, content in book.pages.items():
        if not content.is_notebook:
            continue
        for block in content.blocks:
            if any(role.startswith("cite") for role, _ in block.roles):
                continue
            there = content.numbers.get(block.section, set())
            for written, readings in (number for text in [block.prose, *block.maths] for number in quoted(text)):
                if not any(abs(found - value) <= 1.0001 * slack for value, slack in readings for found in there):
                    yield page, f"section {block.section!r}: no code cell has {written}"


# --- The book.

RULES: list[Callable[[Book], Iterator[Problem]]] = [
    symbol_problems,
    term_problems,
    citation_problems,
    label_problems,
    number_problems,
]


def problems(book: Book) -> list[str]:
    found = [f"{page}: {complaint}" for rule in RULES for page, complaint in rule(book)]
    return list(dict.fromkeys(found))


def read_book(folder: Path) -> Book:
    pages = {
        name: read_page(nbformat.read(file, 4) if file.suffix == ".ipynb" else file.read_text())
        for name, file in page_files(folder).items()
    }
    return Book(pages, (folder / "references.bib").read_text())


def page_files(folder: Path) -> dict[str, Path]:
    """The file of every page, by its path in the folder without the suffix."""
    files = sorted([*folder.rglob("*.ipynb"), *folder.rglob("*.md")])
    names = {file: file.relative_to(folder).with_suffix("").as_posix() for file in files}
    return {name: file for file, name in names.items() if ".ipynb_checkpoints" not in name}


NAMES = list(page_files(ROOT / "chapters"))


@pytest.fixture(scope="module")
def found() -> list[str]:
    return problems(read_book(ROOT / "chapters"))


@pytest.mark.parametrize("page", NAMES)
def test_a_page_keeps_the_rules(page: str, found: list[str]) -> None:
    assert [problem for problem in found if problem.startswith(f"{page}: ")] == []


# --- The rules themselves: a good book has no problem, and each way to spoil it is found.

GOOD = {
    "text": r"""(one)=
# Title

## First

A {term}`head <head>` of **heads** reads $Q_h K_h^\top$ with weight 0.73, or $\tfrac12 d_k$ of them.

```{math}
:label: eq-one
\hat x = \operatorname{softmax}(X W_Q)
```

{eq}`eq-one` is {numref}`fig-one` of {ref}`one` in {doc}`one`.
It costs 1.5 million or $1.5\cdot 10^{6}$, 12.5 %, in version 2.13.

- {cite:t}`ba16` measured 0.99, we `0.98`.
""",
    "code": "assert x > 0.7\nassert share == 0.125",
    "output": "0.7314\n1,500,000\n",
    "caption": "A curve {eq}`eq-one`.",
    "more": """## Second

```{exercise}
:label: ex-one

Show that $W_Q = 0$ {cite:p}`kneser95`.
```

````{solution-start} ex-one
````
""",
    "notation": r"""# Notation

| symbol | meaning | Chinese |
|---|---|---|
| $X$, $x$ | stream; one row | 流 |
| $d_k$ | width | 宽 |
| $W_Q$, $Q$, $K$ | maps | 投影 |

| symbol | chapter | meaning | Chinese |
|---|---|---|---|
| $h$ | {doc}`one` | a head | 头 |
""",
    "glossary": ":::{glossary}\nhead\n  头. One of several.\n:::\n",
    "bib": """@misc{ba16, author = {Ba, Jimmy Lei and Kiros, Jamie Ryan}, title = {Layer},
    year = {2016}, eprint = {1607.06450}}
@inproceedings{kneser95, author = {Kneser, Reinhard}, title = {Backing-off}, year = {1995}, booktitle = {ICASSP}}""",
}


def book_of(parts: dict[str, str]) -> Book:
    figure = {"mystnb": {"figure": {"name": "fig-one", "caption": parts["caption"]}}}
    printed = [new_output("stream", text=parts["output"])]
    cells = [
        new_markdown_cell(parts["text"]),
        new_code_cell(parts["code"], outputs=printed, metadata=figure),
        new_markdown_cell(parts["more"]),
    ]
    sources = {"one": new_notebook(cells=cells), "notation": parts["notation"], "glossary": parts["glossary"]}
    return Book({name: read_page(source) for name, source in sources.items()}, parts["bib"])


def test_a_good_book_has_no_problem() -> None:
    assert problems(book_of(GOOD)) == []


def test_an_entry_of_the_glossary_may_say_itself_where_its_term_is_used() -> None:
    entry = "\n\nmask\n  掩码. A table. See {doc}`one`.\n:::\n"
    assert problems(book_of(GOOD | {"glossary": GOOD["glossary"].replace("\n:::\n", entry)})) == []


# What is changed in which part, into what, and what is found.
SPOILED: dict[str, tuple[str, str, str, str]] = {
    "a new letter": ("text", "$Q_h", "$Q_h y", "one: symbol y of"),
    "a new index": ("text", "Q_h", "Q_{hu}", "one: symbol u of"),
    "another font": ("text", "(X W_Q)", r"(\mathbf{X} W_Q)", r"one: symbol \mathbf X of"),
    "a Greek letter": ("text", r"\tfrac12", r"\eta", r"one: symbol \eta of"),
    "a symbol in an exercise": ("more", "$W_Q = 0$", "$W_Q = Z$", "one: symbol Z of"),
    "a symbol in a caption": ("caption", "A curve", "A curve $v$", "one: symbol v of"),
    "another subscript": ("text", "d_k", "d_{ff}", "one: symbol d of"),
    "a symbol of another chapter": ("notation", "{doc}`one`", "{doc}`glossary`", "one: symbol h of"),
    "an unused symbol": ("notation", "$d_k$", "$d_k$, $d_v$", "notation: d_v: no chapter uses it"),
    "an unused local symbol": ("notation", "$h$", "$h$, $u$", "notation: u: one does not use it"),
    "a symbol twice": (
        "notation",
        "$W_Q$, $Q$",
        "$W_Q$, $Q$, $X$",
        "notation: $W_Q$, $Q$, $X$, $K$ stands there twice",
    ),
    "no Chinese symbol": ("notation", "宽", "width", "notation: $d_k$ has no Chinese name"),
    "an unknown bold term": ("text", "**heads**", "**tails**", "one: bold 'tails' is not a glossary term"),
    "an unknown term": ("text", "<head>", "<tail>", "one: term 'tail' is not in the glossary"),
    "an unused term": (
        "glossary",
        "\n:::\n",
        "\n\nmask\n  掩码. A table.\n:::\n",
        "glossary: mask: no chapter uses it",
    ),
    "terms out of order": (
        "glossary",
        "head\n",
        "queue\n  列. A row.\n\nhead\n",
        "glossary: queue is out of alphabetical",
    ),
    "a term twice": ("glossary", "\n:::\n", "\n\nHead\n  头. Again.\n:::\n", "glossary: head is defined 2 times"),
    "no Chinese term": ("glossary", "头", "-", "glossary: head has no Chinese name"),
    "an unknown key": ("text", "`ba16`", "`ba16,ba17`", "one: ba17 is not in references.bib"),
    "an uncited paper": ("more", "{cite:p}`kneser95`", "", "references: kneser95: no chapter cites it"),
    "authors left out": ("bib", "Kiros, Jamie Ryan", "others", "references: ba16: authors are left out"),
    "no author": ("bib", "author = {Kneser, Reinhard}, ", "", "references: kneser95: no author"),
    "no title": ("bib", "title = {Layer},", "", "references: ba16: no title"),
    "no year": ("bib", ", year = {1995}", "", "references: kneser95: no year"),
    "no identifier": ("bib", "eprint", "note", "references: ba16: none of"),
    "a dead reference": ("text", "{ref}`one`", "{ref}`two`", "one: ref 'two' leads nowhere"),
    "a dead equation": ("text", "{eq}`eq-one`", "{eq}`eq-two`", "one: eq 'eq-two' leads nowhere"),
    "a dead equation in a caption": ("caption", "eq-one", "eq-two", "one: eq 'eq-two' leads nowhere"),
    "a dead figure": ("text", "{numref}`fig-one`", "{numref}`x <fig-two>`", "one: numref 'fig-two' leads nowhere"),
    "a dead page": ("text", "{doc}`one`", "{doc}`two`", "one: doc 'two' leads nowhere"),
    "a solution without exercise": (
        "more",
        "solution-start} ex-one",
        "solution-start} ex-two",
        "one: solution 'ex-two'",
    ),
    "a label twice": ("more", ":label: ex-one", ":label: eq-one", "one: label eq-one is set 2 times"),
    "another number": ("text", "0.73", "0.74", "one: section 'First': no code cell has 0.74"),
    "too many digits": ("output", "0.7314", "0.7", "one: section 'First': no code cell has 0.73"),
    "a number of another section": ("more", "````{", "0.73\n\n````{", "one: section 'Second': no code cell has 0.73"),
    "a wrong percentage": ("text", "12.5 %", "13.5 %", "one: section 'First': no code cell has 13.5"),
    "a wrong power": ("text", "10^{6}", "10^{7}", r"one: section 'First': no code cell has 1.5\cdot 10^{7"),
    "a wrong unit": ("text", "1.5 million", "1.5 billion", "one: section 'First': no code cell has 1.5"),
    "a number in a formula": ("text", r"\hat x", r"0.31 \hat x", "one: section 'First': no code cell has 0.31"),
    "a number in a caption": ("caption", "A curve", "A curve at 0.31", "one: section 'First': no code cell has 0.31"),
    "a number without its paper": ("text", "{cite:t}`ba16`", "They", "one: section 'First': no code cell has 0.99"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_book_is_found(name: str) -> None:
    part, old, new, complaint = SPOILED[name]
    assert GOOD[part].count(old) >= 1
    found = problems(book_of(GOOD | {part: GOOD[part].replace(old, new)}))
    assert any(problem.startswith(complaint) for problem in found), found


@pytest.mark.parametrize(
    ("latex", "names"),
    [
        (r"d_k = d_{ff}", "d_k d_ff"),
        (r"\mathcal{L}_{\text{CE}}", r"\mathcal L_CE"),
        (r"\sum_{t=1}^{T} \log p(x_t \mid x_{<t})", "t T p x_t x_<t"),
        (r"\begin{aligned} \hat A &= \tfrac12 Q^\top \\ \end{aligned}", "A Q"),
        (r"\text{bytes} = 2\,G \operatorname{tr} \mathrm{Norm}(\bar{x}_i)", "G x_i"),
    ],
)
def test_a_formula_is_read(latex: str, names: str) -> None:
    assert {symbol.compound for symbol in symbols(latex)} == set(re.split(r"(?<!mathcal) ", names))
