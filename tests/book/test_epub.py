"""The EPUB of a small book: formulas are MathML, nothing in it leads nowhere, and the check sees what is wrong."""

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.book.pages import names_of_figures

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def epub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: chapters/references\nchapters: [{file: chapters/math}]\n")
    (folder / "chapters").mkdir()
    for name in ("math.ipynb", "references.md", "references.bib"):
        shutil.copy(ROOT / "chapters" / name, folder / "chapters" / name)
    for name in ("_static", "_latex", "tools"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "_config.yml", folder)
    build = str(Path(sys.executable).parent / "jupyter-book")
    options = ["--builder", "custom", "--custom-builder", "epub"]
    run = subprocess.run([sys.executable, build, "build", str(folder), *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return folder / "_build" / "epub" / "book.epub"


def test_nothing_is_wrong_with_it(epub: Path) -> None:
    assert list(load("check_epub").problems(str(epub))) == []


def test_it_holds_formulas_figures_and_no_hidden_cell(epub: Path) -> None:
    with zipfile.ZipFile(epub) as book:
        page = book.read("chapters/math.xhtml").decode()
        assert any(name.endswith(".svg") for name in book.namelist())
    assert page.count("<math ") > 20
    assert "this fetches it with the book" not in page


def test_every_figure_is_in_it(epub: Path) -> None:
    with zipfile.ZipFile(epub) as book:
        page, files = book.read("chapters/math.xhtml").decode(), book.namelist()
    found = dict(re.findall(r'<figure [^>]*id="(fig-[^"]+)">\s*(<[^>]*>)', page))
    assert set(found) == names_of_figures(ROOT / "chapters" / "math.ipynb") and len(found) > 5
    for image in found.values():
        source = re.search(r'src="\.\./([^"]+\.svg)"', image)
        assert source and source[1] in files, image
        assert 'width="' in image and 'height="' in image and "loading" not in image


SPOILED = {
    "not XML": ("</body>", "</bdy>", "is not XML"),
    "a link": ("</body>", '<a href="other.xhtml">x</a></body>', "href to chapters/other.xhtml, which is not there"),
    "a place": (
        "</body>",
        '<a href="#nowhere">x</a></body>',
        "href to chapters/math.xhtml#nowhere, which is not there",
    ),
    "an image": ("</body>", '<img src="x.png" alt="x"/></body>', "src to chapters/x.png, which is not there"),
    "a script": ("</body>", "<script>1</script></body>", "has a script"),
    "TeX": ("</body>", r"<span>\(x\)</span></body>", r"formula as TeX: \(x\)"),
    "no MathML": ("<math ", "<mth ", "is wrong about its MathML"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_book_is_found(epub: Path, tmp_path: Path, name: str) -> None:
    old, new, complaint = SPOILED[name]
    with zipfile.ZipFile(epub) as book, zipfile.ZipFile(tmp_path / "spoiled.epub", "w") as spoiled:
        for part in book.namelist():
            data = book.read(part)
            if part == "chapters/math.xhtml":
                assert old.encode() in data
                data = data.replace(old.encode(), new.encode()).replace(
                    b"</math>", b"</mth>" if "mth" in new else b"</math>"
                )
            spoiled.writestr(part, data)
    found = list(load("check_epub").problems(str(tmp_path / "spoiled.epub")))
    assert any(complaint in problem for problem in found), found


@pytest.mark.parametrize(
    ("tex", "parts"),
    [
        (r"\tfrac12", ["<mn>1</mn>", "<mn>2</mn>", r'alttext="\tfrac12"']),
        (r"a \iff b < c", ["⟺", "&lt;", r'alttext="a \iff b &lt; c"']),
        (r"P(\texttt{b} \mid \texttt{a})", ["<math", "<mi"]),
        (r"\begin{gathered} x, \\ y \end{gathered}", ["<mtable"]),
        (r"\begin{aligned} x &= \textstyle\sum_j y_j \\ z &= \Big(1\Big) \end{aligned}", ["<mtable", "∑"]),
    ],
)
def test_a_formula_is_read(tex: str, parts: list[str]) -> None:
    written = load("epub_extension").mathml(tex, None, block=True)
    assert [part for part in parts if part not in written] == []
