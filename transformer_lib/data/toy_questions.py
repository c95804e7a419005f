"""Authored passages and questions about them: some can be answered from the passage, some only seem so.

A passage is four to eight sentences about persons, places, things and years. The answer never stands alone: another
sentence states the same relation of somebody else, and another a related thing (where she works, not where she lives)
of the same person. A question without an answer asks for somebody whom the passage does not mention ("absent"), or for
what it does not say of somebody whom it does ("unstated"); the passage looks the same.

Held out are wordings and combinations. A wording of a question belongs to one split, though all its words are known
from training. And two names that are joined by a fact of validation or test are joined by no fact of training.

Left out: reasoning over two sentences, pronouns, numbers to be computed. The words are in `question_forms.py`.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.examples import Answer, Question, check_question
from transformer_lib.data.question_forms import FORMS, NAMES
from transformer_lib.data.question_forms import about as about


@checked
class Fact(NamedTuple):
    """One relation between two names."""

    relation: str
    subject: str
    object: str


@checked
class QuestionSplits(NamedTuple):
    """`combinations` asks in training's wordings about new combinations; `test` in new wordings as well."""

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    combinations: tuple[Question, ...]
    test: tuple[Question, ...]


@checked
class Library(NamedTuple):
    """Passages that do not contradict each other, and questions to all; the `context` of one is where its answer is."""

    passages: tuple[str, ...]
    questions: tuple[Question, ...]


@checked
def questions(seed: int = 0, *, train: int = 12_000, held_out: int = 500) -> QuestionSplits:
    """Each question has a passage of its own, and a third of them no answer. A larger split begins like a smaller."""
    require_positive(train=train, held_out=held_out)
    largest = max(train, held_out)
    require(largest <= MOST_QUESTIONS, "train and held_out", f"must be at most {MOST_QUESTIONS}", largest)
    return QuestionSplits(
        _Author(seed, "train", TRAIN_GROUPS).questions(train),
        _Author(seed, "validation", VALIDATION_GROUPS).questions(held_out),
        _Author(seed, "combinations", TEST_GROUPS).questions(held_out),
        _Author(seed, "test", TEST_GROUPS).questions(held_out),
    )


@checked
def library(seed: int = 0, *, passages: int = 40, held_out: int = 200) -> Library:
    """Passages of one world, and questions in the wordings and combinations of test; a quarter has no answer there."""
    require_positive(passages=passages, held_out=held_out)
    require(held_out <= MOST_QUESTIONS, "held_out", f"must be at most {MOST_QUESTIONS}", held_out)
    require(passages <= MOST_PASSAGES, "passages", f"must be at most {MOST_PASSAGES}, for want of names", passages)
    return _Author(seed, "library", TEST_GROUPS).library(passages, held_out)


@checked
def sentences(passage: str) -> list[str]:
    """A passage in sentences; joined by spaces they are it again."""
    return re.findall(r"[^.]+\.", passage.replace(". ", "."))


# Two names belong to the group (number of the one + number of the other) mod 10; a split joins those of its groups.
TEST_GROUPS, VALIDATION_GROUPS, TRAIN_GROUPS = frozenset({0}), frozenset({1}), frozenset(range(2, 10))
MOST_PASSAGES, MOST_QUESTIONS = 40, 1_000_000
WORDINGS = {"train": "train", "validation": "validation", "combinations": "train", "test": "test", "library": "test"}
Starts = dict[tuple[Fact, str], int]  # where in a passage the subject or the object of a fact begins
_KINDS = {name: kind for kind, names in NAMES.items() for name in names}
_NUMBERS = {name: number for names in NAMES.values() for number, name in enumerate(names)}


@checked
def group(subject: str, object: str) -> int:
    """Decides which splits may join the two names, which are among `NAMES`."""
    require(subject in _NUMBERS, "subject", "must be a name of the authored world", subject)
    require(object in _NUMBERS, "object", "must be a name of the authored world", object)
    return _group(subject, object)


def _group(subject: str, object: str) -> int:
    return (_NUMBERS[subject] + _NUMBERS[object]) % 10


