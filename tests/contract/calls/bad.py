"""How the functions of `tests/contract/bad.py` are called validly."""

from collections.abc import Callable
from typing import Any

import torch

HERE = "tests.contract.bad."
CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"{HERE}{name}": lambda: {"width": 3} for name in ("keeps", "adds", "ignores", "waits", "dies", "grows")},
    f"{HERE}raises": lambda: {"name": "a"},
    f"{HERE}reads": lambda: {"number": "3"},
    f"{HERE}computes": lambda: {"x": torch.ones(2)},
}
