"""Does a model that finds names and relations know the names by heart, and does disguising them in training cure it?

An encoder of two layers learns 3,000 authored sentences, 800 steps, with the names as they are or changed anew each
time a sentence comes up. "disguised" replaces three in ten words of the names by random letters. "syllables" replaces
as many by syllables that look like a name, so these two differ in nothing but the look of what is put in. "other words
too" is "disguised" with one in ten of the small words outside the names replaced by random letters as well, so that not
all that is unknown in training is a name. Rates are tuned alike. The model is tested on five sets: known wordings and
names, new names, new wordings, both, and verbs that training never had. Every F1 is a share of 1. `unknown taken` is,
of the small words outside all names that training never had, the share that stands inside a name that is found; `known
taken` the same of the other small words. `found` is the share of true relations that are found, by how many entities
stand between the two; `crowd` the F1 of relations by how many entities the sentence has, 2 to 7 or more; both leave the
new verbs out. `entities free` are those of tags that each word chooses for itself, and `contradictions` the share of
sentences whose free tags cannot stand together. `validation`, by which a rate is chosen, is 1 less the F1 of relations
on sentences of which half have new names and all new wordings.
"""

from collections import Counter, defaultdict
from functools import cache, partial
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.examples import Annotated, Splits
from transformer_lib.data.toy_extraction import KINDS, PARTS, RELATIONS, sentences, splits
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
from transformer_lib.tasks.mentions import Change, disguised, rename
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
SHARE, OTHERS = 0.3, 0.1  # of the words of names, and of other words
SOUNDS = """
    al an ar ba bel ben bo bri ca cas con da dan del do dor e el en fa fen fi ga gar go ha hal hen i in is ja
    jo ka ken kor la lan li lo ma man mi mon na ni o or pa pel po ra ri ron sa san sel so ta ten ti tor u va
    ven vi wa wen wil
"""
SYLLABLES = SOUNDS.split()
HELD_OUT = tuple(name for beginnings, _ in PARTS.values() for name in beginnings.partition(" | ")[2].split())
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


def syllables(length: int) -> str:
    """A word of this length that looks like a name and begins like none of those that are held out."""
    while True:
        drawn = torch.randint(len(SYLLABLES), (length,)).tolist()
        word = "".join(SYLLABLES[i] for i in drawn)[:length].capitalize()
        if not word.startswith(HELD_OUT):
            return word


def renamed(example: Annotated) -> Annotated:
    """What `disguised` does, with syllables instead of letters."""

    def other(word: str) -> str:
        return syllables(len(word)) if word[:1].isupper() and torch.rand(()) < SHARE else word

    return rename(example, lambda _, words: tuple(map(other, words)))


def all_disguised(example: Annotated) -> Annotated:
    """What `disguised` does, and to some of the small words outside the names as well."""
    example = disguised(SHARE)(example)
    words = list(example.words)
    for place in small_words(example):
        if torch.rand(()) < OTHERS:
            letters = torch.randint(26, (len(words[place]),)).tolist()
            words[place] = "".join(chr(ord("a") + letter) for letter in letters)
    return example._replace(words=tuple(words))


def small_words(example: Annotated) -> list[int]:
    """The places of the words in small letters that no entity holds."""
    inside = {i for _, start, end in example.entities for i in range(start, end)}
    return [i for i, word in enumerate(example.words) if word.islower() and i not in inside]


CHANGES: dict[str, Change] = {
    "nothing": disguised(0.0),
    "letters": disguised(SHARE),
    "syllables": renamed,
    "letters, also elsewhere": all_disguised,
}


def run(seed: int, rate: float, change: str) -> dict[str, Any]:
    data, tests = world()
    extractor = new_extractor(seed)
    batches = extraction_batches(data.train, extractor, token_budget=512, seed=seed, change=CHANGES[change])
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
        measured |= {f"{name}: {what} taken": share for what, share in taken_for_names(pairs).items()}
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


def taken_for_names(pairs: Pairs) -> dict[str, float]:
    """The share of the small words outside all true names that stand inside a name that is found."""
    vocabulary = {word for example in world()[0].train for word in example.words}
    hits = defaultdict(list)
    for found, gold in pairs:
        ours = {i for _, start, end in found.entities for i in range(start, end)}
        for place in small_words(gold):
            hits["known" if gold.words[place] in vocabulary else "unknown"].append(place in ours)
    return {what: sum(taken) / len(taken) for what, taken in hits.items()}


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
        "as they are": {"change": "nothing"},
        "disguised": {"change": "letters"},
        "syllables": {"change": "syllables"},
        "other words too": {"change": "letters, also elsewhere"},
    },
    run=run,
    rates=(0.001, 0.002, 0.004),
    chosen_by="validation",
    choice_seeds=CHOICE_SEEDS,
    data=world,
)
