"""How likely is an answer right? Probabilities for the answerer of `recipes/models`, fitted on validation.

Nothing is trained: the scores of the stored model become probabilities by Platt scaling, and the test says how far
these can be believed, beside the sigmoid of the plain score, which would be a probability if the reader were
calibrated. The validation's wordings are others than those of training and of the test, as a user's will be. The run
saves the model with its calibration.

    OMP_NUM_THREADS=1 python -m transformer_lib train recipes/answer_calibration.py
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transformer_lib.data.toy_questions import questions
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.answer_calibration import calibrate, calibration_on
from transformer_lib.tasks.calibration import Platt
from transformer_lib.tasks.evaluation import AUTHORED
from transformer_lib.tasks.question_answering import QuestionAnswerer
from transformer_lib.tasks.saved import read_about

NAME = "calibration-authored-answers"
OPTIONS: dict[str, str] = {}
MODEL = Path(__file__).parent / "models" / "authored-answers"


def run(run: Run) -> dict[str, Any]:
    """The calibration and, on each held-out set, the expected calibration error with the points of the curve."""
    data = questions(**AUTHORED | {"train": 1})
    answerer = calibrate(QuestionAnswerer.load(MODEL, device=run.device), data.validation)
    assert answerer.calibration is not None
    plain = replace(answerer, calibration=Platt(1.0, 0.0))
    about = read_about(MODEL)
    answerer.save(run.model_folder(), evaluation=about["evaluation"], record=about["record"], dtype=torch.float16)
    return {
        "calibration": answerer.calibration._asdict(),
        "validation": calibration_on(answerer, data.validation),
        "test": calibration_on(answerer, data.test),
        "combinations": calibration_on(answerer, data.combinations),
        "test, plain score": calibration_on(plain, data.test),
    }
