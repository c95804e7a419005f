"""The form of a chapter: exercises with stars and a hint, and code that prose interrupts.

Visible code is what a reader sees without unfolding anything: not the cells tagged `hide-input` and the like, and not
those of a solution, which is folded. Lines are counted without empty ones.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from statistics import median

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.book.test_claims import CHAPTERS, ROOT

LEAST_EXERCISES, MOST_VISIBLE, LONGEST_RUN = 5, 380, 40

NOTEBOOKS = [name for name, path in CHAPTERS.items() if path.suffix == ".ipynb"]
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
EXERCISE = re.compile(r"^(`{3,})\{exercise(?:-start)?\}([^\n]*)\n(.*?)^\1`*\s*$", re.MULTILINE | re.DOTALL)
HINT = re.compile(r"\s*(`{3,})\{admonition\} Hint\n:class: dropdown hint\n\n?(.*?)^\1`*\s*$", re.MULTILINE | re.DOTALL)
SOLUTION = re.compile(r"\{solution-(start|end)\}")


def problems(notebook: NotebookNode) -> list[str]:
    """What a chapter lacks in form, a line each."""
    visible, longest, where = counts(notebook)
    found = _about_exercises(notebook)
    if visible > MOST_VISIBLE:
        found.append(
            f"{visible} visible lines of code, at most {MOST_VISIBLE}: tag what only measures or plots hide-input"
        )
    if longest > LONGEST_RUN:
        found.append(f"{longest} visible lines without a word before {where!r}, at most {LONGEST_RUN}")
    return found


def _about_exercises(notebook: NotebookNode) -> list[str]:
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    exercises, found = list(EXERCISE.finditer(text)), []
    if len(exercises) < LEAST_EXERCISES:
        found.append(f"{len(exercises)} exercises, at least {LEAST_EXERCISES}")
    for exercise in exercises:
        label = re.search(r":label:\s*(\S+)", exercise[3])
        name = label[1] if label else exercise[3].strip()[:40]
        if not re.fullmatch(r"\s*★{1,3}", exercise[2]):
            found.append(f"{name}: one to three stars must stand behind {{exercise}}, got {exercise[2].strip()!r}")
        hint = HINT.match(text, exercise.end())
        if not (hint and hint[2].strip()):
            found.append(f"{name}: no hint follows, as ```{{admonition}} Hint with `:class: dropdown hint`")
    return found


def counts(notebook: NotebookNode) -> tuple[int, int, str]:
    """Visible lines of code, the most of them in a row without prose, and the last line of that row."""
    visible = row = longest = 0
    folded, where = False, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            row = 0
            for mark in SOLUTION.finditer(cell.source):
                folded = mark[1] == "start"
        elif not folded and not HIDDEN & set(cell.metadata.get("tags", [])):
            lines = [line for line in cell.source.splitlines() if line.strip()]
            visible, row = visible + len(lines), row + len(lines)
            if row > longest:
                longest, where = row, lines[-1].strip()
    return visible, longest, where


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_chapter_keeps_its_form(name: str) -> None:
    found = problems(nbformat.read(CHAPTERS[name], as_version=4))
    assert not found, "\n".join(["", *found])


# --- What the first page promises.


def test_the_intro_says_how_long_chapters_take() -> None:
    intro = " ".join((ROOT / "chapters" / "intro.md").read_text(encoding="utf-8").split())
    seconds = json.loads((ROOT / "chapters" / "times.json").read_text(encoding="utf-8")).values()
    assert "Most chapters need less than a minute of processor time, and none more than two" in intro
    assert median(seconds) < 60 and max(seconds) <= 120


def test_the_intro_says_which_recipes_ran_once() -> None:
    intro = " ".join((ROOT / "chapters" / "intro.md").read_text(encoding="utf-8").split())
    told = re.search(r"recipes on real data, which take longer, (.+?) w(?:as|ere) run with three seeds(.+?)\.", intro)
    assert told is not None
    stems = [path.stem for path in (ROOT / "recipes" / "results").glob("*-seed*.json")]
    # Not on real data; shortcuts, which no seed changes; what was measured of models that stand; the pages' own model.
    others = ("authored-", "baselines-", "calibration-", "sureness-", "shakespeare-small-")
    stems = [stem for stem in stems if not stem.startswith(others)]
    runs = Counter(re.split(r"-", stem)[0] for stem in stems)
    ways = Counter({re.sub(r"-seed\d+", "", stem) for stem in stems})
    several = {name for name, count in runs.items() if count >= 3 * sum(way.startswith(name) for way in ways)}
    for name in runs:
        assert (name in told[1].lower(), name in told[2].lower()) == (name in several, name not in several), name


# --- The rules themselves: a good chapter has no problem, and each way to spoil it is found.

EXERCISES = """```{exercise} ★★
:label: ex-NUMBER

Show it.
```

```{admonition} Hint
:class: dropdown hint

Look.
```

````{solution-start} ex-NUMBER
:class: dropdown
````
"""


def chapter() -> NotebookNode:
    cells = [new_markdown_cell("# Title"), new_code_cell("\n\n".join(["x = 1"] * 40)), new_markdown_cell("Words.")]
    cells.append(new_code_cell("y = 2\n" * 400, metadata={"tags": ["hide-input"]}))
    for number in range(5):
        cells.append(new_markdown_cell(EXERCISES.replace("NUMBER", str(number))))
        cells.append(new_code_cell("z = 3\n" * 100))
        cells.append(new_markdown_cell("```{solution-end}\n```"))
    return new_notebook(cells=cells)


def test_a_good_chapter_has_no_problem() -> None:
    assert problems(chapter()) == []
    assert counts(chapter()) == (40, 40, "x = 1")


def _more_code(notebook: NotebookNode) -> None:
    for _ in range(9):
        notebook.cells[2:2] = [new_markdown_cell("Words."), new_code_cell("x = 1\n" * 40)]


def _nothing_hidden(notebook: NotebookNode) -> None:
    notebook.cells[3].metadata.tags = []


def _one_line_more(notebook: NotebookNode) -> None:
    notebook.cells.insert(2, new_code_cell("last = 1"))


def _replaced(old: str, new: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        assert old in notebook.cells[4].source
        notebook.cells[4].source = notebook.cells[4].source.replace(old, new)

    return change


SPOILED: dict[str, tuple[Callable[[NotebookNode], None], str]] = {
    "too much code": (_more_code, "400 visible lines"),
    "measuring in sight": (_nothing_hidden, "440 visible lines"),
    "a long row": (_one_line_more, "41 visible lines without a word before 'last = 1'"),
    "an exercise too few": (_replaced("{exercise}", "{note}"), "4 exercises"),
    "no stars": (_replaced(" ★★", ""), "ex-0: one to three stars"),
    "too many stars": (_replaced("★★", "★★★★"), "ex-0: one to three stars"),
    "no hint": (_replaced("{admonition} Hint", "{admonition} Note"), "ex-0: no hint"),
    "a hint of another form": (_replaced("dropdown hint", "tip"), "ex-0: no hint"),
    "an empty hint": (_replaced("Look.", ""), "ex-0: no hint"),
    "a hint after the solution": (_replaced("Show it.\n```\n", "Show it.\n```\n\nMore.\n"), "ex-0: no hint"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_chapter_is_found(name: str) -> None:
    spoil, complaint = SPOILED[name]
    notebook = chapter()
    spoil(notebook)
    assert any(complaint in problem for problem in problems(notebook)), problems(notebook)
