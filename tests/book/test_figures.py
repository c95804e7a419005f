"""Every figure is an SVG that a phone can show: narrow, legible, light, in the colours of the book."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.book.pages import ROOT, names_of_figures
from tests.book.plot_layout import faults as hidden_words
from tests.viz.screens import contrast
from transformer_lib.viz.style import GREY, LINES, SAVED, STYLE, WIDTH, panels

CHAPTERS = sorted(file for file in (ROOT / "chapters").rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts)
PHONE = 342  # CSS pixels that a screen of 390 leaves for a figure
LEAST_LETTERS = 10  # CSS pixels
COLOURS = {colour.lower() for colour in (*LINES, GREY, "#ffffff")}
GROUP = "{http://www.w3.org/2000/svg}g"


def figures(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """The outputs of Matplotlib, each with the name of its cell."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("data", {}).get("text/plain", "").startswith("<Figure size"):
                yield cell.id, output


def faults(output: NotebookNode) -> list[str]:
    """What is wrong with a stored figure, one line each."""
    mimes = {mime for mime in output.data if mime.startswith("image/")}
    if mimes != {"image/svg+xml"}:
        return [f"is stored as {', '.join(sorted(mimes))}"]
    text = output.data["image/svg+xml"]
    found = []
    svg = ElementTree.fromstring(text)
    width = float(svg.get("width", "").removesuffix("pt")) / 72
    if width > WIDTH + 1e-6:
        found.append(f"is {width:.2f} inches wide")
    shrink = min(1, PHONE / (width * 96))
    for label, points in letters(svg):
        pixels = points * 96 / 72 * shrink
        if pixels < LEAST_LETTERS:
            found.append(f"{label!r} is {pixels:.1f} pixels high on a phone")
    found += [f"has a line in {colour}" for colour in sorted(line_colours(svg) - COLOURS)]
    found += [f"has letters in {colour}" for colour in sorted(letter_colours(svg)) if not legible(colour)]
    if svg.find(".//{*}text") is not None:
        found.append("has letters that are no outlines")
    if "<dc:date>" in text:
        found.append("holds the date on which it was made")
    return found


def letters(svg: ElementTree.Element) -> Iterator[tuple[str, float]]:
    """Each text of a figure with its size in points; Matplotlib scales outlines of 100 points."""
    for group in svg.iter(GROUP):
        if not group.get("id", "").startswith("text_"):
            continue
        for part in group.iter(GROUP):
            if scale := re.search(r"scale\(([\d.]+)", part.get("transform", "")):
                yield group.get("id", ""), 100 * float(scale[1])


def line_colours(svg: ElementTree.Element) -> set[str]:
    """The colours of what `plot` drew, ticks and frames left out, since those are black."""
    lines = [group for group in svg.iter(GROUP) if group.get("id", "").startswith("line2d_")]
    styles = [part.get("style", "") for group in lines for part in group.iter()]
    return {colour.lower() for style in styles for colour in re.findall(r"(?<![-\w])stroke: (#\w{6})", style)}


def letter_colours(svg: ElementTree.Element) -> set[str]:
    """The colours of letters, where they are not black; what lies under them is a group with a name."""
    texts = [group for group in svg.iter(GROUP) if group.get("id", "").startswith("text_")]
    written = [part for text in texts for part in (text, *text) if part is text or not part.get("id")]
    styles = [part.get("style", "") for group in written for part in (group, *group.findall("./{*}g"))]
    return {colour.lower() for style in styles for colour in re.findall(r"(?<![-\w])fill: (#\w{6})", style)}


