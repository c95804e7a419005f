"""A comparison with a number has a ground: a record, a paper, an equation, or a reason that stands in `claims.toml`.

The chapters of Foundations and Applications are read as text, without building them. A *claim* is a paragraph, list
item or caption that has a word of comparison or cause (better, needs, because, ...) and a number (a decimal, a
percentage, a multiple, a fraction). It is grounded by `{exp}`, `{eq}` or `{prf:ref}` anywhere in it; a citation grounds
its sentence. Any other claim is an exception, which says why it may stand. Whoever changes the beginning of such a
paragraph changes it in `claims.toml` too, and so thinks about its ground again.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.book.test_references import NAMED, ROOT, read_page

EXCEPTIONS = Path(__file__).with_name("claims.toml")
PARTS = ("Foundations", "Applications")
WHY = {
    "exact": "algebra, a proof, or a property of every such program; no training",
    "counted": "counted or computed without training, and asserted by a cell; no seed changes it",
    "by hand": "arithmetic on the page",
    "cited": "the paper that the paragraph names says all of it",
    "record": "the experiment named by `record`, which a cell of the chapter reads",
    "seeds": "at least three seeds in the cell named by `cell`",
    "timed": "one machine's time, with the table or figure of the cell named by `cell`",
    "advice": "a rule or a question, not a result",
    "word": "the word or the number means something else here",
    "open": "has no ground yet: to be measured, or taken back",
}
WITH_CELL = ("seeds", "timed")
MOST_OPEN = 0  # lower it with every claim that gets its ground

COMPARES = re.compile(
    r"\b(?:better|worse|best|worst|beat(?:s|en)?|win(?:s|ning)?|won|los(?:es?|t|ing)|fail(?:s|ed)?|need(?:s|ed)?"
    r"|because|since|faster|slower|(?:more|less) often|help(?:s|ed)?|hurts?|harms?|improve(?:s|d)?|outperforms?|ahead"
    r"|behind|reasons?|causes?|due to|thanks to|therefore|explains?|worth|matters?|enough|suffices?|gain(?:s|ed)?"
    r"|costs?|save(?:s|d)?|vital|fatal|\w+er than|more [\w-]+ than|more than|less than|fewer|rises?|falls?|drops?"
    r"|in vain|works?|learns?|stuck|ties?|level with|no difference)\b",
    re.IGNORECASE,
)
_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty|fifty|sixty|seventy|eighty"
    "|ninety|hundred|thousand|several|many"
)
NUMBER = re.compile(
    rf"(?<![\w.])\d[\d,]*\.\d+(?!\.?\d)|\d\s*%|per ?cent\b|\btwice\b|\b\w+fold\b|\bhalf\b|\bdoubles?\b|\bhalves\b"
    rf"|\b(?:\d[\d,.]*|{_WORDS})(?:\s+(?:to|or|and)\s+(?:\d+|{_WORDS}))?\s+times\b"
    r"|\b(?:a|one|two|three)\s+(?:third|quarter|fifth|tenth|hundredth|thousandth)s?\b"
    rf"|\b(?:\d+|{_WORDS})\s+of\s+(?:the\s+)?(?:\d+|{_WORDS})\b",
    re.IGNORECASE,
)
SENTENCE = re.compile(r"(?<=[.!?:;)*])\s+(?=[A-Z*`$({\[])")
GROUNDS = ("exp", "eq", "prf:ref")


@dataclass(frozen=True)
class Claim:
    """A paragraph without a ground: where it stands, what it says, and what makes it a claim."""

    section: str
    text: str
    word: str
    number: str


def claims(source: str | NotebookNode) -> list[Claim]:
    """The claims of a page that name no ground."""
    return [
        Claim(block.section, " ".join(block.text.split()), *made)
        for block in read_page(source).blocks
        if block.kind in ("paragraph", "caption") and (made := _claimed(" ".join(block.text.split())))
    ]


def _claimed(text: str) -> tuple[str, str] | None:
    """The word and the number that make a claim of a paragraph; None if there is a ground, or no claim."""
    if any(f"{{{role}}}`" in text for role in GROUNDS):
        return None
    bare = " ".join(part for part in SENTENCE.split(text) if "{cite" not in part)
    bare = re.sub(r"\{[\w:]+\}`[^`]+`|\[[^\]]*\]\([^)]*\)|(?<!`)`[^`]+`", " ", bare)
    numbers = [match[0] for match in NUMBER.finditer(bare) if not NAMED.search(bare[: match.start()])]
    word = COMPARES.search(re.sub(r"\$[^$]+\$", " ", bare))
    return (word[0], numbers[0]) if word and numbers else None


def problems(page: str, source: str | NotebookNode, exceptions: list[dict[str, str]]) -> list[str]:
    """What is wrong with the claims of a page and with the exceptions that are made for them, a line each."""
    found, allowed = claims(source), [one.get("begins", "") for one in exceptions]
    cells = {} if isinstance(source, str) else {cell.get("id", ""): cell for cell in source.cells}
    complaints = []
    for claim in found:
        if not any(start and claim.text.startswith(start) for start in allowed):
            complaints.append(
                f"{page}, section {claim.section!r}: {claim.text[:90]!r}... compares ({claim.word!r}, {claim.number!r})"
                " and names no ground. Cite its record by {exp}`NAME | ARM | MEASURE`, a paper, an equation or a proof;"
                f" or take it back; or say in {EXCEPTIONS.name} why it may stand: {', '.join(WHY)}."
            )
    for one in exceptions:
        complaints += [
            f"{page}: exception {one.get('begins', '')[:60]!r} {told}" for told in _faults(one, found, cells)
        ]
    return complaints


def _faults(one: dict[str, str], found: list[Claim], cells: dict[str, Any]) -> Iterator[str]:
    start, why = one.get("begins", ""), one.get("why", "")
    if len(start) < 12:
        yield "must quote at least 12 letters of its paragraph"
    if why not in WHY:
        yield f"must have why among {', '.join(WHY)}"
    fits = sum(claim.text.startswith(start) for claim in found)
    if fits != 1:
        yield "is needed no more: no claim without a ground begins so" if not fits else f"fits {fits} claims"
    cell = cells.get(one.get("cell", ""))
    if why in WITH_CELL and (cell is None or cell.cell_type != "code"):
        yield f"must name a code cell by its id, got {one.get('cell', '')!r}"
    elif why == "record" and not any(f'experiment("{one.get("record")}")' in cell.source for cell in cells.values()):
        yield f"names the record {one.get('record', '')!r}, which no cell of the chapter reads"
    elif why == "cited" and not any(claim.text.startswith(start) and "{cite" in claim.text for claim in found):
        yield "has no citation in its paragraph"
    elif why == "seeds" and not ("seed" in cell.source or "range(3)" in cell.source):
        yield f"names the cell {one['cell']!r}, which runs no seeds"


def chapters() -> dict[str, Path]:
    """The pages of Foundations and Applications by their names, as the table of contents has them."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    named = [one["file"] for part in toc["parts"] if part["caption"] in PARTS for one in part["chapters"]]
    return {
        name.removeprefix("chapters/"): next(
            path for end in (".ipynb", ".md") if (path := ROOT / f"{name}{end}").exists()
        )
        for name in named
    }


def read(path: Path) -> str | NotebookNode:
    return nbformat.read(path, as_version=4) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")


CHAPTERS = chapters()
ALLOWED: dict[str, list[dict[str, str]]] = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_comparison_with_a_number_has_a_ground(page: str) -> None:
    found = problems(page, read(CHAPTERS[page]), ALLOWED.get(page, []))
    assert not found, "\n".join(["", *found])


def test_exceptions_are_made_for_chapters() -> None:
    assert set(ALLOWED) <= set(CHAPTERS)


def test_the_debt_does_not_grow() -> None:
    owed = [f"{page}: {one['begins']}" for page, ones in ALLOWED.items() for one in ones if one["why"] == "open"]
    assert len(owed) <= MOST_OPEN, owed


# --- The rule itself: what is a claim, what grounds it, and that a planted one is found.

PLANTED = "Layers with a residual connection learn five times as fast as layers without one."


def page_with(text: str) -> NotebookNode:
    cells = [new_markdown_cell(f"# Title\n\n## A section\n\nHarmless words.\n\n{text}")]
    return new_notebook(cells=[*cells, new_code_cell("for seed in range(3):\n    pass", id="three-seeds")])


def test_a_planted_claim_is_found() -> None:
    (complaint,) = problems("planted", page_with(PLANTED), [])
    assert complaint.startswith("planted, section 'A section': 'Layers with a residual")
    for told in ("five times", "{exp}`NAME | ARM | MEASURE`", "claims.toml", "counted"):
        assert told in complaint


@pytest.mark.parametrize(
    "text",
    [
        "The loss is better, 2.3 against 2.5.",
        "It fails in 40 % of the texts, and nobody knows why.",
        "- without the norm it learns nothing in seven of eight runs",
        "The gradient arrives ten times as strong because of the norm.",
        "It needs $2.5$ steps.",
        "It is faster {cite:p}`xiong20`. Here it takes half of the time because the rows are short.",
    ],
)
def test_a_claim_is_seen(text: str) -> None:
    assert len(claims(page_with(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "The loss is 2.3.",
        "The second is better.",
        "It is better, {exp}`race | transformer, pytorch | test` against 4.7.",
        "It is better by a factor of 2.5 {cite:p}`xiong20`.",
        "By {eq}`eq-one` it costs 2.5 more.",
        "By {prf:ref}`thm-one` it needs twice as many.",
        "It needs Python 3.11.",
        "## Better by 2.5",
        "    better = 2.5",
        "It needs `rate=0.5`.",
    ],
)
def test_what_is_grounded_or_claims_nothing_is_left_alone(text: str) -> None:
    assert claims(page_with(text)) == []


def test_an_exception_is_judged() -> None:
    good = {"begins": PLANTED[:30], "why": "seeds", "cell": "three-seeds"}
    page = page_with(PLANTED)
    assert problems("planted", page, [good]) == []
    for wrong, told in (
        ({"why": "obvious"}, "must have why among"),
        ({"cell": "nowhere"}, "must name a code cell"),
        ({"why": "record", "record": "race"}, "which no cell of the chapter reads"),
        ({"why": "cited"}, "has no citation"),
        ({"begins": "Layers"}, "must quote at least 12"),
        ({"begins": "Layers with a skip connection"}, "is needed no more"),
    ):
        assert any(told in complaint for complaint in problems("planted", page, [good | wrong])), wrong
    mended = page_with("It is not known whether residual connections help.")
    assert "is needed no more" in problems("planted", mended, [good])[0]
    seedless = page_with(PLANTED)
    seedless.cells[1].source = "once()"
    assert "runs no seeds" in problems("planted", seedless, [good])[0]
    twice = page_with(f"{PLANTED}\n\n{PLANTED}")
    assert "fits 2 claims" in problems("planted", twice, [good])[0]
