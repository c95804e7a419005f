"""Authored data: sentences about people, organisations, places, works and events, and what stands between them.

A sentence is made of clauses, which may carry relative clauses and lists:

    Ada Novak , who was taught by Boris Holter , wrote The Red Garden and Flora .

Four things keep shortcuts from working. A name may be of several kinds (Florence is a person, a town or a book), and
it may be part of a longer one (the Florence Marathon). Two relations join things of one kind, so that only the wording
tells which way they go. Who does what depends on where a relative clause ends, not on what is near. And some wordings
say no relation: `has never worked for`.

The wordings of a sentence all come from one group, and no group shares one with another. `recombined` has no word that
`train` lacks; `new word` describes each relation by a word that stands nowhere else. Names can be held out as well.
"""

import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity, Relation, Splits

Group = Literal["train", "validation", "recombined", "new word"]
Names = Literal["known", "held out"]

MOST_SENTENCES = 1_000_000
KINDS = ("person", "organisation", "place", "work", "event")
RELATIONS = {  # from which kind to which
    "works_for": ("person", "organisation"),
    "lives_in": ("person", "place"),
    "wrote": ("person", "work"),
    "taught": ("person", "person"),
    "acquired": ("organisation", "organisation"),
    "held_in": ("event", "place"),
}

# --- Wordings. For each relation those that begin with its head, and after the bar those that begin with its tail.

WORDINGS: dict[str, dict[str, str]] = {
    "train": {
        "works_for": "works for; worked for; has worked at; is an engineer at; was an editor at"
        " | employs; employed; has hired",
        "lives_in": "lives in; has lived in; has a house in; is a resident of"
        " | is home to; is the home of; was home to",
        "wrote": "wrote; has written; is the author of; had finished | was written by; is a book by; is a novel by",
        "taught": "taught; has taught; was the teacher of; is the mentor of"
        " | was taught by; was a pupil of; is a student of",
        "acquired": "acquired; has bought; took over; is the owner of"
        " | was bought by; has been acquired by; belongs to; is owned by",
        "held_in": "was held in; took place in; opened in | hosted; was the host of; has welcomed",
    },
    "validation": {
        "works_for": "works at; is an editor at | hired",
        "lives_in": "lived in | has been home to",
        "wrote": "was the author of | has been written by",
        "taught": "is the teacher of | has been taught by",
        "acquired": "has acquired | has been bought by",
        "held_in": "has opened in | has hosted",
    },
    "recombined": {
        "works_for": "has worked for; was an engineer at; worked at | has employed",
        "lives_in": "was a resident of; had a house in | was the home of",
        "wrote": "had written; has finished | was a book by; was a novel by",
        "taught": "was the mentor of; had taught | was a student of; is a pupil of",
        "acquired": "bought; was the owner of; had acquired | was acquired by; was owned by; had been bought by",
        "held_in": "is held in; had opened in | is the host of; welcomed",
    },
    "new word": {
        "works_for": "earns a salary at | recruited",
        "lives_in": "dwells in | sheltered",
        "wrote": "penned | was composed by",
        "taught": "tutored | learned under",
        "acquired": "purchased | was swallowed by",
        "held_in": "unfolded in | staged",
    },
}

# Wordings of no relation, by the kinds they join. Those of `new word` are the ones of `recombined`.
UNRELATED: dict[str, dict[str, str]] = {
    "train": {
        "person organisation": "has never worked for; has sued; is not an editor at",
        "person place": "visited; has never lived in; flew to",
        "person work": "has read; has not written; praised",
        "person person": "met; admires; was not taught by; is older than",
        "organisation organisation": "sued; has not bought; was not acquired by; competes with",
        "event place": "was not held in; was moved away from",
        "organisation place": "was founded in; has an office in",
    },
    "validation": {
        "person person": "has met; has not taught",
        "person place": "has visited; is not a resident of",
        "person work": "read; is not the author of",
        "organisation organisation": "has sued; was not bought by",
    },
    "recombined": {
        "person organisation": "is not an engineer at; was not an editor at",
        "person place": "had visited; was not a resident of",
        "person work": "has praised; was not the author of",
        "person person": "had met; is not a pupil of; was not the teacher of",
        "organisation organisation": "had sued; has not acquired; is not owned by",
    },
}
UNRELATED["new word"] = UNRELATED["recombined"]
OPENERS = ("Last year", "In the end", "By now", "Critics say that", "Everybody knows that")
CONNECTORS = (", and", ", but", ", while", "; meanwhile ,")

