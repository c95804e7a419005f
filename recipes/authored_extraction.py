"""An extractor of the book's own authored sentences, small enough to be handed on.

It knows five kinds of things and six relations, in the wordings of `data.toy_extraction`; names it need not know, since
those of training were disguised. CoNLL04's news would make a more useful one, but nobody may hand on its sentences, and
nothing says that weights may be which were fitted to them: `recipes/conll04.py` trains that one within minutes for
whoever has the data.

    OMP_NUM_THREADS=1 python -m transformer_lib train recipes/authored_extraction.py --seed 0
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.toy_extraction import KINDS, RELATIONS, sentences
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import load_examples
from transformer_lib.tasks.extraction import EntityRelationExtractor, extraction_batches, train_tokenizer
from transformer_lib.tasks.extraction_model import Batch, ExtractionConfig, ExtractionModel, extraction_losses
from transformer_lib.tasks.mentions import disguised
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.loss import LossSum
from transformer_lib.training.schedule import warmup_cosine

NAME = "authored-extraction"
OPTIONS = {"epochs": "6"}
LIMITS = "this model has learned authored sentences on six relations: it is for trying out, not for real text"

ENCODER = ModelConfig(
    vocab_size=512,
    d_model=96,
    num_layers=2,
    max_length=256,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=256),
    positions=Rope(),
    norm=Norm(kind="rms"),
)


def run(run: Run) -> dict[str, Any]:
    """Strict F1 of entities and relations in new wordings, half with new names, and for verbs it never saw."""
    train, validation, test = (load_examples("authored extraction", split) for split in ("train", "validation", "test"))
    torch.manual_seed(run.seed)
    config = ExtractionConfig(encoder=ENCODER, kinds=KINDS, relations=tuple(RELATIONS))
    model = ExtractionModel(config).to(run.device)
    extractor = EntityRelationExtractor(model, train_tokenizer(train, ENCODER.vocab_size))
    batches = extraction_batches(train, extractor, token_budget=512, seed=run.seed, change=disguised(0.3))
    held_out = list(extraction_batches(validation, extractor, token_budget=4096, seed=0, epochs=1))
    steps = int(run.options["epochs"]) * batches.per_epoch
    config_of_run = TrainConfig(
        steps=steps,
        learning_rate=partial(warmup_cosine, warmup=steps // 10, total=steps, peak=0.001),
        betas=(0.9, 0.99),
        seed=run.seed,
        eval_every=batches.per_epoch,
        checkpoint_every=batches.per_epoch,
    )
    facts = run.train(extractor.model, loss, batches, config_of_run, held_out=held_out)
    return facts | finish(run, extractor, test)


def loss(model: nn.Module, batch: Batch) -> LossSum:
    """All nats of tags and relations, for each word."""
    return extraction_losses(model, batch).together()


def finish(run: Run, extractor: EntityRelationExtractor, test: Any) -> dict[str, Any]:
    """Round the weights to what is saved, score, and save the model as `model` in the run's folder."""
    if not run.is_first:
        return {}
    extractor.model.to(torch.float16).to(torch.float32).eval()
    record = extractor.evaluate(test)
    folder = run.model_folder()
    evaluation = {"data": "authored extraction", "split": "test", "limits": LIMITS}
    extractor.save(folder, evaluation=evaluation, record=record, dtype=torch.float16)
    return {
        "new verbs": extractor.evaluate(sentences(300, group="new word", names="known", seed=7)),
        "test": record,
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }
