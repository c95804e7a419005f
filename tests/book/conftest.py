"""The built book and a browser, for the tests of its pages.

The book is built once for all processes of a test run. To test a build that is there already, name its folder:
BOOK_HTML=_build/html.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.book.pages import CHROMIUM, FLAGS, ROOT, served

if TYPE_CHECKING:  # `make light` runs tests of this folder, and has neither browser nor lock
    from playwright.sync_api import BrowserContext


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh build, with the options of `make book`."""
    from filelock import FileLock

    if "BOOK_HTML" in os.environ:
        return Path(os.environ["BOOK_HTML"]).resolve()
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "book"
    done = out / "done"
    with FileLock(f"{out}.lock"):  # the other processes wait for the one that builds
        if not done.exists():
            build = str(Path(sys.executable).parent / "jupyter-book")
            options = ["-W", "-n", "--keep-going", "--all", "--path-output", str(out)]
            run = subprocess.run([sys.executable, build, "build", str(ROOT), *options], capture_output=True, text=True)
            assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
            done.touch()
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[BrowserContext]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        profile = tmp_path_factory.mktemp("profile")
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS, color_scheme="light"
        )
        context.set_default_timeout(300_000)  # milliseconds: the machine may be busy, and a wait costs nothing
        yield context
        context.close()


@pytest.fixture(scope="module")
def site(html: Path) -> Iterator[str]:
    with served(html) as address:
        yield address
