"""Does a model that finds names and relations know the names by heart, and does disguising them in training cure it?

An encoder of two layers learns 3,000 authored sentences, 800 steps, with the names as they are or, each time a
sentence comes up, with three in ten words of the names replaced by random letters; each with its rate tuned alike. It
is tested on five sets: known wordings and names, new names, new wordings, both, and verbs that training never had.
Every F1 is a share of 1. `found` is the share of true relations that are found, by how
many entities stand between the two; `crowd` the F1 of relations by how many entities the sentence has, 2 to 7 or more;
both leave the new verbs out. `entities free` are those of tags that each word chooses for itself, and `contradictions`
the share of sentences whose free tags cannot stand together. `validation`, by which a rate is chosen, is 1 less the F1
of relations on sentences of which half have new names and all new wordings.
"""

from collections import Counter, defaultdict
from functools import cache, partial
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.examples import Annotated, Splits
from transformer_lib.data.toy_extraction import KINDS, RELATIONS, sentences, splits
from transformer_lib.runs.experiment import Experiment
from transformer_lib.tasks.extraction import (
    EntityRelationExtractor,
    cut_words,
    extraction_batches,
    named_relations,
    scores,
    train_tokenizer,
)
from transformer_lib.tasks.extraction_errors import entity_errors, relation_errors
from transformer_lib.tasks.extraction_model import (
    ExtractionConfig,
    ExtractionModel,
    collate_sentences,
    extraction_losses,
)
from transformer_lib.tasks.mentions import disguised
from transformer_lib.tasks.metrics import strict_f1
from transformer_lib.tasks.tagging import allowed_steps
from transformer_lib.training import TrainConfig, train, warmup_cosine

V, STEPS = 512, 800
SETS = {
    "known": ("train", "known"),
    "new names": ("train", "held out"),
    "new wordings": ("recombined", "known"),
    "both new": ("recombined", "held out"),
    "new words": ("new word", "known"),
}
CROWDS = range(2, 8)
CHOICE_SEEDS = (100,)
Pairs = list[tuple[Annotated, Annotated]]


@cache
def world() -> tuple[Splits, dict[str, tuple[Annotated, ...]]]:
    """What is trained on and chosen by, and the five sets, none of whose sentences is trained on."""
    data = splits(train=3000)
    seen = {example.words for example in data.train}
    tests = {
        name: tuple(x for x in sentences(220, group=group, names=names, seed=70 + i) if x.words not in seen)[:200]
        for i, (name, (group, names)) in enumerate(SETS.items())
    }
    assert all(len(part) == 200 for part in tests.values())
    return data, tests


def new_extractor(seed: int) -> EntityRelationExtractor:
    torch.manual_seed(seed)
    encoder = ModelConfig(
        vocab_size=V,
        d_model=96,
        num_layers=2,
        max_length=256,
        attention=AttentionConfig(num_heads=4),
        feedforward=SwiGlu(d_ff=256),
        positions=Rope(),
        norm=Norm(kind="rms"),
    )
    config = ExtractionConfig(encoder=encoder, kinds=KINDS, relations=tuple(RELATIONS))
    return EntityRelationExtractor(ExtractionModel(config), train_tokenizer(world()[0].train, V))


def run(seed: int, rate: float, disguise: float) -> dict[str, Any]:
    data, tests = world()
    extractor = new_extractor(seed)
    batches = extraction_batches(data.train, extractor, token_budget=512, seed=seed, change=disguised(disguise))
    schedule = partial(warmup_cosine, warmup=STEPS // 10, total=STEPS, peak=rate)
    config = TrainConfig(steps=STEPS, learning_rate=schedule, betas=(0.9, 0.99), progress=False, seed=seed)
    train(extractor.model, lambda model, batch: extraction_losses(model, batch).together(), batches, config)
    chosen = extractor.evaluate(data.validation)["relations"]["f1"]
    measured: dict[str, Any] = {"validation": 1 - chosen}
    if seed in CHOICE_SEEDS:
        return measured
    known_verbs: Pairs = []
    for name, part in tests.items():
        found = extractor([example.words for example in part])
        pairs = list(zip(found, part, strict=True))
        constrained, free = scores(found, part), extractor.evaluate(part, constrained=False)
        given = scores(extractor.relate(part), part)
        measured |= {
            f"{name}: entities": constrained["entities"]["f1"],
            f"{name}: relations": constrained["relations"]["f1"],
            f"{name}: relations given entities": given["relations"]["f1"],
            f"{name}: entities free": free["entities"]["f1"],
            f"{name}: relations free": free["relations"]["f1"],
            f"{name}: contradictions": contradicting(extractor, part),
        }
        for what, sort in (("entity", entity_errors), ("relation", relation_errors)):
            counts = Counter(error for pair in pairs for error in sort(*pair))
            measured |= {f"{name}: {what} errors, {error}": counts[error] for error in SORTS[what]}
        if name != "new words":
            known_verbs += pairs
    for between, share in enumerate(found_by_distance(known_verbs)):
        measured[f"found, {between} between"] = share
    for count, f1 in zip(CROWDS, f1_by_crowd(known_verbs), strict=True):
        measured[f"crowd, {count} entities"] = f1
    return measured


SORTS = {
    "entity": ("boundary", "kind", "invented", "missed"),
    "relation": ("entity", "turned round", "kind", "wrong partner", "not said", "missed"),
}


@torch.no_grad()
def contradicting(extractor: EntityRelationExtractor, examples: tuple[Annotated, ...]) -> float:
    """The share of sentences in which the best tag of each word, taken alone, is not an allowed sequence."""
    model = extractor.model.eval()
    first, following, last = allowed_steps(model.config.tags)
    pieces = [cut_words(example.words, extractor.tokenizer) for example in examples]
    paths = model.to_tags(model.read(collate_sentences(pieces))).argmax(-1)

    def stands(path: torch.Tensor) -> bool:
        return bool(first[path[0]] and last[path[-1]] and following[path[:-1], path[1:]].all())

    rows = zip(paths, pieces, strict=True)
    return sum(not stands(path[: len(words)]) for path, words in rows) / len(examples)


def found_by_distance(pairs: Pairs) -> list[float]:
    """The share of true relations that are found, with 0, 1, 2, and 3 or more entities between head and tail."""
    hits = defaultdict(list)
    for found, gold in pairs:
        ours, order = named_relations(found), sorted(gold.entities, key=lambda entity: entity.start)
        for relation in named_relations(gold):
            between = abs(order.index(relation[1]) - order.index(relation[2])) - 1
            hits[min(between, 3)].append(relation in ours)
    return [sum(hits[between]) / len(hits[between]) for between in range(4)]


def f1_by_crowd(pairs: Pairs) -> list[float]:
    """The F1 of relations of sentences with so many entities."""
    groups = defaultdict(list)
    for pair in pairs:
        groups[min(len(pair[1].entities), CROWDS[-1])].append([named_relations(example) for example in pair])
    return [strict_f1(*zip(*groups[count], strict=True)).f1 for count in CROWDS]


EXPERIMENT = Experiment(
    arms={
        "as they are": {"disguise": 0.0},
        "disguised": {"disguise": 0.3},
    },
    run=run,
    rates=(0.002, 0.004, 0.008),
    chosen_by="validation",
    choice_seeds=CHOICE_SEEDS,
    data=world,
)
