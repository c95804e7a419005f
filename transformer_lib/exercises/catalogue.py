"""Which exercises there are: those that the files of `chapters` list under EXERCISES, found by name.

Each of these files also says under NOT_CHECKED which exercises of its chapter no program can judge, and why.
"""

import importlib
import pkgutil
from typing import Any

from transformer_lib.contract import checked
from transformer_lib.exercises.exercise import Exercise

CHAPTERS = "transformer_lib.exercises.chapters"


def chapter_names() -> list[str]:
    """The chapters that have a file, by the names of their notebooks."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(CHAPTERS).__path__))


@checked
def exercises_of(chapter: str) -> dict[str, Exercise]:
    """The exercises of a chapter that can be judged. Raises `ValueError` for a chapter that there is not."""
    return _part(chapter, "EXERCISES")


@checked
def not_checked(chapter: str) -> dict[str, str]:
    """The exercises of a chapter that no program can judge, each with the reason."""
    return _part(chapter, "NOT_CHECKED")


@checked
def find_exercise(name: str) -> Exercise:
    """The exercise of that name. Raises `ValueError` with the reason if it cannot be judged, or with all names."""
    known: list[str] = []
    for chapter in chapter_names():
        exercises, reasons = exercises_of(chapter), not_checked(chapter)
        if name in exercises:
            return exercises[name]
        if name in reasons:
            raise ValueError(f"{name} cannot be judged by a program: {reasons[name]}. Its solution unfolds below it")
        known += exercises
    raise ValueError(f"name must be that of an exercise ({', '.join(known)}), got {name!r}")


def _part(chapter: str, name: str) -> Any:
    if chapter not in chapter_names():
        raise ValueError(f"chapter must be one of {', '.join(chapter_names())}, got {chapter!r}")
    return getattr(importlib.import_module(f"{CHAPTERS}.{chapter}"), name)
