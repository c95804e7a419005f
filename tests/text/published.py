"""Vocabularies and texts that others have published: `make wheels` fetches the packages in which they lie.

Where they are not there a test is skipped, but `.ci/run` sets `REQUIRE_WHEELS`, and then it fails.
"""

import ast
import importlib.util
import io
import json
import os
import re
import zipfile
from functools import cache
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sentencepiece

ROOT = Path(__file__).parents[2]
# Fourteen scripts: Latin has three languages, Cyrillic and Arabic two each.
LANGUAGES = (
    "ar",
    "bn",
    "de",
    "el",
    "fa",
    "fr",
    "he",
    "hi",
    "hy",
    "ja",
    "ka",
    "ko",
    "ru",
    "ta",
    "th",
    "uk",
    "vi",
    "zh_Hans",
)
LINES = 10_000
MESSAGE = re.compile(r'^msgstr(?:\[\d\])? ((?:"(?:[^"\\\n]|\\.)*"\n?)+)', re.MULTILINE)


def wheel(package: str) -> zipfile.ZipFile:
    """The package, opened."""
    tool = _tool()
    [name] = [name for name in tool.WHEELS if name.startswith(package)]
    if name in _missing():
        reason = f"{name} is not here: make wheels"
        assert not os.environ.get("REQUIRE_WHEELS"), reason
        pytest.skip(reason)
    return zipfile.ZipFile(tool.folder() / name)


@cache
def lines(most: int = LINES) -> list[str]:
    """Lines of Django's messages, one of each language in turn."""
    with wheel("django") as django:
        names = sorted(django.namelist())
        found = [list(dict.fromkeys(_messages(django, names, language))) for language in LANGUAGES]
    assert all(len(texts) > 200 for texts in found)
    several = [text for row in zip_longest(*found) for text in row if text is not None]
    assert len(several) >= most
    return several[:most]


def piece_model(name: str) -> bytes:
    """A model of SentencePiece: `tokenizer.model.v1` is Mistral 7B's, the others have more special tokens."""
    with wheel("mistral_common") as mistral:
        return mistral.read(f"mistral_common/data/{name}")


def vocab_txt() -> bytes:
    """WordPiece of chemical reactions."""
    with wheel("rxnfp") as rxnfp:
        return rxnfp.read("rxnfp/models/transformers/bert_pretrained/vocab.txt")


def _messages(django: zipfile.ZipFile, names: list[str], language: str) -> list[str]:
    texts = [
        "".join(map(ast.literal_eval, found[1].splitlines()))
        for name in names
        if f"/locale/{language}/LC_MESSAGES/" in name and name.endswith(".po")
        for found in MESSAGE.finditer(django.read(name).decode())
    ]
    return [line for text in texts for line in text.split("\n") if line.strip() and "Content-Type" not in line]


def put(folder: Path, **files: Any) -> Path:
    """A folder of these files, with `__` for the point in their names; what is no bytes is written as JSON."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def trained(kind: str, part: int, **options: Any) -> bytes:
    """A small model of SentencePiece, trained on a third of the lines."""
    out = io.BytesIO()
    options = {"vocab_size": 1200, "character_coverage": 0.99, "num_threads": 1, "minloglevel": 2} | options
    texts = iter(lines(LINES)[part::3][:1500])
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=texts, model_writer=out, model_type=kind, **options)
    return out.getvalue()


@cache
def _missing() -> list[str]:
    return _tool().missing()


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "tools" / "wheels.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool
