"""CoNLL04: people, places and organisations in news, and how they stand to each other, by an encoder from scratch.

922 sentences are very few, and nothing else is known to this model: no word vectors, no pre-training. Other names in
the same sentences, dropout and the mean of the last checkpoints are what keeps it from learning them by heart. The
score is strict: an entity counts with its kind and both its ends, a relation with both its entities and its direction.
It is trained on the train split alone; validation only says how many of the last checkpoints are averaged.

    OMP_NUM_THREADS=1 python -m transformer_lib train recipes/conll04.py --seed 0

Data: Roth and Yih (2004), in the split of Gupta et al. (2016).
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.examples import Annotated, Splits
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import load_examples
from transformer_lib.tasks.extraction import EntityRelationExtractor, extraction_batches, train_tokenizer
from transformer_lib.tasks.extraction_model import Batch, ExtractionConfig, ExtractionModel, extraction_losses
from transformer_lib.tasks.mentions import disguised, swapped
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.loss import LossSum
from transformer_lib.training.schedule import warmup_stable_decay

NAME = "conll04"
OPTIONS = {"epochs": "70"}
SCORING = {"constrained": True}

ENCODER = ModelConfig(
    vocab_size=1024,
    d_model=128,
    num_layers=3,
    max_length=512,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=336),
    positions=Rope(),
    norm=Norm(kind="rms"),
    dropout=0.2,
)


def run(run: Run) -> dict[str, Any]:
    """Entity and strict relation F1 on validation and test, with the tags constrained and free."""
    splits = Splits(*(tuple(load_examples("conll04", split)) for split in ("train", "validation", "test")))
    extractor = new_extractor(splits.train, run)
    swap, disguise = swapped(splits.train, 0.5), disguised(0.2)
    batches = extraction_batches(
        splits.train, extractor, token_budget=1024, seed=run.seed, change=lambda example: disguise(swap(example))
    )
    held_out = list(extraction_batches(splits.validation, extractor, token_budget=4096, seed=0, epochs=1))
    epochs = int(run.options["epochs"])
    steps = epochs * batches.per_epoch
    config = TrainConfig(
        steps=steps,
        learning_rate=partial(warmup_stable_decay, warmup=steps // 20, decay=steps // 2, total=steps, peak=0.003),
        betas=(0.9, 0.99),
        seed=run.seed,
        eval_every=batches.per_epoch,
        checkpoint_every=batches.per_epoch,
        keep=8,
    )
    facts = run.train(extractor.model, loss, batches, config, held_out=held_out, averages=(1, 4, 8))
    return facts | {"epochs": epochs} | finish(run, extractor, splits)


def new_extractor(train: tuple[Annotated, ...], run: Run) -> EntityRelationExtractor:
    """Tokeniser and kinds from the training sentences, weights from the seed."""
    torch.manual_seed(run.seed)
    config = ExtractionConfig(
        encoder=ENCODER,
        kinds=tuple(sorted({entity.kind for example in train for entity in example.entities})),
        relations=tuple(sorted({relation.kind for example in train for relation in example.relations})),
    )
    model = ExtractionModel(config).to(run.device)
    return EntityRelationExtractor(model, train_tokenizer(train, ENCODER.vocab_size))


def loss(model: nn.Module, batch: Batch) -> LossSum:
    """All nats of tags and relations, for each word."""
    return extraction_losses(model, batch).together()


def finish(run: Run, extractor: EntityRelationExtractor, splits: Splits) -> dict[str, Any]:
    """Round the weights to what is saved, score, and save the model in the run's folder."""
    if not run.is_first:
        return {}
    extractor.model.to(torch.float16).to(torch.float32).eval()
    record = extractor.evaluate(splits.test, **SCORING)
    results = {
        "validation": extractor.evaluate(splits.validation, **SCORING),
        "test_free_tags": extractor.evaluate(splits.test, constrained=False),
        "test": record,
        "test_unknown_words": unknown_words(splits),
    }
    folder = run.model_folder()
    evaluation = {"data": "conll04", "split": "test", **SCORING}
    extractor.save(folder, evaluation=evaluation, record=record, dtype=torch.float16)
    return results | {"bytes": sum(file.stat().st_size for file in folder.iterdir())}


def unknown_words(splits: Splits) -> dict[str, float]:
    """The share of the words of the test that training lacks, and of its sentences with at least one such word."""
    known = {word for example in splits.train for word in example.words}
    unknown = [[word not in known for word in example.words] for example in splits.test]
    return {
        "words": sum(map(sum, unknown)) / sum(map(len, unknown)),
        "sentences": sum(map(any, unknown)) / len(unknown),
    }
