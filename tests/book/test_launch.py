"""Binder and Colab: the buttons of a fork that says where it is, and what Binder installs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FORK = "https://github.com/reader/fork"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of a book with our configuration, one chapter, and an address of its own."""
    folder = tmp_path_factory.mktemp("fork")
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    told = re.sub(r"repository_url: .*", f"repository_url: {FORK}", config)
    (folder / "_config.yml").write_text(told.replace("repository_branch: main", "repository_branch: mine"))
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: chapters/references\nchapters: [{file: chapters/errata}]\n"
    )
    (folder / "chapters").mkdir()
    for name in ("errata.ipynb", "references.md", "references.bib"):
        shutil.copy(ROOT / "chapters" / name, folder / "chapters" / name)
    for name in ("_static", "tools"):
        shutil.copytree(ROOT / name, folder / name)
    build = str(Path(sys.executable).parent / "jupyter-book")
    run = subprocess.run([sys.executable, build, "build", str(folder)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    for image in ("logo_binder.svg", "logo_colab.png"):
        assert (folder / "_build/html/_static/images" / image).is_file()
    return (folder / "_build/html/chapters/errata.html").read_text(encoding="utf-8")


def test_a_fork_has_buttons_of_its_own(page: str) -> None:
    assert 'href="https://mybinder.org/v2/gh/reader/fork/mine?urlpath=lab/tree/chapters/errata.ipynb"' in page
    assert 'href="https://colab.research.google.com/github/reader/fork/blob/mine/chapters/errata.ipynb"' in page


def test_the_first_cell_is_not_on_the_page(page: str) -> None:
    assert "find_spec" in (ROOT / "chapters/errata.ipynb").read_text(encoding="utf-8")
    assert "this fetches it with the book" not in page


def test_binder_installs_the_pins() -> None:
    lines = (ROOT / ".binder/requirements.txt").read_text(encoding="utf-8").splitlines()
    [listed] = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    assert (ROOT / ".binder" / listed).resolve() == ROOT / "requirements.txt"
    options = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["html_theme_options"]
    assert options["launch_buttons"]["notebook_interface"] == "jupyterlab"  # which requirements.txt installs
    python = (ROOT / ".binder/runtime.txt").read_text().strip().removeprefix("python-")
    assert f"Python :: {python}" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
