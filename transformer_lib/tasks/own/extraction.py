"""An extractor of own annotated sentences: entities, and relations where there are any.

    python -m transformer_lib train extraction --data sentences.jsonl --out my-extractor
    python -m transformer_lib train extraction --data sentences.jsonl --out my-extractor --from an-encoder --tune lora

The first is made from scratch, the second goes on from an encoder that has read much text (`starting.py`). What LoRA
adds to an encoder of Hugging Face's is also saved as an adapter for peft, with the head of the tags; relations, which
no model of theirs has, are in the model alone.
"""

from typing import Any

import torch
from torch import nn

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated
from transformer_lib.models.classifiers import TokenClassifier
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import OWN
from transformer_lib.tasks.extraction import EntityRelationExtractor, cut_words, extraction_batches
from transformer_lib.tasks.extraction_model import Batch, ExtractionConfig, ExtractionModel, extraction_losses
from transformer_lib.tasks.mentions import disguised, swapped
from transformer_lib.tasks.own.adapting import Tuning, adapt, all_targets, base_of, conclude, known_by
from transformer_lib.tasks.own.material import OPTIONS as SHARED
from transformer_lib.tasks.own.material import Material, number_of, size_named
from transformer_lib.tasks.own.starting import extraction_from, read_start
from transformer_lib.tasks.own.training import layers_of, train_own
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.loss import LossSum

NAME = "extraction"
OPTIONS = SHARED
MAX_LENGTH = 512  # tokens of a sentence; longer ones are not trained on
SIZES = {
    "small": (1024, 128, 3, 0.2, 70),
    "medium": (4096, 192, 4, 0.2, 30),
}  # vocabulary, width, layers, dropout, epochs
EPOCHS_FROM = 20  # of an encoder that was trained before


def train_on_sentences(run: Run) -> dict[str, Any]:
    """Strict F1 on the test, the number of sentences on each side, and the facts of the training."""
    material = Material.of(run, ["columns", "offsets"])
    train, validation, test = (list(material.examples(split)) for split in ("train", "validation", "test"))
    kinds = sorted({entity.kind for example in train for entity in example.entities})
    require(len(kinds) > 0, "data", "must have entities in the sentences to train on", kinds)
    relations = sorted({relation.kind for example in train for relation in example.relations})
    torch.manual_seed(run.seed)
    beginning = _fresh if not run.options["from"] else _adapted
    extractor, tuning, epochs = beginning(run, train, kinds, relations)
    run = known_by(run, extractor.model) if run.options["from"] else run
    swap, disguise = swapped(train, 0.5), disguised(0.2)
    learned, held_out = (_readable(part, extractor) for part in (train, validation))
    batches = extraction_batches(
        learned, extractor, token_budget=1024, seed=run.seed, change=lambda example: disguise(swap(example))
    )
    checks = list(extraction_batches(held_out, extractor, token_budget=4096, seed=0, epochs=1))
    facts = train_own(
        run,
        extractor.model,
        word_loss,
        batches,
        checks,
        steps_per_epoch=batches.per_epoch,
        epochs=epochs,
        peak=tuning.peak,
        rates=tuning.rates,
    )
    if run.options["from"]:
        conclude(run, tagger_of(extractor.model), base_of(run.options))
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    left_out = len(train) + len(validation) - len(learned) - len(held_out)
    return facts | {"examples": counts, "left_out": left_out} | _finish(run, extractor, test)


run = train_on_sentences  # what a recipe is asked for


def _fresh(
    run: Run, train: list[Annotated], kinds: list[str], relations: list[str]
) -> tuple[EntityRelationExtractor, Tuning, int]:
    """An extractor from scratch, as large as the data allow, its rate, and how long it learns."""
    usual = "small" if len(train) < 5_000 else "medium"
    vocab, width, layers, dropout, epochs = SIZES[size_named(run.options, SIZES, usual)]
    texts = [" " + " ".join(example.words) for example in train]
    tokenizer = Tokenizer.train(texts, number_of(run.options, "vocab", vocab), at_most=True)
    encoder = layers_of(
        tokenizer.vocab_size, width=width, layers=layers, d_ff=8 * width // 3, max_length=MAX_LENGTH, dropout=dropout
    )
    config = ExtractionConfig(encoder=encoder, kinds=tuple(kinds), relations=tuple(relations))
    model = ExtractionModel(config).to(run.device)
    return EntityRelationExtractor(model, tokenizer), Tuning(0.003, {}, []), epochs


def _adapted(
    run: Run, train: list[Annotated], kinds: list[str], relations: list[str]
) -> tuple[EntityRelationExtractor, Tuning, int]:
    """An extractor on an encoder that was trained before."""
    base = base_of(run.options)
    start = read_start(base)
    model, new = extraction_from(start, kinds, relations)
    assert isinstance(model, ExtractionModel)
    tuning = adapt(model, run.options, new=new, targets=all_targets(model.encoder, base, run.options))
    return EntityRelationExtractor(model.to(run.device), start.tokenizer), tuning, EPOCHS_FROM


@checked
def tagger_of(model: ExtractionModel) -> TokenClassifier:
    """The same encoder and head of tags as the model of which transformers knows the like; it has no relations."""
    with torch.device("meta"):
        tagger = TokenClassifier(model.config.encoder, model.config.tags)
    tagger.encoder, tagger.head = model.encoder, model.to_tags
    return tagger


@checked
def word_loss(model: nn.Module, batch: Batch) -> LossSum:
    """All nats of tags and relations, for each word."""
    return extraction_losses(model, batch).together()


def _finish(run: Run, extractor: EntityRelationExtractor, test: list[Annotated]) -> dict[str, Any]:
    """Score the weights as they are saved, and save them."""
    if not run.is_first:
        return {}
    extractor.model.to(torch.float16).to(torch.float32).eval()
    record = extractor.evaluate(test) if test else {}
    if not extractor.model.config.relations:
        record.pop("relations", None)  # there are none to be found, which is no score of 0
    extractor.save(run.model_folder(), evaluation={"data": OWN}, record=record, dtype=torch.float16)
    return {"test": record}


def _readable(examples: list[Annotated], extractor: EntityRelationExtractor) -> list[Annotated]:
    """Those with words, and not too many, of kinds that the model knows."""
    config = extractor.model.config
    kept = []
    for example in examples:
        known = all(entity.kind in config.kinds for entity in example.entities)
        known = known and all(relation.kind in config.relations for relation in example.relations)
        if known and 1 <= sum(map(len, cut_words(example.words, extractor.tokenizer))) <= extractor.room:
            kept.append(example)
    return kept
