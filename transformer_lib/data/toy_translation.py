"""Authored data: English sentences with their Chinese translation, and combinations that training never shows.

Sentences are drawn at random from the grammar of `toy_grammar`, each once. Two questions can be asked of a model:
the test split is new sentences; the held-out split is new combinations, as a verb that training has in the active only.
All words of it occur in training, and so does the construction, with other words.

Below stand the shortcuts: translations by means that know nothing of grammar, as a floor for every score.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.examples import Pair
from transformer_lib.data.toy_grammar import (
    GAP,
    Clause,
    Description,
    Meaning,
    Phrase,
    alignment,
    chinese_words,
    english_words,
)
from transformer_lib.data.toy_lexicon import ADJECTIVES, ANY, BA, KINDS, NOUNS, PASSIVE, PLACES, TIMES, VERBS, Verb
from transformer_lib.data.toy_meaning import check_meaning

# What training lacks: these verbs in the passive, these with 把, these nouns with a relative clause, these adjectives
# with this noun.
HELD_OUT = {
    "passive": frozenset({"lose", "wash", "praise", "lend to"}),
    "ba": frozenset({"burn", "borrow", "close", "repair"}),
    "relative": frozenset({"doctor", "horse", "umbrella", "novel"}),
    "adjective": frozenset({"interesting book", "new computer", "old cat", "young farmer"}),
}
MOST_MEANINGS = 1_000_000


@checked
class Meanings(NamedTuple):
    """To train on, to choose by, and two ways to measure; no meaning is in two of them."""

    train: tuple[Meaning, ...]
    validation: tuple[Meaning, ...]
    test: tuple[Meaning, ...]
    held_out: tuple[Meaning, ...]


@checked
def meanings(
    seed: int = 0, *, train: int = 20_000, validation: int = 1000, test: int = 1000, held_out: int = 60
) -> Meanings:
    """The four splits; of each held-out combination there are `held_out` sentences, which have no other one."""
    require_positive(train=train, validation=validation, test=test, held_out=held_out)
    largest = max(train, validation, test, held_out)
    require(
        largest <= MOST_MEANINGS, "train, validation, test and held_out", f"must be at most {MOST_MEANINGS}", largest
    )
    sizes: dict[Any, int] = {"test": test, "validation": validation, "train": train}
    sizes |= {(construction, word): held_out for construction in HELD_OUT for word in sorted(HELD_OUT[construction])}
    splits: dict[Any, list[Meaning]] = {name: [] for name in sizes}
    seen: set[Meaning] = set()
    speaker = _Speaker(random.Random(seed))
    while any(len(splits[name]) < size for name, size in sizes.items()):
        meaning = speaker.meaning()
        held = held_out_combinations(meaning)
        names = [name for name in held or ("test", "validation", "train") if len(splits[name]) < sizes[name]]
        if meaning not in seen and len(held) <= 1 and names:
            splits[names[0]].append(meaning)
            seen.add(meaning)
    rest = [meaning for name in splits if isinstance(name, tuple) for meaning in splits[name]]
    return Meanings(tuple(splits["train"]), tuple(splits["validation"]), tuple(splits["test"]), tuple(rest))


@checked
def combinations(meaning: Meaning) -> Iterator[tuple[str, str]]:
    """The constructions in a sentence, each with the word it is built on: ('passive', 'steal')."""
    check_meaning(meaning)
    yield from _combinations(meaning)


def _combinations(meaning: Meaning) -> Iterator[tuple[str, str]]:
    if isinstance(meaning, Description):
        yield "adjective", f"{meaning.adjective} {meaning.subject.noun}"
        yield from _in_phrase(meaning.subject)
        return
    if meaning.passive:
        yield "passive", meaning.verb
    elif VERBS[meaning.verb].kind in BA and meaning.patient != GAP:
        yield "ba", meaning.verb
    for phrase in (meaning.agent, meaning.patient, meaning.recipient):
        if phrase is not None and phrase != GAP:
            yield from _in_phrase(phrase)


def _in_phrase(phrase: Phrase) -> Iterator[tuple[str, str]]:
    if phrase.adjective:
        yield "adjective", f"{phrase.adjective} {phrase.noun}"
    if phrase.relative:
        yield "relative", phrase.noun
        yield from _combinations(phrase.relative)


@checked
def held_out_combinations(meaning: Meaning) -> list[tuple[str, str]]:
    """Those combinations in a sentence that training never shows."""
    return [(construction, word) for construction, word in combinations(meaning) if word in HELD_OUT[construction]]


# --- Shortcuts: translations of the sources of `test` by what can be counted in `train`


@checked
def majority(train: Sequence[Pair], test: Sequence[Pair]) -> list[str]:
    """For every source the most frequent target; where all are different, the first."""
    require(len(train) > 0, "train", "must not be empty", train)
    return [Counter(pair.target for pair in train).most_common(1)[0][0]] * len(test)


@checked
def word_by_word(train: Sequence[Meaning], test: Sequence[Meaning]) -> list[str]:
    """For every English word what stands most often for it in Chinese, by the true alignment, in English order."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for meaning in train:
        source, target, pairs = english_words(meaning), chinese_words(meaning), alignment(meaning)
        for i, word in enumerate(source):
            counts[word.text.lower()]["".join(target[j].text for k, j in sorted(pairs) if k == i)] += 1
    dictionary = {word: found.most_common(1)[0][0] for word, found in counts.items()}
    return ["".join(dictionary.get(word.text.lower(), "") for word in english_words(meaning)) for meaning in test]


