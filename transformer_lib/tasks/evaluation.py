"""Score a saved model again, under the settings that it was scored with, and compare with its record.

`about.json` names the data as here, the split, and the arguments of the task's own `evaluate`; and `limits`, if a user
is to be told what the model is for. Other data is the business of `own/scoring.py`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data import datasets, toy_extraction
from transformer_lib.data.examples import Pair
from transformer_lib.data.toy_grammar import pair
from transformer_lib.data.toy_questions import questions
from transformer_lib.data.toy_translation import meanings
from transformer_lib.device import check_device
from transformer_lib.tasks.saved import read_about

AUTHORED = {"seed": 0, "train": 20_000, "held_out": 1000}  # of `recipes/authored_answers.py`
AUTHORED_EXTRACTION = {"seed": 0, "train": 3000, "validation": 200, "test": 1000}  # of `authored_extraction.py`
OWN = "own"  # data that only its owner has
DATA = (
    *("multi30k de-en", "multi30k en-de", "tatoeba en-zh", "conll04", "wnut17", "xquad en", "xquad zh"),
    *("authored questions", "authored sentences", "authored extraction"),
)


@checked
def load_examples(data: str, split: str = "test") -> Sequence[Any]:
    """The examples of a split ("train", "validation" or "test"; XQuAD has only a test)."""
    require(data in DATA, "data", f"must be one of {DATA}", data)
    splits = ("test",) if data.startswith("xquad") else ("train", "validation", "test")
    require(split in splits, "split", f"must be one of {splits} for {data}", split)
    match data.split():
        case ["multi30k", "de-en"]:
            return getattr(datasets.multi30k(), split)
        case ["multi30k", _]:
            return [Pair(pair.target, pair.source) for pair in getattr(datasets.multi30k(), split)]
        case ["tatoeba", _]:
            return getattr(datasets.tatoeba(), split)
        case ["authored", "sentences"]:
            return [pair(meaning) for meaning in getattr(meanings(0), split)]
        case ["authored", "extraction"]:
            return getattr(toy_extraction.splits(**AUTHORED_EXTRACTION), split)
        case ["authored", _]:
            # The other splits are the same however many there are to train on, and one is made in no time.
            return getattr(questions(**AUTHORED | ({} if split == "train" else {"train": 1})), split)
        case ["xquad", language]:
            return datasets.xquad("en" if language == "en" else "zh")
        case _:
            return getattr(datasets.conll04() if data == "conll04" else datasets.wnut17(), split)


@checked
def score_again(folder: str | Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """`recorded`, `found`, and whether they are the `same`: every number that was recorded, exactly."""
    device = check_device(device)
    about = read_about(folder)
    settings = dict(about["evaluation"])
    rule = "must be scored on files that you name (evaluate --data), since it was trained on somebody's own"
    require(settings.get("data") != OWN, "a model of own data", rule, str(folder))
    settings.pop("limits", None)
    require({"data", "split"} <= settings.keys(), "evaluation", "must name data and split", settings)
    task = load_task(folder, device=device)
    try:
        found = task.evaluate(load_examples(settings.pop("data"), settings.pop("split")), **settings)
    except TypeError as error:
        raise ValueError(f"evaluation must hold arguments of the task's evaluate: {error}") from error
    recorded, found = about["record"], json.loads(json.dumps(found, allow_nan=False))
    return {"recorded": recorded, "found": found, "same": bool(recorded) and recorded == found}


@checked
def load_task(folder: str | Path, *, device: torch.device | str = "cpu") -> Any:
    """The translator, extractor or answerer in `folder`, as its `about.json` says."""
    match task := read_about(folder)["task"]:
        case "translation":
            from transformer_lib.tasks.translation import Translator

            return Translator.load(folder, device=device)
        case "extraction":
            from transformer_lib.tasks.extraction import EntityRelationExtractor

            return EntityRelationExtractor.load(folder, device=device)
        case "question answering":
            from transformer_lib.tasks.question_answering import QuestionAnswerer

            return QuestionAnswerer.load(folder, device=device)
        case _:
            raise ValueError(f"task must be one that can be scored, got {task!r}")