class _Author:
    """Writes the questions of one split from the random numbers of its name."""

    def __init__(self, seed: int, split: str, groups: frozenset[int]) -> None:
        self._rng = random.Random(f"{seed}/{split}")
        self._split, self._groups = split, groups

    def questions(self, count: int) -> tuple[Question, ...]:
        found: list[Question] = []
        kinds = (*["answerable"] * 4, "unstated", "absent")
        while len(found) < count:
            kind, asked = self._rng.choice(kinds), list[Question]()
            while not asked:  # some passages leave nothing unstated
                relation = self._rng.choice(list(FORMS))
                facts = self._facts(relation, self._rng.randint(5, 8))
                asked = self._ask(len(found), relation, kind, facts, *self._write(facts))
            found += asked
        return tuple(found)

    def library(self, passages: int, count: int) -> Library:
        world: list[Fact] = []
        written = []
        for _ in range(passages):
            size, facts = self._rng.randint(5, 8), list[Fact]()
            while len(facts) < size:
                facts += self._fact(self._rng.choice(list(FORMS)), near=facts, stated=world + facts)
            world += facts
            written.append((facts, *self._write(facts)))
        found: list[Question] = []
        kinds = (*["answerable"] * 3, "unstated")
        while len(found) < count:
            facts, passage, starts = self._rng.choice(written)
            relation, kind = self._rng.choice(facts).relation, self._rng.choice(kinds)
            known = facts if kind == "answerable" else world
            found += self._ask(len(found), relation, kind, known, passage, starts)
        return Library(tuple(passage for _, passage, _ in written), tuple(found))

    def _facts(self, relation: str, size: int) -> list[Fact]:
        """The relation two or three times, its sibling of one of the same subjects and of any other, and more."""
        facts: list[Fact] = []
        wanted = min(self._rng.randint(2, 3), size - 2)
        while len(facts) < wanted:
            facts += self._fact(relation, near=facts, stated=facts)
        sibling, subject = FORMS[relation].sibling, self._rng.choice(facts).subject
        facts += self._fact(sibling, near=facts, stated=facts, subject=subject)
        facts += self._fact(sibling, near=facts, stated=facts)
        while len(facts) < size:
            facts += self._fact(self._rng.choice(list(FORMS)), near=facts, stated=facts)
        self._rng.shuffle(facts)
        return facts

    def _fact(
        self, relation: str, *, near: Sequence[Fact], stated: Sequence[Fact], subject: str | None = None
    ) -> list[Fact]:
        """A fact that leaves what is stated unambiguous, often about names nearby; none if some trials find none."""
        form = FORMS[relation]
        same = [fact for fact in stated if fact.relation == relation]
        subjects = {fact.subject for fact in same}
        objects = {fact.object for fact in (same if form.asks_subject else near)}
        ones, others = ([n for n in _mentioned(near) if _KINDS[n] == kind] for kind in (form.subject, form.object))
        for _ in range(100):
            one, other = subject or self._name(form.subject, ones), self._name(form.object, others)
            if one != other and _group(one, other) in self._groups and one not in subjects and other not in objects:
                return [Fact(relation, one, other)]
        return []

    def _name(self, kind: str, nearby: Sequence[str]) -> str:
        return self._rng.choice(nearby) if nearby and self._rng.random() < 0.75 else self._rng.choice(NAMES[kind])

    def _write(self, facts: Sequence[Fact]) -> tuple[str, Starts]:
        """The passage, mostly with one sentence that states two facts of a relation."""
        rows: list[tuple[Fact, ...]] = [(fact,) for fact in facts]
        pairs = [(a, b) for a, b in combinations(facts, 2) if a.relation == b.relation]
        if pairs and self._rng.random() < 0.75:
            pair = self._rng.choice(pairs)
            rows = [pair if row == pair[:1] else row for row in rows if row != pair[1:]]
        text, starts = "", Starts()
        for row in rows:
            form = FORMS[row[0].relation]
            statement = self._rng.choice(form.statements) if len(row) == 1 else form.both
            parts = [
                (f"{side[0]}{number}".rstrip("1"), fact, side)
                for number, fact in enumerate(row, start=1)
                for side in ("subject", "object")
            ]
            names = {mark: getattr(fact, side) for mark, fact, side in parts}
            text += " " if text else ""
            for mark, fact, side in parts:
                before = statement.partition(f"{{{mark}}}")[0].format(**names)
                starts[fact, side] = len(text) + len(before)
            text += statement.format(**names)
        return text, starts

    def _ask(
        self, number: int, relation: str, kind: str, facts: Sequence[Fact], passage: str, starts: Starts
    ) -> list[Question]:
        """A question of this kind about the relation, given everything that is known; none if it allows none."""
        form = FORMS[relation]
        side = self._rng.choice(("object", "subject")) if form.asks_subject else "object"
        given, wording = ("subject", form.asks_object) if side == "object" else ("object", form.asks_subject)
        known = [fact for fact in facts if fact.relation == relation]
        stated, mentioned = {getattr(fact, given): fact for fact in known}, _mentioned(facts)
        candidates = {
            "answerable": list(stated),
            "unstated": [name for name in mentioned if name not in stated],
            "absent": [name for name in NAMES[getattr(form, given)] if name not in mentioned],
        }[kind]
        candidates = [name for name in candidates if _KINDS[name] == getattr(form, given)]
        if not candidates or wording is None:
            return []
        name = self._rng.choice(candidates)
        text = self._rng.choice(getattr(wording, WORDINGS[self._split])).format(s=name, o=name)
        answers: tuple[Answer, ...] = ()
        if kind == "answerable":
            fact = stated[name]
            answers = (Answer(getattr(fact, side), starts[fact, side]),)
        return [Question(f"{self._split}/{number}/{relation}/{side}/{kind}", passage, text, answers)]


