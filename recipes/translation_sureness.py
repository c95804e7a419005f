"""What does a translator's own probability tell of its mistakes? The threshold below which it says that it is unsure.

Nothing is trained: the translator of `recipes/models` translates validation and test, and the threshold is chosen on
validation (`tasks.sureness` says how, and what is called wrong). The run saves the model with its threshold.

    OMP_NUM_THREADS=1 python -m transformer_lib train recipes/translation_sureness.py
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import load_examples
from transformer_lib.tasks.saved import read_about
from transformer_lib.tasks.sureness import judge, sureness, unsure_below
from transformer_lib.tasks.translation import Translator

NAME = "sureness-tatoeba-en-zh"
OPTIONS: dict[str, str] = {}
MODEL = Path(__file__).parent / "models" / "tatoeba-en-zh"


def run(run: Run) -> dict[str, Any]:
    """The threshold, and what it tells on validation and on the test."""
    translator, about = Translator.load(MODEL, device=run.device), read_about(MODEL)
    judged = {split: judge(translator, load_examples("tatoeba en-zh", split)) for split in ("validation", "test")}
    threshold = unsure_below(judged["validation"])
    assert threshold is not None
    threshold = round(threshold, 3)
    replace(translator, unsure_below=threshold).save(
        run.model_folder(), evaluation=about["evaluation"], record=about["record"], dtype=torch.float16
    )
    return {"threshold": threshold} | {split: sureness(found, threshold) for split, found in judged.items()}
