"""What of a pre-trained encoder should be trained on a small task: all of it, nothing but new heads, or LoRA?

CoNLL04's 922 training sentences are gone through six times by the encoder of `pretraining.py`: with fresh weights, or
after it has guessed hidden tokens of other text. Of the pre-trained one all weights are trained, the two new heads
alone, or the heads and additions of rank 8 to every map of the blocks. One rate serves all that is trained; each arm
tunes it on validation over the same grid. Tokeniser, order of the sentences, schedule and number of steps are the same.
F1 is a share of 1, strict, on the 288 test sentences; `trained` counts the numbers that are trained.
"""

import runpy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from transformer_lib.files import read_text
from transformer_lib.runs.experiment import Experiment
from transformer_lib.tasks.extraction import EntityRelationExtractor, extraction_batches
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel, extraction_losses
from transformer_lib.tasks.mentions import disguised, swapped
from transformer_lib.tasks.own.adapting import adapt, settle
from transformer_lib.training import TrainConfig, train, warmup_cosine

BEFORE_FILE = Path(__file__).with_name("pretraining.py")
BEFORE = runpy.run_path(str(BEFORE_FILE))  # its texts, its tokeniser, its encoder
EPOCHS = 6
HEADS = ("to_tags", "to_relations")
CHOICE_SEEDS = (100,)


def run(seed: int, rate: float, start: str, tune: str) -> dict[str, Any]:
    data = BEFORE["news"]()
    first = BEFORE["pretrained"](seed) if start == "pre-trained" else None
    torch.manual_seed(seed)
    kinds = tuple(sorted({entity.kind for example in data.train for entity in example.entities}))
    relations = tuple(sorted({relation.kind for example in data.train for relation in example.relations}))
    model = ExtractionModel(ExtractionConfig(encoder=BEFORE["ENCODER"], kinds=kinds, relations=relations))
    if first is not None:
        model.encoder.load_state_dict(first)
        adapt(model, {"tune": tune, "rank": "8"}, new=HEADS)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    extractor = EntityRelationExtractor(model, BEFORE["tokenizer"]())
    swap, disguise = swapped(data.train, 0.5), disguised(0.2)
    batches = extraction_batches(
        data.train, extractor, token_budget=1024, seed=seed, change=lambda example: disguise(swap(example))
    )
    steps = EPOCHS * batches.per_epoch
    schedule = partial(warmup_cosine, warmup=steps // 10, total=steps, peak=rate)
    config = TrainConfig(steps=steps, learning_rate=schedule, betas=(0.9, 0.99), progress=False, seed=seed)
    train(model, lambda model, batch: extraction_losses(model, batch).together(), batches, config)
    settle(model)
    held = extractor.evaluate(data.validation)
    measured = {"missed on validation": 1 - (held["entities"]["f1"] + held["relations"]["f1"]) / 2, "trained": trained}
    if seed in CHOICE_SEEDS:
        return measured
    found = extractor.evaluate(data.test)
    return measured | {what: found[what]["f1"] for what in ("entities", "relations")}


EXPERIMENT = Experiment(
    arms={
        "from scratch": {"start": "fresh", "tune": "full"},
        "pre-trained, full": {"start": "pre-trained", "tune": "full"},
        "pre-trained, frozen": {"start": "pre-trained", "tune": "frozen"},
        "pre-trained, LoRA": {"start": "pre-trained", "tune": "lora"},
    },
    run=run,
    rates=(0.0015, 0.003, 0.006),
    chosen_by="missed on validation",
    choice_seeds=CHOICE_SEEDS,
    data=lambda: (BEFORE["news"](), BEFORE["texts"](), read_text(BEFORE_FILE)),
)