@checked
def nearest_neighbour(train: Sequence[Pair], test: Sequence[Pair]) -> list[str]:
    """For every source the target of the training source that shares the largest part of its words with it."""
    require(len(train) > 0, "train", "must not be empty", train)
    vocabulary = {word: i for i, word in enumerate(sorted({w for pair in (*train, *test) for w in _bag(pair)}))}

    def bags(pairs: Sequence[Pair]) -> torch.Tensor:
        rows = torch.zeros(len(pairs), len(vocabulary))
        for row, pair in zip(rows, pairs, strict=True):
            row[[vocabulary[word] for word in _bag(pair)]] = 1
        return rows

    known, asked = bags(train), bags(test)
    shared = asked @ known.T
    jaccard = shared / (asked.sum(1, keepdim=True) + known.sum(1) - shared)
    return [train[i].target for i in jaccard.argmax(1).tolist()]


def _bag(pair: Pair) -> set[str]:
    return set(pair.source.lower().rstrip(".").split())


# --- The speaker: draws meanings at random

DEFINITE = ("the", "this", "that", "these", "those")
INDEFINITE = ("a", "two", "three")
RELATIVE_TENSES = {
    "plain": ("past", "perfect", "progressive"),
    "alone": ("progressive",),
    "state": ("present",),
    "affecting": ("past", "perfect"),
    "disposal": ("past",),
}