def _mentioned(facts: Sequence[Fact]) -> list[str]:
    """The names in the facts, each once."""
    return list(dict.fromkeys(name for fact in facts for name in (fact.subject, fact.object)))


# Ways to answer that read less than is there. A reader has learned to read only as far as it beats them.


@checked
def gold(question: Question) -> str:
    """The answer as text, `""` for none."""
    check_question(question)
    return _gold(question)


@checked
def majority(question: Question, train: Sequence[Question]) -> str:
    """The most common answer of training, whatever is asked."""
    require(len(train) > 0, "train", "must not be empty", train)
    return Counter(map(_gold, train)).most_common(1)[0][0]


@checked
def without_passage(question: Question, train: Sequence[Question]) -> str:
    """The most common answer of training, other than none, to questions about the same side of the same relation."""
    asked = about(question)[2:4]
    found = Counter(_gold(q) for q in train if q.answers and tuple(q.id.split("/")[2:4]) == asked)
    require(bool(found), "train", f"must have an answer to a question about {asked}", len(train))
    return found.most_common(1)[0][0]


@checked
def without_question(question: Question, train: Sequence[Question]) -> str:
    """The first of the names of whatever kind the passage has most of."""
    check_question(question)
    most = max((_names(kind, question.context) for kind in NAMES), key=len)
    require(bool(most), "question", "must have a passage with a name of the authored world", question.context)
    return most[0]


@checked
def first_of_kind(question: Question, train: Sequence[Question]) -> str:
    """The first name in the passage of the kind that is asked for, but for the one in the question."""
    return next(iter(_candidates(question, question.context)), "")


@checked
def overlap(question: Question, train: Sequence[Question]) -> str:
    """The first such name in the sentence that shares most words with the question, though not their order."""
    check_question(question)
    words = set(re.findall(r"\w+", question.question))
    rows = sentences(question.context)
    require(bool(rows), "question", "must have a passage of sentences", question.context)
    best = max(rows, key=lambda row: len(words & set(re.findall(r"\w+", row))))
    return next(iter(_candidates(question, best)), "")


SHORTCUTS: dict[str, Callable[[Question, Sequence[Question]], str]] = {
    "majority": majority,
    "without the passage": without_passage,
    "without the question": without_question,
    "first of the kind": first_of_kind,
    "sentence overlap": overlap,
}


def _gold(question: Question) -> str:
    return question.answers[0].text if question.answers else ""


def _candidates(question: Question, text: str) -> list[str]:
    asked = about(question)
    return [name for name in _names(getattr(FORMS[asked.relation], asked.side), text) if name not in question.question]


def _names(kind: str, text: str) -> list[str]:
    return re.findall(rf"\b(?:{'|'.join(NAMES[kind])})\b", text)
