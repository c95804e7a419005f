"""Every chapter is stored executed, clean, readable: nbval re-runs the cells, this closes what nbval lets through."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(file for file in (ROOT / "chapters").rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts)
MOST_LINES = 25
MOST_LINES_WHOLE = 40  # of a cell tagged `whole`: a thing that is to be seen on one page
MOST_IMAGE_BYTES = 200_000
NOT_IN_OUTPUT = {
    "an absolute path": re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|usr|opt|var|mnt|private)/|\b[A-Z]:\\"),
    "the home folder": re.compile(re.escape(str(Path.home())) + r"\b"),
    "cuda": re.compile("cuda", re.IGNORECASE),
    # On a phone, where 44 signs stand in a line, the word would begin a new one and leave that of the spaces blank.
    "a long word behind spaces": re.compile(r"^ +[^\s\u2e80-\uffff]{40,}", re.MULTILINE),
    "nan or inf": re.compile(r"(?<![\w])[-+]?(?:nan|inf|infinity)(?![\w])", re.IGNORECASE),
}


def exported_names() -> set[str]:
    """The public functions and classes of transformer_lib, read from its source."""
    # Without the command line's own functions, which no chapter could import instead, and without the trainings that
    # experiments share, which chapters show in full.
    files = [file for file in (ROOT / "transformer_lib").rglob("*.py") if file.parent.name not in ("cli", "runs")]
    trees = [ast.parse(file.read_text()) for file in files]
    nodes = [node for tree in trees for node in tree.body]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"}


def problems(notebook: NotebookNode, exported: set[str]) -> list[str]:
    """What is wrong with a stored notebook: one line each, empty if it may be published."""
    found, count = [], 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        count += 1
        if cell.execution_count != count:
            found.append(f"code cell {count}: execution count is {cell.execution_count}, run `make notebooks`")
        checks = (_about_errors, _about_text, _about_images, _about_source)
        found += [f"code cell {count}: {complaint}" for check in checks for complaint in check(cell)]
        names = _defined(cell) & exported
        if names and "derivation" not in _tags(cell):
            found.append(
                f"code cell {count}: redefines {', '.join(sorted(names))}, import it or tag the cell derivation"
            )
    if not count:
        found.append("no code cell")
    return found


def _about_errors(cell: NotebookNode) -> Iterator[str]:
    failed = any(output.output_type == "error" for output in cell.outputs)
    expected = "raises-exception" in _tags(cell)
    if failed and not expected:
        yield "stored error, tag it raises-exception if it is meant"
    if expected and not failed:
        yield "tagged raises-exception, but no error is stored"


def _about_text(cell: NotebookNode) -> Iterator[str]:
    text = _stored_text(cell)
    for name, pattern in NOT_IN_OUTPUT.items():
        if match := pattern.search(text):
            line = next(line for line in text.splitlines() if match.group() in line)
            yield f"{name} in its output: {line.strip()[:80]!r}"
    if any(output.get("name") == "stderr" for output in cell.outputs):
        yield "output on stderr (a warning or a progress bar)"
    ignored = "nbval-ignore-output" in _tags(cell) or "NBVAL_IGNORE_OUTPUT" in cell.source
    if ignored and re.search(r"\d", re.sub(r"<Figure.*?>", "", text)) and not _asserts(cell):
        yield "prints numbers that nothing compares: assert bounds on them"


def _about_images(cell: NotebookNode) -> Iterator[str]:
    images = [(m, d) for output in cell.outputs for m, d in output.get("data", {}).items() if m.startswith("image/")]
    if images and not str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")).strip():
        yield "image without alt text, set mystnb.image.alt in the cell's metadata"
    if len(images) > 1:
        yield "more than one image, they would share one alt text"
    for mime, data in images:
        if mime != "image/svg+xml":
            yield f"{mime} output, store SVG: use_style() of transformer_lib.viz"
        if len(data.encode()) > MOST_IMAGE_BYTES:
            yield f"image of more than {MOST_IMAGE_BYTES // 1000} kB"


def _about_source(cell: NotebookNode) -> Iterator[str]:
    most = MOST_LINES_WHOLE if "whole" in _tags(cell) else MOST_LINES
    if len(cell.source.splitlines()) > most:
        yield f"longer than {most} lines"
    if "derivation" in _tags(cell) and not _asserts(cell):
        yield "a derivation that is not proven equal to anything"
    for tag in _tags(cell) & {"nbval-skip", "skip-execution"}:
        yield f"tag {tag}, so nothing tests it"


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def _stored_text(cell: NotebookNode) -> str:
    """All text a cell printed, without fenced code: what `show` prints is the library's own source."""
    parts = []
    for output in cell.outputs:
        parts += [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
        parts += [data for mime, data in output.get("data", {}).items() if not mime.startswith("image/")]
    return re.sub(r"^(`{3,})python\n.*?^\1$", "", "\n".join(map(str, parts)), flags=re.DOTALL | re.MULTILINE)


def _tree(cell: NotebookNode) -> ast.Module:
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!"))))


def _defined(cell: NotebookNode) -> set[str]:
    return {node.name for node in _tree(cell).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _asserts(cell: NotebookNode) -> bool:
    calls = [node.func for node in ast.walk(_tree(cell)) if isinstance(node, ast.Call)]
    names = [getattr(call, "attr", getattr(call, "id", "")) for call in calls]
    return any(isinstance(node, ast.Assert) for node in ast.walk(_tree(cell))) or any("assert" in n for n in names)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_tool", ROOT / "tools" / "notebooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_no_problem(path: Path) -> None:
    assert problems(nbformat.read(path, as_version=4), exported_names()) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_normalised(path: Path, tool: ModuleType) -> None:
    stored = nbformat.read(path, as_version=4)
    normal = nbformat.read(path, as_version=4)
    tool.normalise(normal)
    assert stored == normal, "run `make notebooks`"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_begins_with_the_cell_that_fetches_the_library(path: Path, tool: ModuleType) -> None:
    stored = nbformat.read(path, as_version=4)
    assert next(cell for cell in stored.cells if cell.cell_type == "code").id == "install", "run `make launch`"
    wanted = nbformat.from_dict(stored)
    tool.put_first_cell(wanted, path.parent.relative_to(ROOT).as_posix())
    assert stored == wanted, "run `make launch`"


# The checker itself: a good notebook has no problem, and each way to spoil it is found.

SVG = new_output("display_data", data={"image/svg+xml": "<svg/>\n", "text/plain": "<Figure size 460x300 with 1 Axes>"})
ALT = {"mystnb": {"image": {"alt": "a line that rises"}}}


def good_notebook() -> NotebookNode:
    return new_notebook(
        cells=[
            new_markdown_cell("# Title"),
            new_code_cell("print(1)", execution_count=1, outputs=[new_output("stream", text="1\n")]),
            new_code_cell("plot()", execution_count=2, outputs=[SVG], metadata=ALT),
            new_code_cell("show(f)", execution_count=3, outputs=[_markdown("````python\nx = -inf  # cuda\n````")]),
        ]
    )


def _markdown(text: str) -> NotebookNode:
    return new_output("execute_result", data={"text/markdown": text}, execution_count=3)


def test_a_good_notebook_has_no_problem() -> None:
    assert problems(good_notebook(), {"Attention"}) == []


def _printed(text: str) -> Callable[[NotebookNode], object]:
    return lambda cell: cell.outputs[0].update(text=text)


def _becomes(source: str, *tags: str, **more: Any) -> Callable[[NotebookNode], object]:
    return lambda cell: cell.update(source=source, metadata=NotebookNode(tags=list(tags)), **more)


ERROR = [new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])]
SPOILED: dict[str, tuple[int, Callable[[NotebookNode], object], str]] = {
    "never run": (1, lambda cell: cell.update(execution_count=None), "execution count is None"),
    "out of order": (2, lambda cell: cell.update(execution_count=5), "execution count is 5"),
    "an error": (1, lambda cell: cell.update(outputs=ERROR), "stored error"),
    "no error": (1, _becomes("f()", "raises-exception"), "no error is stored"),
    "a path": (1, _printed("saved to /home/reader/model\n"), "an absolute path"),
    "a Windows path": (1, _printed("saved to C:\\model\n"), "an absolute path"),
    "the home folder": (1, _printed(f"in {Path.home()}\n"), "the home folder"),
    "a GPU": (1, _printed("device='cuda:0'\n"), "cuda in its output"),
    "not a number": (1, _printed("loss nan\n"), "nan or inf"),
    "infinity": (1, _printed("loss -inf\n"), "nan or inf"),
    "a path in Markdown": (3, lambda cell: cell.update(outputs=[_markdown("| /tmp/x |")]), "an absolute path"),
    "a warning": (1, lambda cell: cell.outputs[0].update(name="stderr"), "output on stderr"),
    "numbers ignored": (1, _becomes("print(1)", "nbval-ignore-output"), "nothing compares"),
    "numbers ignored by comment": (1, _becomes("# NBVAL_IGNORE_OUTPUT\nprint(1)"), "nothing compares"),
    "no alt text": (2, lambda cell: cell.update(metadata=NotebookNode()), "without alt text"),
    "two images": (2, lambda cell: cell.update(outputs=[SVG, SVG]), "more than one image"),
    "a large image": (2, lambda cell: cell.outputs[0].data.update({"image/svg+xml": "A" * 200_001}), "of more than"),
    "another format": (2, lambda cell: cell.outputs[0].data.update({"image/png": "iVBORw0KGgo="}), "store SVG"),
    "a long cell": (1, _becomes("x = 1\n" * 26), "longer than 25 lines"),
    "a long cell, even whole": (1, _becomes("x = 1\n" * 41, "whole"), "longer than 40 lines"),
    "a copy": (1, _becomes("class Attention:\n    pass"), "redefines Attention"),
    "an unproven copy": (1, _becomes("class Attention:\n    pass", "derivation"), "not proven"),
    "a skipped cell": (1, _becomes("f()", "nbval-skip"), "nothing tests it"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_notebook_is_found(name: str) -> None:
    index, spoil, complaint = SPOILED[name]
    notebook = nbformat.from_dict(good_notebook())
    spoil(notebook.cells[index])
    found = problems(notebook, {"Attention"})
    assert any(complaint in problem for problem in found), found


def test_an_assert_answers_for_an_ignored_output_and_for_a_derivation() -> None:
    notebook = good_notebook()
    _becomes("print(s)\nassert s < 5", "nbval-ignore-output")(notebook.cells[1])
    _becomes("def attend(): ...\ntorch.testing.assert_close(a, b)", "derivation", outputs=[])(notebook.cells[2])
    assert problems(notebook, {"attend"}) == []


# The tools: a failing cell leaves the file as it was, and a kernel that dies is noticed.


def write(path: Path, *sources: str, **cell: Any) -> Path:
    nbformat.write(new_notebook(cells=[new_code_cell(source, **cell) for source in sources]), path)
    return path


def test_refresh_executes_in_the_folder_and_twice_gives_the_same_file(tmp_path: Path, tool: ModuleType) -> None:
    source = "from pathlib import Path\nprint(Path('here.txt').read_text())"
    path = write(tmp_path / "a.ipynb", source, "1 + 1", metadata={"tags": ["x"], "collapsed": True})
    (tmp_path / "here.txt").write_text("read")
    assert tool.main([str(path)]) == 0
    first = path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2]
    assert cells[0].outputs[0].text == "read\n"
    assert cells[0].metadata == {"tags": ["x"]}
    assert tool.main([str(path)]) == 0
    assert path.read_text() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ipynb", "here.txt"]


def test_outputs_that_are_not_of_one_execution_show(tmp_path: Path, tool: ModuleType) -> None:
    path = write(tmp_path / "a.ipynb", "1 + 1", "print('two')")
    assert tool.main([str(path)]) == 0
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata["outputs"] == tool.digest_of_outputs(notebook)
    for cell in notebook.cells:
        cell.execution_count += 1  # as a new cell above would have it
    assert notebook.metadata["outputs"] == tool.digest_of_outputs(notebook)
    assert tool.main(["--first-cell", str(path)]) == 0
    assert nbformat.read(path, as_version=4).metadata["outputs"] == notebook.metadata["outputs"], "it runs nothing"
    notebook.cells[1].outputs[0].text = "three\n"
    assert notebook.metadata["outputs"] != tool.digest_of_outputs(notebook)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_outputs_of_a_chapter_are_those_of_one_execution(path: Path, tool: ModuleType) -> None:
    """So a figure shows the numbers of the table beside it; `make notebooks` stores both."""
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.get("outputs") == tool.digest_of_outputs(notebook)


def first_cell(tool: ModuleType, url: str, monkeypatch: pytest.MonkeyPatch, root: Path) -> NotebookNode:
    """A notebook of two cells in which a book at that address has put its first cell."""
    options = f"html_theme_options: {{repository_url: {url!r}, repository_branch: main}}"
    (root / "_config.yml").write_text(f"sphinx: {{config: {{{options}}}}}")
    monkeypatch.setattr(tool, "ROOT", root)
    result = new_output("execute_result", execution_count=1)
    cells = [new_markdown_cell("# T"), new_code_cell("1", execution_count=1, outputs=[result])]
    notebook = new_notebook(cells=[*cells, new_code_cell("import onnx", execution_count=2)])
    tool.put_first_cell(notebook, "chapters/frontier")
    return notebook


def test_the_first_cell_moves_the_counts_and_is_put_once(
    tmp_path: Path, tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = first_cell(tool, "https://github.com/a/b", monkeypatch, tmp_path)
    assert [cell.get("execution_count") for cell in notebook.cells] == [None, 1, 2, 3]
    assert notebook.cells[2].outputs[0].execution_count == 2
    again = nbformat.from_dict(notebook)
    tool.put_first_cell(again, "chapters/frontier")
    assert again == notebook


def run_without_the_library(source: str, folder: Path, *, installed: bool) -> tuple[list[list[str]], str, str]:
    """The commands that a cell gives, the folder in which it ends (which "cloning" makes), and what it prints."""
    code = f"""
import importlib.util, json, os, subprocess
if not {installed}:
    importlib.util.find_spec = lambda name: None
given = []
def run(command, check):
    assert check
    given.append(command)
    if command[0] == "git":
        os.makedirs("book/chapters/frontier")
subprocess.run = run
exec({source!r})
print("given:" + json.dumps([given, os.getcwd()]))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    printed, _, told = run.stdout.partition("given:")
    given, end = json.loads(told) if told else ([], "")
    return given, end, printed + run.stderr


def test_the_first_cell_fetches_what_is_missing_and_nothing_else(
    tmp_path: Path, tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = first_cell(tool, "https://github.com/a/b", monkeypatch, tmp_path).cells[1].source
    assert run_without_the_library(source, tmp_path, installed=True) == ([], str(tmp_path), "")
    (clone, install), end, printed = run_without_the_library(source, tmp_path, installed=False)
    assert clone == ["git", "clone", "-q", "--depth=1", "-b", "main", "https://github.com/a/b", "book"]
    assert install[1:] == ["-m", "pip", "install", "-q", "./book[plot,tasks,onnx]"]
    assert (end, printed) == (str(tmp_path / "book/chapters/frontier"), "")
    # A second try, after an installation that failed, and a restart after one that did not.
    assert len(run_without_the_library(source, tmp_path, installed=False)[0]) == 1
    assert run_without_the_library(source, tmp_path, installed=True) == ([], end, "")


def test_a_copy_that_does_not_know_its_repository_says_so(
    tmp_path: Path, tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = first_cell(tool, "", monkeypatch, tmp_path).cells[1].source
    given, _, printed = run_without_the_library(source, tmp_path, installed=False)
    assert given == []
    assert "ModuleNotFoundError: transformer_lib: say in url where it is" in printed


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("raise ValueError('no luck')", 3600),  # limits that are not reached, however busy the machine is
        ("import os; os._exit(1)", 3600),
        ("import time; time.sleep(10**6)", 5),
    ],
)
def test_refresh_leaves_a_failing_notebook_alone(
    tmp_path: Path, tool: ModuleType, capsys: pytest.CaptureFixture[str], source: str, limit: int
) -> None:
    path = write(tmp_path / "a.ipynb", "print('fine')", source)
    before = path.read_bytes()
    assert tool.main(["--timeout", str(limit), str(path)]) == 1
    assert path.read_bytes() == before
    assert "FAILED" in (printed := capsys.readouterr().out)
    assert "no luck" not in source or "no luck" in printed


def test_duplicate_and_missing_cell_ids_are_replaced(tool: ModuleType) -> None:
    notebook = new_notebook(cells=[new_code_cell("1") for _ in range(3)])
    del notebook.cells[0]["id"]
    notebook.cells[1]["id"] = notebook.cells[2]["id"] = "same"
    tool.normalise(notebook)
    assert [cell.id for cell in notebook.cells] == ["c01", "same", "c03"]


def test_a_dead_kernel_fails_the_notebook_instead_of_keeping_it_waiting(tmp_path: Path) -> None:
    path = write(tmp_path / "dies.ipynb", "import os; os._exit(1)", execution_count=1)
    options = ["-o", "addopts=", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=5"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", f"--rootdir={tmp_path}", *options, str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
    )
    assert run.returncode == 1, run.stdout


def test_the_configured_time_outs_are_short(pytestconfig: pytest.Config) -> None:
    # A cell of half a minute must end beside heavy work, a dead kernel before CI gives up.
    assert float(pytestconfig.getoption("--nbval-cell-timeout")) <= 1200
    assert float(pytestconfig.getoption("--nbval-kernel-startup-timeout")) <= 300