class _Speaker:
    """Draws one meaning at a time, within what both languages say."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.used: set[str] = set()

    def meaning(self) -> Meaning:
        self.used = set()
        if self.chance(0.08):
            noun = self.noun(ANY)
            adjective = self.adjective(noun)
            return Description(self.phrase(noun, DEFINITE, relative=0.3, plain=True), adjective, self.chance(0.3))
        return self.clause()

    def clause(self) -> Clause:
        name, verb = self.verb()
        self.used.add(name)
        passive = verb.kind in PASSIVE and self.chance(0.5)
        tense = self.pick(("past", "future") if passive else KINDS[verb.kind])
        negated = tense != "progressive" and self.chance(0.25)
        time, place = self.adverbials(verb, tense, negated)
        agent: Phrase | None
        if passive:
            place = "" if negated else place
            patient: Phrase | None = self.phrase(self.noun(verb.patients), (*DEFINITE, "many"), relative=0.3)
            determiners = DEFINITE if negated else ("a", *DEFINITE)
            agent = self.phrase(self.noun(verb.agents), determiners) if self.chance(0.7) else None
        else:
            some = INDEFINITE if tense in ("past", "progressive") and not negated else ("many",)
            agent = self.phrase(self.noun(verb.agents), (*DEFINITE, *some), relative=0.25)
            patient = self.patient(verb, tense, negated, 0.0 if agent.relative or time or place else 0.4)
        recipient = None
        if verb.kind == "transfer":
            recipient = self.phrase(self.noun(frozenset({"person"})), ("a", "two", *DEFINITE[1:]))
        return Clause(name, tense, agent, patient, recipient, negated, passive, time, place)

    def adverbials(self, verb: Verb, tense: str, negated: bool) -> tuple[str, str]:
        """A time that suits the tense, and a place; what is done every day is never without its time."""
        if verb.kind == "state":
            return "", ""
        times = [time for time, (when, _) in TIMES.items() if when == tense and not (tense == "present" and negated)]
        time = self.pick(times) if times and (tense == "present" or self.chance(0.4)) else ""
        return time, self.pick(list(PLACES)) if self.chance(0.3) else ""

    def patient(self, verb: Verb, tense: str, negated: bool, relative: float) -> Phrase | None:
        """What stands after an English verb: with 把 it is definite, else the tense decides."""
        if not verb.patients:
            return None
        definite = DEFINITE[1:]
        if verb.kind in BA:
            determiners: tuple[str, ...] = DEFINITE
        elif verb.kind == "state" or (tense == "perfect" and negated):
            determiners = ("generic", "generic", *definite)
        elif tense == "present":
            determiners = ("generic",) if negated else ("generic", "many", *INDEFINITE)
        elif tense == "progressive":
            determiners = ("a", "a", *definite)
        else:
            determiners = definite if negated else ("many", *INDEFINITE, *definite)
        habit = tense == "present" and verb.kind != "state"
        return self.phrase(self.noun(verb.patients), determiners, 0.0 if habit else relative)

    def phrase(self, noun: str, determiners: Sequence[str], relative: float = 0.0, *, plain: bool = False) -> Phrase:
        adjective = self.adjective(noun) if not plain and self.chance(0.3) else ""
        if self.chance(relative):
            return Phrase(self.pick(("the", "the", "these", "those")), noun, adjective, self.relative(noun))
        return Phrase(self.pick(determiners), noun, adjective)

    def relative(self, noun: str) -> Clause:
        """Without recipient, and without time and place: nobody could tell them from those of the sentence."""
        tags = NOUNS[noun].tags
        while True:
            name, verb = self.verb()
            gap = self.pick(("agent", "patient", "passive"))
            fits = tags & (verb.agents if gap == "agent" else verb.patients)
            if fits and verb.kind in RELATIVE_TENSES and (gap != "passive" or verb.kind in PASSIVE):
                break
        self.used.add(name)
        tense = self.pick(RELATIVE_TENSES[verb.kind] if gap != "passive" else ("past",))
        negated = tense != "progressive" and self.chance(0.2)
        if gap == "agent":
            return Clause(name, tense, GAP, self.patient(verb, tense, negated, 0.0), negated=negated)
        agent = None
        if gap == "patient" or self.chance(0.7):
            agent = self.phrase(self.noun(verb.agents), ("the", "this", "these", "those"))  # not "that that"
        return Clause(name, tense, agent, GAP, negated=negated, passive=gap == "passive")

    def verb(self) -> tuple[str, Verb]:
        """One that the sentence does not have yet."""
        name: str = self.pick([name for name in VERBS if name not in self.used])
        return name, VERBS[name]

    def noun(self, tags: frozenset[str]) -> str:
        """One that the sentence does not have yet."""
        noun: str = self.pick([name for name, noun in NOUNS.items() if noun.tags & tags and name not in self.used])
        self.used.add(noun)
        return noun

    def adjective(self, noun: str) -> str:
        fitting = [each.english for each in ADJECTIVES if each.tags & NOUNS[noun].tags]
        return self.pick(fitting) if fitting else ""

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, items: Sequence[Any]) -> Any:
        """Python promises that `random()` gives the same numbers in every version, and promises it of nothing else."""
        return items[int(self.rng.random() * len(items))]
