"""How pytest compares the chapters: what cells print, not how figures look.

Two machines draw the same curve with other last digits. nbval knows this of
PNG and not of SVG. The text that stands for a figure, which gives its size and
the number of its panels, is compared like any other.
"""

from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[Any], list[Any]]:
    collected = yield
    for file in collected:
        if hasattr(file, "skip_compare"):  # a notebook
            file.skip_compare = (*file.skip_compare, "image/svg+xml")
    return collected
