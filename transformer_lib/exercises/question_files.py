"""The questions of the chapters as files: `chapters/questions/CHAPTER.toml`, a table for each question.

    [q-attention-axis]
    kind = "one"
    text = "Over which axis ...?"
    right = "b"
    a = ["the queries", "Then each key ..."]
    b = ["the keys", "Each query ..."]

A letter has the choice and what is said to it. `kind = "several"` is the same with more letters in `right`. A number
has `right`, `why`, `wrong = [[value, "where it comes from"], ...]` and, if need be, `tolerance` and `unit`. An order
has a text for each letter, the letters in `right`, and for each two neighbours of the right order, as in `ca = "..."`,
why they stand so. What is missing or unknown is refused, so that no wrong choice is without its explanation.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.exercises.questions import LETTERS, Amount, Choices, Order, Question
from transformer_lib.files import read_text

KINDS = ("one", "several", "number", "order")


@checked
def read_questions(path: Path) -> dict[str, Question]:
    """The questions of a file by their names, in its order.

    Raises `ValueError` that names the file and the question for what is missing, unknown or of a wrong form.
    """
    try:
        tables = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    return {name: _question(f"{path.name}: {name}", name, table) for name, table in tables.items()}


@checked
def find_question(name: str, folder: Path) -> Question:
    """The question of that name, looked for in `chapters/questions` of the folder and of those around it.

    Raises `FileNotFoundError` where there is no such folder, `ValueError` that lists the names for an unknown one.
    """
    places = [place / part for place in (folder, *folder.parents) for part in ("chapters/questions", "questions")]
    found = next((place for place in places if place.is_dir()), places[0])
    if not found.is_dir():
        raise FileNotFoundError(f"no folder {found}")
    names: list[str] = []
    for path in sorted(found.glob("*.toml")):
        here = [line[1:-1] for line in read_text(path).splitlines() if line.startswith("[q-") and line.endswith("]")]
        if name in here:
            return read_questions(path)[name]
        names += here
    raise ValueError(f"name must be that of a question ({', '.join(names)}), got {name!r}")


def _question(field: str, name: str, table: Any) -> Question:
    require(isinstance(table, dict), field, "must be a table", table)
    require(name.startswith("q-"), field, "must begin with q-", name)
    kind, text = table.get("kind"), _text(table, "text", field)
    require(kind in KINDS, f"{field}: kind", f"must be one of {', '.join(KINDS)}", kind)
    if kind == "number":
        return _amount(field, name, text, table)
    right = _text(table, "right", field)
    letters = [key for key in table if len(key) == 1]
    first = list(LETTERS[: len(letters)])
    require(letters == first and len(letters) > 1, field, f"must have the letters {', '.join(first)}", letters)
    require(
        len(set(right)) == len(right) and set(right) <= set(letters),
        f"{field}: right",
        "must be letters of choices, each once",
        right,
    )
    if kind == "order":
        other = len(right) == len(letters) and right != "".join(letters)
        require(other, f"{field}: right", "must have every letter, in another order than they are shown", right)
        pairs = [right[i : i + 2] for i in range(len(right) - 1)]
        _only(table, {"kind", "text", "right", *letters, *pairs}, field)
        texts = {letter: _text(table, letter, field) for letter in letters}
        return Order(name, text, texts, {pair: _text(table, pair, field) for pair in pairs}, right)
    _only(table, {"kind", "text", "right", *letters}, field)
    if kind == "one":
        require(len(right) == 1, f"{field}: right", "must be one letter", right)
    parts = {letter: _two(table[letter], f"{field}: {letter}") for letter in letters}
    require(all(isinstance(part[0], str) for part in parts.values()), field, "must have texts as choices", table)
    choices, why = ({letter: part[i] for letter, part in parts.items()} for i in (0, 1))
    return Choices(name, kind, text, choices, why, "".join(sorted(right)))


def _amount(field: str, name: str, text: str, table: Mapping[str, Any]) -> Amount:
    _only(table, {"kind", "text", "right", "why", "wrong", "tolerance", "unit"}, field)
    wrong = table.get("wrong")
    require(isinstance(wrong, list) and bool(wrong), f"{field}: wrong", "must be a list of [value, text]", wrong)
    pairs = [(_number(value, f"{field}: wrong"), said) for value, said in (_two(item, field) for item in wrong or ())]
    tolerance = _number(table.get("tolerance", 0), f"{field}: tolerance")
    right = _number(table.get("right"), f"{field}: right")
    apart = all(abs(value - right) > 2 * tolerance for value, _ in pairs)
    require(
        tolerance >= 0 and apart, f"{field}: wrong", "must be farther from the right number than 2 tolerances", wrong
    )
    return Amount(name, text, right, _text(table, "why", field), pairs, tolerance, str(table.get("unit", "")))


def _text(table: Mapping[str, Any], key: str, field: str) -> str:
    value = table.get(key)
    require(isinstance(value, str) and bool(value.strip()), f"{field}: {key}", "must be a text", value)
    return " ".join(str(value).split())


def _two(value: Any, field: str) -> tuple[Any, str]:
    good = isinstance(value, list) and len(value) == 2 and isinstance(value[1], str) and bool(value[1].strip())
    require(good and value[0] != "", field, "must be two things: what is answered, and what is said to it", value)
    first = " ".join(value[0].split()) if isinstance(value[0], str) else value[0]
    return first, " ".join(value[1].split())


def _number(value: Any, field: str) -> float:
    require(isinstance(value, int | float) and not isinstance(value, bool), field, "must be a number", value)
    return float(value)


def _only(table: Mapping[str, Any], keys: set[str], field: str) -> None:
    unknown = sorted(set(table) - keys)
    require(not unknown, field, f"must have no more than {', '.join(sorted(keys))}", unknown)
