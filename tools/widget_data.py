"""The numbers of the widgets, taken from the library and from the records of experiments, never typed.

Each function gives what `Widget.data` of a page gets, as lists, words and numbers. A widget whose numbers are all the
reader's has no entry.
"""

from collections.abc import Callable
from typing import Any

NUMBERS: dict[str, Callable[[], dict[str, Any]]] = {}
