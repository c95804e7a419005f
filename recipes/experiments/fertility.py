"""How many tokens does a text cost in each language, in vocabularies that have been published?

Django's messages, the same ones in English, German, Russian, Hindi and Chinese, each as its translators wrote it, and
lines of Python's standard library. Two vocabularies cut them: the 32,000 pieces of Mistral 7B of 2023 (BPE of
SentencePiece, with single bytes for what it does not know), and the 131,072 of Tekken, Mistral's of 2024 (byte-level
BPE); `bytes` is UTF-8 itself. A seed draws half of the messages, or of the lines.

`per character`, `per word` and `per byte` are tokens; a word is what stands between white space, so for Chinese `per
word` is left out. `against English` is the number of tokens over that of the same messages in English. The vocabularies
and messages are those of `make wheels`.
"""

import ast
import base64
import importlib.util
import json
import random
import re
import zipfile
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import regex
import sentencepiece

from transformer_lib.data.corpora import stdlib_source
from transformer_lib.runs.experiment import Experiment

LANGUAGES = {"English": "", "German": "de", "Russian": "ru", "Hindi": "hi", "Chinese": "zh_Hans"}
STRING = r'((?:"(?:[^"\\\n]|\\.)*"\n?)+)'
MESSAGE = re.compile(rf"^msgid {STRING}msgstr {STRING}", re.MULTILINE)


@cache
def wheels() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "wheels.py"
    spec = importlib.util.spec_from_file_location("wheels", path)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def wheel(package: str) -> zipfile.ZipFile:
    [name] = [name for name in wheels().WHEELS if name.startswith(package)]
    return zipfile.ZipFile(wheels().folder() / name)


@cache
def messages() -> dict[str, list[str]]:
    """The messages that all five languages have, in the same order, and under `code` lines of source."""
    found: dict[str, dict[str, str]] = {}
    with wheel("django") as django:
        names = sorted(django.namelist())
        for language, code in list(LANGUAGES.items())[1:]:
            texts = [django.read(n).decode() for n in names if re.search(f"/locale/{code}/LC_MESSAGES/.*po$", n)]
            # A marked ("fuzzy") translation is a guess of the program that made the file.
            entries = [part for text in texts for part in text.split("\n\n") if "#, fuzzy" not in part]
            pairs = [match.groups() for part in entries for match in MESSAGE.finditer(part + "\n")]
            plain = [["".join(map(ast.literal_eval, each.splitlines())) for each in pair] for pair in pairs]
            found[language] = {english: text for english, text in plain if english and text and english != text}
    common = sorted(set.intersection(*map(set, found.values())))
    code = [line for part in stdlib_source("small") for document in part for line in document.text.split("\n") if line]
    return {"English": common, **{name: [texts[e] for e in common] for name, texts in found.items()}, "code": code}


@cache
def counter(vocabulary: str) -> Callable[[str], int]:
    """The function that gives the number of tokens of a text."""
    if vocabulary == "bytes":
        return lambda text: len(text.encode())
    with wheel("mistral_common") as mistral:
        if vocabulary == "Mistral 7B":
            model = mistral.read("mistral_common/data/tokenizer.model.v1")
            processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            return lambda text: len(processor.encode(text))
        record = json.loads(mistral.read("mistral_common/data/tekken_240911.json"))
    size = record["config"]["default_vocab_size"] - record["config"]["default_num_special_tokens"]
    ranks = {base64.b64decode(each["token_bytes"]): each["rank"] for each in record["vocab"][:size]}
    pattern = regex.compile(record["config"]["pattern"])
    return lambda text: sum(pieces(chunk.encode(), ranks) for chunk in pattern.findall(text))


def pieces(chunk: bytes, ranks: dict[bytes, int]) -> int:
    """How many tokens byte-level BPE makes of a chunk: the pair of the lowest rank is joined, until none is left."""
    parts = [bytes([value]) for value in chunk]
    while len(parts) > 1:
        joined = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        best = min(range(len(joined)), key=joined.__getitem__)
        if joined[best] == len(ranks):
            break
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return len(parts)


def run(seed: int, vocabulary: str, language: str) -> dict[str, Any]:
    texts = messages()[language]
    drawn = random.Random(seed).sample(range(len(texts)), len(texts) // 2)
    count, mine = counter(vocabulary), [texts[i] for i in drawn]
    tokens = sum(map(count, mine))
    measured: dict[str, Any] = {
        "per character": tokens / sum(map(len, mine)),
        "per byte": tokens / sum(len(text.encode()) for text in mine),
    }
    if language != "Chinese":
        measured["per word"] = tokens / sum(len(text.split()) for text in mine)
    if language != "code":
        measured["against English"] = tokens / sum(count(messages()["English"][i]) for i in drawn)
    return measured | {"texts": len(mine)}


EXPERIMENT = Experiment(
    arms={
        f"{vocabulary}, {language}": {"vocabulary": vocabulary, "language": language}
        for vocabulary in ("bytes", "Mistral 7B", "Tekken")
        for language in (*LANGUAGES, "code")
    },
    run=run,
    data=messages,
)
