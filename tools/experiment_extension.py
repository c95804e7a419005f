"""The records of `recipes/results` in the text: a role that prints what was measured, and a page with all of it.

    {exp}`race`                                8 seeds, as a link to the record's section of that page
    {exp}`race | transformer, pytorch | test`  4.70 (4.67 to 4.73): the mean over the seeds, the least and the greatest
    {exp}`race ; transformer, pytorch ; test`  the same, inside a table, where a bar would end the cell

The page is `chapters/experiments.md`; where it says {{ experiments }}, a section for each record is put.
"""

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

if TYPE_CHECKING:
    from transformer_lib.runs.records import Record

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "recipes" / "results"
PAGE = "chapters/experiments"
BESIDE = 4  # measures side by side, as many as fit on paper
WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("exp", Measured())
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Measured(SphinxRole):
    """What an experiment found, linked to its record."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            name, written = said(self.text)
        except (ValueError, OSError) as error:
            problem = self.inliner.reporter.error(f"exp: {error}", line=self.lineno)
            return [nodes.problematic(self.rawtext, self.rawtext)], [problem]
        link = addnodes.pending_xref(
            "",
            nodes.inline("", written),
            refdomain="std",
            reftype="ref",
            reftarget=label(name),
            refdoc=self.env.docname,
            refexplicit=True,
            refwarn=True,
        )
        return [link], []


def said(text: str) -> tuple[str, str]:
    """The name of the experiment, and what the role prints."""
    name, *place = (part.strip() for part in re.split("[|;]", text))
    record = read(RESULTS / f"{name}.json")
    if not place:
        counts = {len(record.seeds(arm)) for arm in record.arms}
        count = min(counts)
        return name, f"{WORDS.get(count, count)} seeds"
    if len(place) != 2:
        raise ValueError(f"must be NAME or NAME | ARM | MEASURE, got {text!r}")
    return name, str(record.spread(*place))


def read(path: Path) -> "Record":
    """A record; the library, which needs PyTorch, is asked only for a page that quotes one."""
    from transformer_lib.runs.records import Record

    return Record(path)


def label(name: str) -> str:
    return f"exp-{name.replace('_', '-')}"


def records() -> "dict[str, Record]":
    """The records of experiments by their names, without those that are not whole yet; other files are recipes'."""
    files = [path for path in sorted(RESULTS.glob("*.json")) if '"experiment"' in path.read_text(encoding="utf-8")]
    found = {path.stem: read(path) for path in files}
    return {name: record for name, record in found.items() if all(map(record.runs, record.arms))}


def fill_in(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == PAGE:
        for path in RESULTS.glob("*.json"):
            app.env.note_dependency(str(path))
        source[0] = source[0].replace("{{ experiments }}", "\n\n".join(map(section, records().values())))


def section(record: "Record") -> str:
    """A record as a section in MyST: its question, a row for each arm, and where the numbers come from."""
    measures = [name for name in record.measures(record.arms[0]) if _is_number(record, name)]
    tuned = any(record.rate(arm) is not None for arm in record.arms)
    tables = [_table(record, measures[i : i + BESIDE], tuned) for i in range(0, len(measures), BESIDE)]
    made = [record.content["arms"][arm]["made_from"] for arm in record.arms]
    commits = ", ".join(sorted({f"`{part['commit'][:7]}`" for part in made}))
    seeds = ", ".join(map(str, record.seeds(record.arms[0])))
    minutes = record.content["seconds"] / 60
    spent = "less than a minute" if minutes < 1 else f"{minutes:.0f} minutes"
    return "\n\n".join(
        [
            f"({label(record.name)})=",
            f"## {record.name.replace('_', ' ').capitalize()}",
            described(record),
            *tables,
            f"Mean over the seeds {seeds}, in brackets the least and the greatest. `make experiments "
            f"EXP={record.name}` makes the runs again; they took {spent} of one core "
            f"({made[0]['machine']['processor']}, torch {made[0]['versions']['torch']}, commit {commits}).",
        ]
    )


def described(record: "Record") -> str:
    """The question of an experiment, and how it was asked: the docstring of its file."""
    program = ROOT / "recipes" / "experiments" / f"{record.name}.py"
    question, _, how = (ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or "").partition("\n\n")
    return f"**{question}** {how}"


def _is_number(record: "Record", measure: str) -> bool:
    return not any(isinstance(value, list) for value in record.each(record.arms[0], measure))


def _table(record: "Record", measures: list[str], tuned: bool) -> str:
    headers = ["arm", *(["rate"] if tuned else []), *measures]
    rows = [_row(record, arm, measures, tuned) for arm in record.arms]
    return "\n".join([_line(headers), _line(["---", *["---:"] * (len(headers) - 1)]), *map(_line, rows)])


def _row(record: "Record", arm: str, measures: list[str], tuned: bool) -> list[str]:
    rate = record.rate(arm)
    found: list[Any] = [arm] + ([f"{rate:g}" if rate is not None else ""] if tuned else [])
    for measure in measures:
        try:
            found.append(str(record.spread(arm, measure)))
        except ValueError:
            found.append("not finite")
    return found


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
