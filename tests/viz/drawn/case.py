"""How a drawing is tested: a file beside this one for each subject, each with its DRAWINGS by figure label."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.viz.diagram import Drawing


class Case(NamedTuple):
    """A drawing's function, its arguments for things n times as large, and labels that only this n gives."""

    function: Callable[..., Drawing]
    arguments: Callable[[int], dict[str, Any]]
    labels: Callable[[int], list[str]]

    def draw(self, n: int = 1) -> Drawing:
        """The drawing for things n times as large."""
        return self.function(**self.arguments(n))


def config(n: int) -> ModelConfig:
    """A small decoder, n times as wide."""
    return ModelConfig(
        vocab_size=20 * n,
        d_model=32 * n,
        num_layers=2 * n,
        max_length=24,
        attention=AttentionConfig(num_heads=4 * n),
        feedforward=Mlp(d_ff=128 * n),
        positions=Rope(),
    )


def every_case() -> dict[str, Case]:
    """The cases of all files in this folder."""
    files = sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in ("__init__", "case"))
    modules = [importlib.import_module(f"tests.viz.drawn.{name}") for name in files]
    return {label: case for module in modules for label, case in module.DRAWINGS.items()}
