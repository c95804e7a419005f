"""What kind of examples a file holds, told from its beginning."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.own.chats import read_chats
from transformer_lib.data.own.columns import TAG, read_columns
from transformer_lib.data.own.found import Fault, Found, lines_in
from transformer_lib.data.own.offsets import NAMES, read_offsets
from transformer_lib.data.own.pairs import JSON, read_pairs
from transformer_lib.data.own.questions import read_questions
from transformer_lib.data.own.texts import read_texts

Kind = Literal["pairs", "columns", "offsets", "questions", "texts", "chats"]
COLUMNS = (".conll", ".bio", ".iob", ".iob2")  # what such files are called
SAMPLE = 200  # lines that are looked at


@checked
def kind_of(files: Sequence[Path]) -> Kind:
    """The kind of these files, which must all be of one kind; `ValueError` if they are not.

    JSON is known by its fields. Lines are columns if nearly all that are not empty end in a tag (`O`, `B-PER`, ...), or
    if the file is called so (`.conll`), and pairs if nearly all have a tab. Two files without tabs are texts here: only
    their owner knows if they are parallel.
    """
    require(len(files) > 0, "files", "must not be empty", files)
    kinds = {str(file): _kind(file) for file in files}
    require(len(set(kinds.values())) == 1, "files", "must be of one kind", kinds)
    return next(iter(kinds.values()))


@checked
def read_own(files: Sequence[Path], kind: Kind) -> Iterator[Found | Fault]:
    """The examples of all the files, read as this kind."""
    match kind:
        case "pairs":
            yield from read_pairs(files)
        case "texts":
            yield from read_texts(files)
        case _:
            readers = {"columns": read_columns, "offsets": read_offsets, "questions": read_questions}
            read = (readers | {"chats": read_chats})[kind]
            for file in files:
                yield from read(file)


def _kind(file: Path) -> Kind:
    if file.is_dir():
        return "texts"
    sample = [line for _, line in islice(lines_in(file), SAMPLE) if isinstance(line, str) and line.strip()]
    require(len(sample) > 0, str(file), "must have lines of text", "none")
    if file.suffix in JSON or sample[0].lstrip()[:1] in "{[":
        return _json_kind(file, sample)
    if file.suffix in COLUMNS:
        return "columns"
    tagged = sum(TAG.fullmatch(line.split()[-1]) is not None for line in sample)
    if tagged > 0.9 * len(sample):
        return "columns"
    return "pairs" if sum("\t" in line for line in sample) > 0.9 * len(sample) else "texts"


def _json_kind(file: Path, sample: list[str]) -> Kind:
    """Told by the first object with fields that say it; one of the others may be the bad one."""
    records = [set(value) for line in sample if isinstance(value := _json(line), dict)]
    for fields in records:
        if "translation" in fields or {"source", "target"} <= fields:
            return "pairs"
        if "text" in fields and fields & {*NAMES, "relations"}:
            return "offsets"
        if {"context", "question"} <= fields:
            return "questions"
        if "messages" in fields:
            return "chats"
    if file.suffix == ".json":  # one value on many lines
        return "questions"
    known = "source and target, translation, text with entities, context with question, or messages"
    raise ValueError(
        f"{file} must have JSON objects with the fields {known}, got {sorted(records[0]) if records else []}"
    )


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