def legible(colour: str) -> bool:
    """Whether letters of this colour can be read on a white page and on the dark one that it becomes."""
    return all(contrast(colour, "white", look) >= 4.5 for look in ("light", "dark"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_no_faulty_figure(path: Path) -> None:
    stored = figures(nbformat.read(path, as_version=4))
    assert [f"{name} {fault}" for name, output in stored for fault in faults(output)] == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_word_of_a_figure_is_hidden(path: Path) -> None:
    stored = figures(nbformat.read(path, as_version=4))
    assert [f"{name} {fault}" for name, output in stored for fault in hidden_words(output.data["image/svg+xml"])] == []


# The checker itself: a good figure has no fault, and each way to spoil it is found.

SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="331.2pt" height="216pt">
<g id="line2d_1"><path style="fill: none; stroke: #0072b2; stroke-width: 1.8"/></g>
<g id="text_1"><g transform="translate(40 196) scale(0.1 -0.1)"/></g></svg>"""
SPOILED = {
    "wide": ('width="331.2pt"', 'width="360pt"', "is 5.00 inches wide"),
    "a small label": ("scale(0.1 -0.1)", "scale(0.08 -0.08)", "'text_1' is 8.3 pixels high"),
    "another colour": ("#0072b2", "#ff7f0e", "has a line in #ff7f0e"),
    "a pale line": ("#0072b2", "#56b4e9", "has a line in #56b4e9"),
    "pale letters": ('<g id="text_1">', '<g id="text_1" style="fill: #e69f00">', "has letters in #e69f00"),
    "a font": ("</svg>", "<text>x</text></svg>", "no outlines"),
    "a date": ("</svg>", '<x xmlns:dc="d"><dc:date>now</dc:date></x></svg>', "the date"),
}


def stored(**data: str) -> NotebookNode:
    mimes = {"svg": "image/svg+xml", "png": "image/png", "text": "text/plain"}
    return new_output("display_data", data={mimes[name]: value for name, value in data.items()})


def test_a_good_figure_has_no_fault() -> None:
    assert faults(stored(svg=SVG)) == []


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_figure_is_found(name: str) -> None:
    old, new, complaint = SPOILED[name]
    assert old in SVG
    found = faults(stored(svg=SVG.replace(old, new)))
    assert any(complaint in fault for fault in found), found


def test_a_figure_of_pixels_is_found() -> None:
    assert faults(stored(png="iVBORw0KGgo=")) == ["is stored as image/png"]
    assert faults(stored(png="iVBORw0KGgo=", svg=SVG)) == ["is stored as image/png, image/svg+xml"]


# Words of a plot, as Matplotlib places them: each way to hide them is found, and what only comes near is none.


def draw_clear(axes: Any) -> None:
    axes.plot([0, 1], [0, 1], label="above")
    axes.text(0.7, 0.2, "below")
    axes.figure.legend(loc="outside upper center")


def draw_clipped(axes: Any) -> None:
    axes.plot([0, 1], [0, 9], "o-")
    axes.set(ylim=(0, 1), title="a title")


def draw_through_a_word(axes: Any) -> None:
    axes.plot([0, 1], [0, 1])
    axes.text(0.4, 0.5, "on the line")


def draw_under_a_dot(axes: Any) -> None:
    axes.scatter([0.5], [0.5])
    axes.text(0.4, 0.48, "on the dot")


def draw_word_on_word(axes: Any) -> None:
    axes.text(0.4, 0.5, "one")
    axes.text(0.45, 0.52, "other")


def draw_out_of_sight(axes: Any) -> None:
    axes.text(0.9, 0.5, "longer than the room", clip_on=False).set_in_layout(False)


def draw_legend_on_data(axes: Any) -> None:
    axes.plot([0, 1], [0, 1], label="here")
    axes.legend(loc="center")


DRAWN = {
    draw_clear: [],
    draw_clipped: [],
    draw_through_a_word: ["crossed by a line: on the line"],
    draw_under_a_dot: ["crossed by a line: on the dot"],
    draw_word_on_word: ["overlap: one and other"],
    draw_out_of_sight: ["cut: longer than the room"],
    draw_legend_on_data: ["crossed by a line: here", "crossed by a line: legend_1"],
}


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_hidden_words_are_found(draw: Callable[[Any], None]) -> None:
    with plt.style.context(["default", STYLE]):
        axes = panels(2)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        draw(axes)
        file = io.StringIO()
        axes.figure.savefig(file, format="svg", **SAVED)
        plt.close(axes.figure)
    assert hidden_words(file.getvalue()) == DRAWN[draw]


# nbval lets another drawing pass, and no other text.

DRAWS = f'''class Figure:
    def _repr_svg_(self): return """{SVG}"""
    def __repr__(self): return "<Figure size 460x300 with 1 Axes>"
Figure()'''


@pytest.mark.parametrize(
    ("svg", "text", "outcome"),
    [
        (SVG.replace("40 196", "40 196.0000001"), "<Figure size 460x300 with 1 Axes>", "1 passed"),
        (SVG, "<Figure size 460x300 with 2 Axes>", "1 failed"),
    ],
)
def test_nbval_compares_the_text_of_a_figure_alone(tmp_path: Path, svg: str, text: str, outcome: str) -> None:
    output = new_output("execute_result", data={"image/svg+xml": svg, "text/plain": text}, execution_count=1)
    cell = new_code_cell(DRAWS, execution_count=1, outputs=[output])
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "draws.ipynb")
    shutil.copy(ROOT / "chapters" / "conftest.py", tmp_path)
    options = ["-o", "addopts=", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", f"--rootdir={tmp_path}", *options, "draws.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
    )
    assert outcome in run.stdout, run.stdout + run.stderr


# On paper every figure is there.


def test_the_pages_for_latex_hold_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("cairosvg", reason="no library cairo on this machine", exc_type=OSError)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: chapters/references\nchapters: [{file: chapters/math}]\n"
    )
    (tmp_path / "chapters").mkdir()
    for name in ("math.ipynb", "references.md", "references.bib"):
        shutil.copy(ROOT / "chapters" / name, tmp_path / "chapters" / name)
    for name in ("_static", "_latex", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "_config.yml", tmp_path)
    tool = str(Path(sys.executable).parent / "jupyter-book")
    run = subprocess.run(
        [sys.executable, tool, "build", str(tmp_path), "--builder", "latex"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    book = tmp_path / "_build" / "latex"
    blocks = re.findall(r"\\begin{figure}.*?\\end{figure}", (book / "book.tex").read_text(), re.DOTALL)
    found = {label[1]: block for block in blocks if (label := re.search(r":(fig-[\w-]+)}}", block))}
    assert set(found) == names_of_figures(ROOT / "chapters" / "math.ipynb") and len(found) > 5
    for block in found.values():
        name = re.search(r"includegraphics(?:\[[^\]]*\])?\{\{([\w-]+)\}\.pdf\}", block)
        assert name and (book / f"{name[1]}.pdf").read_bytes().startswith(b"%PDF"), block
