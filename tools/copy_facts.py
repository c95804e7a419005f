"""The facts of this copy: commit and dates from git, citation from CITATION.cff, the times and levels of chapters."""

import datetime
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
WORDS_A_MINUTE, LINES_A_MINUTE = 200, 20
# Seconds of processor time up to which these words hold.
STEPS = {8: "in a few seconds", 20: "in a quarter of a minute", 40: "in half a minute", 75: "in about a minute"}


def git(*arguments: str) -> str | None:
    """What git answers about this folder, or None where the folder is no repository."""
    try:
        run = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


@cache
def is_repository() -> bool:
    top = git("rev-parse", "--show-toplevel")
    return top is not None and Path(top).resolve() == ROOT.resolve()


def made_from() -> str:
    """The commit and its date, as a sentence."""
    written = git("log", "-1", "--format=%h %cs") if is_repository() else None
    if not written:
        return "It was built outside a git repository, so its commit and its date are unknown."
    commit, date = written.split()
    changed = git("status", "--porcelain", "--untracked-files=no")
    also = ", with changes that are not committed" if changed else ""
    return f"It was built from commit `{commit}` of {spelled(date)}{also}."


@cache
def last_changes() -> dict[str, str]:
    """The date of the last commit that changed each file of `chapters`; nothing where git has not the whole history."""
    if not is_repository() or git("rev-parse", "--is-shallow-repository") != "false":
        return {}
    dates: dict[str, str] = {}
    date = ""
    for line in (git("log", "--format=@%cs", "--name-only", "--", "chapters") or "").splitlines():
        if line.startswith("@"):
            date = line[1:]
        elif line:
            dates.setdefault(line, date)
    return dates


def spelled(date: str) -> str:
    day = datetime.date.fromisoformat(date)
    return f"{day.day} {day:%B %Y}"


def bibtex(root: Path = ROOT) -> str:
    """The citation file as an entry of BibTeX."""
    cited: dict[str, Any] = yaml.load((root / "CITATION.cff").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    fields = {
        "title": f"{{{cited['title']}}}",
        "author": " and ".join(_author(author) for author in cited["authors"]),
        "year": cited["date-released"][:4],
        "edition": f"Version {cited['version']}",
    } | ({"url": cited["url"]} if "url" in cited else {})
    lines = [f"  {name:<7} = {{{value}}}," for name, value in fields.items()]
    key = re.sub(r"\W", "", cited["title"].title()) + fields["year"]
    return "\n".join([f"@book{{{key},", *lines, "}"])


def _author(author: dict[str, str]) -> str:
    if "name" in author:  # a group is one name, which BibTeX must not take apart
        return f"{{{author['name']}}}"
    return f"{author['family-names']}, {author['given-names']}"


def run_time(seconds: float) -> str:
    """Roughly how long a chapter runs, since the reader's machine is another one."""
    return next(
        (words for limit, words in STEPS.items() if seconds <= limit), f"in {max(2, round(seconds / 60))} minutes"
    )


def reading_minutes(notebook: Path) -> int:
    """Minutes for the prose and the code in sight up to the exercises, in steps of five."""
    words = lines = 0
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            hidden = {"hide-input", "hide-cell", "remove-input", "remove-cell"} & set(cell["metadata"].get("tags", []))
            lines += 0 if hidden else sum(1 for line in source.splitlines() if line.strip())
            continue
        text, exercises, _ = source.partition("\n## Exercises")
        if exercises or source.startswith("## Exercises"):
            words += _count(text) if exercises else 0
            break
        words += _count(source)
    return max(5, 5 * round((words / WORDS_A_MINUTE + lines / LINES_A_MINUTE) / 5))


def _count(markdown: str) -> int:
    """Words of prose: a formula is one word, and lines that only rule a directive are none."""
    text = re.sub(r"^\s*(?:`{3,}|:{3,}|:[\w-]+:|\([\w-]+\)=).*$", "", markdown, flags=re.MULTILINE)
    text = re.sub(r"\$\$?[^$]+\$\$?", " formula ", text)
    return len(re.findall(r"\b[^\W\d_]\S*", text))


@cache
def levels() -> dict[str, str]:
    """How hard each chapter is, in stars, by the table of the page on ways through the book."""
    page = ROOT / "chapters" / "ways.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return {f"chapters/{name}": stars for name, stars in re.findall(r"^\| \{doc\}`([\w/]+)` \| (★+) \|", text, re.M)}


@cache
def seconds() -> dict[str, int]:
    """Processor time of each chapter, as `make times` has measured it."""
    file = ROOT / "chapters" / "times.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