# --- Names: beginnings, after the bar those that are held out, and endings; or whole words. The parts of a name say
# something of its kind, as they do in life, except for names of many kinds.

FIRST = ("Ad Bor Clar Dim El Far Gret Hug In Jon Kar Len Mar Nad Osk Pri | Quen Ros Stef Tam", "a o is ine")
LAST = ("Nov Lind Okaf March Per Tan Holt Ivan Kell Mor Silv Brand | Varg Whit Zem Ort", "ak er sen ov ez")
TOWN = ("Ar Bel Cor Dun El Fair Glen Har Il Kars | Lor Mer Nor Pen", "ford wick more bury ham")
FIRM = ("Ap Bor Cob Del Ever Ful Gran Hel Ion Jun | Kryp Lum Mer Nim", "ex ia on ix tek")
MANY = ("Flor Jord Aust Victor Madis Linc Carm Ori Merc Sterl | Chels Reg Phoen Atl", "ence in ia on a")
ADJECTIVE = ("Silent Red Broken Golden Distant Empty Second Late | Frozen Hidden", "")
NOUN = ("River Garden Winter Mirror Harbour Letter Island Road | Lantern Orchard", "")
PATTERNS = {
    "person": "first; first last; first last; last; many; first many",
    "organisation": "firm; firm Labs; firm Press; last Motors; many Group; University of town; Bank of many; many",
    "place": "town; town; many; Port town; New many",
    "work": "The adjective noun; many; The noun of town; Letters from many; adjective noun; first",
    "event": "town Marathon; many Book Fair; noun Congress; town Music Festival; firm Cup",
}
PARTS = {
    "first": FIRST,
    "last": LAST,
    "town": TOWN,
    "firm": FIRM,
    "many": MANY,
    "adjective": ADJECTIVE,
    "noun": NOUN,
}


class Wording(NamedTuple):
    """What stands between a subject and an object; `relation` is empty if it says none."""

    subject: str
    text: str
    object: str
    relation: str
    reversed: bool  # the subject is the tail


@checked
def wordings(group: Group) -> tuple[Wording, ...]:
    """All of a group."""
    found = []
    for relation, text in WORDINGS[group].items():
        head, tail = RELATIONS[relation]
        forward, backward = (part.split("; ") for part in text.split(" | "))
        found += [Wording(head, words, tail, relation, False) for words in forward]
        found += [Wording(tail, words, head, relation, True) for words in backward]
    for kinds, text in UNRELATED[group].items():
        subject, object_ = kinds.split()
        found += [Wording(subject, words, object_, "", False) for words in text.split("; ")]
    return tuple(found)


@checked
def sentences(count: int, *, group: Group, names: Names, seed: int) -> tuple[Annotated, ...]:
    """`count` different sentences in the wordings of `group`; held-out names share no name with the known ones."""
    require_positive(count=count)
    require(count <= MOST_SENTENCES, "count", f"must be at most {MOST_SENTENCES}", count)
    rng, phrases = random.Random(seed), wordings(group)
    found: dict[tuple[str, ...], Annotated] = {}
    while len(found) < count:
        example = _Writer(rng, phrases, names).sentence()
        found.setdefault(example.words, example)
    return tuple(found.values())


