"""Which part of disguising names makes a model take unknown verbs for names: the look of what is put in, or its place?

The training is that of `names` with its names disguised, same data, seeds and budget: three in ten words of the names
are replaced, anew each time a sentence comes up, and the rate is tuned alike. There they become random letters. Here
"syllables" puts in syllables instead, which look like a name, so that nothing but the look is another. "other words
too" keeps the random letters, and puts them in the place of one in ten of the small words outside the names as well,
so that not all that is unknown in training is a name. Measured are F1 of entities and relations, as a share of 1, and
sorts of wrong entities in 200 sentences: among new names, and where each relation is told by a verb that training never
had. `validation`, by which a rate is chosen, is 1 less the F1 of relations on other sentences, of which half have new
names and all new wordings.
"""

from collections import Counter
from functools import cache, partial
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.examples import Annotated, Splits
from transformer_lib.data.toy_extraction import KINDS, PARTS, RELATIONS, Group, Names, sentences, splits
from transformer_lib.runs.experiment import Experiment
from transformer_lib.tasks.extraction import EntityRelationExtractor, extraction_batches, scores, train_tokenizer
from transformer_lib.tasks.extraction_errors import ENTITY_ERRORS, entity_errors
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel, extraction_losses
from transformer_lib.tasks.mentions import Change, disguised, rename
from transformer_lib.training import TrainConfig, train, warmup_cosine

V, STEPS = 512, 800
CHOICE_SEEDS = (100,)
SETS: dict[str, tuple[Group, Names, int]] = {
    "new names": ("train", "held out", 71),
    "new words": ("new word", "known", 74),
}
SHARE, OTHERS = 0.3, 0.1  # of the words of names, and of other words
SOUNDS = """
    al an ar ba bel ben bo bri ca cas con da dan del do dor e el en fa fen fi ga gar go ha hal hen i in is ja
    jo ka ken kor la lan li lo ma man mi mon na ni o or pa pel po ra ri ron sa san sel so ta ten ti tor u va
    ven vi wa wen wil
"""
SYLLABLES = SOUNDS.split()
HELD_OUT = tuple(name for beginnings, _ in PARTS.values() for name in beginnings.partition(" | ")[2].split())


@cache
def world() -> tuple[Splits, dict[str, tuple[Annotated, ...]]]:
    """What is trained on and chosen by, and the sets to measure on; the same sentences as in `names`."""
    data = splits(train=3000)
    seen = {example.words for example in data.train}
    tests = {
        name: tuple(x for x in sentences(220, group=group, names=names, seed=seed) if x.words not in seen)[:200]
        for name, (group, names, seed) in SETS.items()
    }
    return data, tests


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
    inside = {i for _, start, end in example.entities for i in range(start, end)}

    def other(place: int, word: str) -> str:
        if place in inside or not word.islower() or torch.rand(()) >= OTHERS:
            return word
        return "".join(chr(ord("a") + letter) for letter in torch.randint(26, (len(word),)).tolist())

    return example._replace(words=tuple(other(place, word) for place, word in enumerate(example.words)))


CHANGES: dict[str, Change] = {"letters": disguised(SHARE), "syllables": renamed, "letters everywhere": all_disguised}


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


def run(seed: int, rate: float, change: str) -> dict[str, Any]:
    data, tests = world()
    extractor = new_extractor(seed)
    batches = extraction_batches(data.train, extractor, token_budget=512, seed=seed, change=CHANGES[change])
    schedule = partial(warmup_cosine, warmup=STEPS // 10, total=STEPS, peak=rate)
    config = TrainConfig(steps=STEPS, learning_rate=schedule, betas=(0.9, 0.99), progress=False, seed=seed)
    train(extractor.model, lambda model, batch: extraction_losses(model, batch).together(), batches, config)
    measured: dict[str, Any] = {"validation": 1 - extractor.evaluate(data.validation)["relations"]["f1"]}
    if seed in CHOICE_SEEDS:
        return measured
    for name, part in tests.items():
        found = extractor([example.words for example in part])
        scored = scores(found, part)
        measured |= {f"{name}: {what}": scored[what]["f1"] for what in ("entities", "relations")}
        counts = Counter(error for pair in zip(found, part, strict=True) for error in entity_errors(*pair))
        measured |= {f"{name}: entity errors, {error}": counts[error] for error in ENTITY_ERRORS}
    return measured


EXPERIMENT = Experiment(
    arms={
        "syllables": {"change": "syllables"},
        "other words too": {"change": "letters everywhere"},
    },
    run=run,
    rates=(0.0005, 0.001, 0.002),
    chosen_by="validation",
    choice_seeds=CHOICE_SEEDS,
    data=world,
)
