"""The records of experiments: whole, chosen inside their grids, and shown in the book as they stand."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from transformer_lib.runs.experiment import load_experiment
from transformer_lib.runs.records import Record

ROOT = Path(__file__).parents[2]
# Their records are still to be made, and no chapter quotes them yet.
WAITING: tuple[str, ...] = ()
PROGRAMS = sorted(path for path in (ROOT / "recipes" / "experiments").glob("*.py") if path.stem not in WAITING)
RESULTS = ROOT / "recipes" / "results"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("experiment_tool", ROOT / "tools" / "experiment_extension.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_every_experiment_has_its_whole_record(path: Path) -> None:
    """All arms under all seeds, from code as it was committed, each at a rate with other rates on both sides of it."""
    experiment, question = load_experiment(path)
    record = Record(RESULTS / f"{path.stem}.json")
    assert record.question == question
    assert record.arms == tuple(experiment.arms)
    for arm in record.arms:
        assert record.seeds(arm) == tuple(experiment.seeds), arm
        assert record.content["arms"][arm]["settings"] == json.loads(json.dumps(dict(experiment.arms[arm]))), arm
        assert record.content["arms"][arm]["made_from"]["clean"], arm
        if experiment.rates:
            tried = list(record.tried(arm))
            assert tried[0] < record.rate(arm) < tried[-1], arm


def test_every_record_has_its_experiment(tool: ModuleType) -> None:
    assert sorted(tool.records()) == [path.stem for path in PROGRAMS]


def test_the_role_prints_the_record(tool: ModuleType) -> None:
    record = Record(RESULTS / "race.json")
    name, written = tool.said("race | transformer, pytorch | test")
    assert (name, written) == ("race", str(record.spread("transformer, pytorch", "test")))
    assert tool.said("race") == ("race", "eight seeds")
    for wrong in ("race | transformer", "race | nobody | test", "race | transformer, pytorch | nothing"):
        with pytest.raises(ValueError, match=r"must be (NAME|among)"):
            tool.said(wrong)
    with pytest.raises(FileNotFoundError):
        tool.said("no_such_experiment")


def test_a_page_links_what_it_quotes(tmp_path: Path) -> None:
    """In a book of two pages: the number, its link, and the warning that a wrong name gives."""
    chapters = tmp_path / "chapters"
    chapters.mkdir()
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT / 'tools')!r}, {str(ROOT)!r}]\n"
        "extensions = ['myst_parser', 'experiment_extension']\n"
    )
    (tmp_path / "index.md").write_text(
        "# Book\n\n```{toctree}\nchapters/experiments\n```\n\nIt had {exp}`race | transformer, pytorch | test` nats.\n"
    )
    (chapters / "experiments.md").write_text("# Experiments\n\n{{ experiments }}\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    written = str(Record(RESULTS / "race.json").spread("transformer, pytorch", "test"))
    assert re.search(rf'href="chapters/experiments.html#exp-race">\s*<span[^>]*>{re.escape(written)}</span></a>', page)
    assert written in (tmp_path / "out" / "chapters" / "experiments.html").read_text()
    index = (tmp_path / "index.md").read_text()
    (tmp_path / "index.md").write_text(index.replace("transformer, pytorch", "nobody"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "exp: arm must be among" in done.stderr