@checked
def splits(seed: int = 0, *, train: int = 2000, validation: int = 200, test: int = 300) -> Splits:
    """Known wordings and names to train on; other wordings to choose and to measure by, half with held-out names."""
    require_positive(train=train)
    require(min(validation, test) >= 2, "validation and test", "must be at least 2", (validation, test))
    largest = max(train, validation, test)
    require(largest <= MOST_SENTENCES, "train, validation and test", f"must be at most {MOST_SENTENCES}", largest)

    def held_out(count: int, group: Group, seed: int) -> tuple[Annotated, ...]:
        known = sentences(count - count // 2, group=group, names="known", seed=seed)
        return known + sentences(count // 2, group=group, names="held out", seed=seed + 1)

    return Splits(
        sentences(train, group="train", names="known", seed=5 * seed),
        held_out(validation, "validation", 5 * seed + 1),
        held_out(test, "recombined", 5 * seed + 3),
    )


class _Writer:
    """Writes one sentence, from left to right."""

    def __init__(self, rng: random.Random, phrases: tuple[Wording, ...], names: Names) -> None:
        self.rng, self.phrases, self.names = rng, phrases, names
        self.words: list[str] = []
        self.entities: list[Entity] = []
        self.relations: list[Relation] = []

    def sentence(self) -> Annotated:
        if self.chance(0.3):
            self.say(self.pick(OPENERS))
        self.clause()
        if self.chance(0.4):
            self.say(self.pick(CONNECTORS))
            self.clause()
        self.say(".")
        return Annotated(tuple(self.words), tuple(self.entities), tuple(self.relations))

    def clause(self) -> None:
        subject = self.mention(self.phrase().subject)
        if self.chance(0.35):
            self.relative(subject)
        self.predicate(subject, nested=False)
        if self.chance(0.25):
            self.say("and")
            self.predicate(subject, nested=False)

    def predicate(self, subject: int, *, nested: bool) -> None:
        phrase = self.phrase(self.entities[subject].kind)
        self.say(phrase.text)
        last = self.complete(phrase, subject)
        if self.chance(0.15):
            self.say("and")
            self.complete(phrase, subject)
        elif not nested and self.chance(0.3):
            self.relative(last)

    def complete(self, phrase: Wording, subject: int) -> int:
        found = self.mention(phrase.object)
        if phrase.relation:
            head, tail = (found, subject) if phrase.reversed else (subject, found)
            self.relations.append(Relation(phrase.relation, head, tail))
        return found

    def relative(self, subject: int) -> None:
        self.say(", who" if self.entities[subject].kind == "person" else ", which")
        self.predicate(subject, nested=True)
        self.say(",")

    def mention(self, kind: str) -> int:
        while (name := self.name(kind)) in [tuple(self.words[e.start : e.end]) for e in self.entities]:
            pass
        start = len(self.words)
        self.words += name
        self.entities.append(Entity(kind, start, len(self.words)))
        return len(self.entities) - 1

    def name(self, kind: str) -> tuple[str, ...]:
        """Every part of a name is held out, or none."""
        pattern = self.pick(PATTERNS[kind].split("; ")).split()
        side = ("known", "held out").index(self.names)
        return tuple(self.part(*PARTS[part], side) if part in PARTS else part for part in pattern)

    def part(self, beginnings: str, endings: str, side: int) -> str:
        beginning: str = self.pick(beginnings.split(" | ")[side].split())
        return beginning + self.pick(endings.split() or [""])

    def phrase(self, subject: str | None = None) -> Wording:
        """One that fits the subject: three in ten say no relation, and otherwise every relation is as likely."""
        fitting = [phrase for phrase in self.phrases if subject in (None, phrase.subject)]
        related = sorted({phrase.relation for phrase in fitting} - {""})
        relation = "" if self.chance(0.3) else self.pick(related)
        return self.pick([phrase for phrase in fitting if phrase.relation == relation] or fitting)

    def say(self, text: str) -> None:
        """A comma that ends a relative clause gives way to what follows it."""
        if self.words and self.words[-1] == "," and text[0] in ",;.":
            self.words.pop()
        self.words += text.split()

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, items: Sequence[Any]) -> Any:
        """Python promises that `random()` gives the same numbers in every version, and promises it of nothing else."""
        return items[int(self.rng.random() * len(items))]
