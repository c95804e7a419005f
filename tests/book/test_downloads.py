"""What a reader can take along: the zip holds what a chapter needs, and nothing else of this machine."""

import importlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.book.pages import ROOT, toc_pages

ARCHIVE = "downloads/executable-transformer.zip"
FOLDER = "executable-transformer"
RUN = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
notebook.cells.append(nbformat.v4.new_code_cell("import transformer_lib; print(transformer_lib.__file__)"))
NotebookClient(notebook, timeout=1200, startup_timeout=300, kernel_name="python3").execute()
print(notebook.cells[-1].outputs[0].text)
"""


@pytest.fixture(scope="module")
def downloads() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("downloads")


def test_the_same_files_give_the_same_bytes(downloads: ModuleType, tmp_path: Path) -> None:
    for name in ("first", "second"):
        source = tmp_path / name
        for path in ("chapters/b.ipynb", "chapters/a.ipynb", "transformer_lib/x.py", "LICENSE", "notes.txt"):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(path)
            os.utime(source / path, (0, 1_000_000_000 if name == "first" else 1_500_000_000))
        downloads.pack(source, tmp_path / f"{name}.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        names = [name.removeprefix(f"{FOLDER}/") for name in archive.namelist()]
    assert names == ["LICENSE", "README.md", "chapters/a.ipynb", "chapters/b.ipynb", "transformer_lib/x.py"]


def test_epub_and_pdf_are_offered_once_they_are_built(downloads: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "_build").mkdir()
    assert list(downloads.offered(tmp_path)) == [ARCHIVE]
    (tmp_path / "_build" / "book.epub").write_bytes(b"book")
    assert list(downloads.offered(tmp_path)) == [ARCHIVE, ARCHIVE.replace("zip", "epub")]
    downloads.write(tmp_path, tmp_path)
    assert (tmp_path / "downloads" / "executable-transformer.epub").read_bytes() == b"book"


def test_the_archive_holds_every_chapter_and_what_they_need(html: Path) -> None:
    with zipfile.ZipFile(html / ARCHIVE) as archive:
        names = {name.removeprefix(f"{FOLDER}/") for name in archive.namelist()}
        readme = archive.read(f"{FOLDER}/README.md").decode()
    chapters = {f"{page}.ipynb" for page in toc_pages() if (ROOT / f"{page}.ipynb").exists()}
    assert {name for name in names if name.endswith(".ipynb")} == chapters
    listed = subprocess.run(["git", "ls-files", "transformer_lib"], cwd=ROOT, capture_output=True, text=True)
    assert {name for name in names if name.startswith("transformer_lib/")} == set(listed.stdout.split())
    assert {"requirements.txt", "constraints.txt", "pyproject.toml", "LICENSE", "LICENSE-TEXT", "CITATION.cff"} <= names
    # The files that a list of requirements or the readme names are there.
    for name in re.findall(r"-[rc] (\S+\.txt)|`(\w\S*/)`|(chapters/\w+\.ipynb)", readme):
        path = next(filter(None, name))
        assert any(held == path or held.startswith(path) for held in names), path


def test_the_pages_lead_to_the_archive(html: Path) -> None:
    about = (html / "chapters" / "about.html").read_text(encoding="utf-8")
    assert f'href="../{ARCHIVE}"' in about
    chapter = (html / "chapters" / "attention.html").read_text(encoding="utf-8")
    menu = chapter.split('class="dropdown dropdown-download-buttons"')[1].split("</ul>")[0]
    assert f'href="../{ARCHIVE}"' in menu


def test_a_chapter_runs_in_an_empty_folder(html: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(html / ARCHIVE) as archive:
        archive.extractall(tmp_path)
    place = tmp_path / FOLDER
    environment = {**os.environ, "PYTHONPATH": str(place), "TRANSFORMER_DEVICE": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", RUN, "forward.ipynb"],
        cwd=place / "chapters",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert Path(run.stdout.strip()).is_relative_to(place)
