"""What can be extracted without reading: baselines that a model has to beat before anyone says that it understands.

For entities, the names that were seen before. For relations, given the gold entities: their kinds, their order, the
words of the sentence in no order, or the very words that stand between two entities. Each is fitted by counting.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from math import log

from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity, Relation

Reader = Callable[[Annotated], Annotated]
Pair = tuple[int, int]
NONE = ""


@checked
def known_names(train: Sequence[Annotated]) -> Reader:
    """From left to right the longest run of words that was a name in training, as what it was most often."""
    kinds: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for example in train:
        for kind, start, end in example.entities:
            kinds[example.words[start:end]][kind] += 1
    longest = max(map(len, kinds), default=0)

    def read(example: Annotated) -> Annotated:
        found, start = [], 0
        while start < len(example.words):
            ends = range(min(start + longest, len(example.words)), start, -1)
            end = next((end for end in ends if example.words[start:end] in kinds), None)
            if end is not None:
                found.append(Entity(kinds[example.words[start:end]].most_common(1)[0][0], start, end))
            start = end or start + 1
        return Annotated(example.words, tuple(found), ())

    return read


@checked
def by_kinds(train: Sequence[Annotated]) -> Reader:
    """For every pair of entities what holds most often between their kinds."""
    return _most_common(train, lambda example, i, j: _kinds(example, i, j))


@checked
def by_neighbours(train: Sequence[Annotated]) -> Reader:
    """The same for entities that follow each other, which comes first being known; others are never related."""

    def seen(example: Annotated, i: int, j: int) -> Hashable:
        return (i < j, *_kinds(example, i, j)) if abs(i - j) == 1 else None

    return _most_common(train, seen)


@checked
def by_words_between(train: Sequence[Annotated]) -> Reader:
    """What held most often between such kinds with exactly these words between them; what was never seen is nothing."""

    def seen(example: Annotated, i: int, j: int) -> Hashable:
        left, right = sorted((example.entities[i], example.entities[j]), key=lambda entity: entity.start)
        return i < j, *_kinds(example, i, j), example.words[left.end : right.start]

    return _most_common(train, seen)


@checked
def by_bag_of_words(train: Sequence[Annotated]) -> Reader:
    """Naive Bayes: which words the sentence has outside its names, given what holds between entities of such kinds."""
    labels: dict[Hashable, Counter[str]] = defaultdict(Counter)
    words: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for example in train:
        bag = _bag(example)
        for pair, label in _labelled(example):
            labels[_kinds(example, *pair)][label] += 1
            words[_kinds(example, *pair), label].update(bag)
    vocabulary = {word for bag in words.values() for word in bag}

    def score(kinds: Hashable, label: str, bag: set[str]) -> float:
        count, having = labels[kinds][label], words[kinds, label]
        return log(count) + sum(
            log((having[word] + 1 if word in bag else count - having[word] + 1) / (count + 2)) for word in vocabulary
        )

    def choose(example: Annotated, i: int, j: int) -> str:
        kinds = _kinds(example, i, j)
        bag = _bag(example)
        return max(sorted(labels.get(kinds, ())), key=lambda label: score(kinds, label, bag), default=NONE)

    return lambda example: _related(example, choose)


def _most_common(train: Sequence[Annotated], seen: Callable[[Annotated, int, int], Hashable]) -> Reader:
    counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for example in train:
        for (i, j), label in _labelled(example):
            counts[seen(example, i, j)][label] += 1

    def choose(example: Annotated, i: int, j: int) -> str:
        key = seen(example, i, j)
        return counts[key].most_common(1)[0][0] if key is not None and key in counts else NONE

    return lambda example: _related(example, choose)


def _related(example: Annotated, choose: Callable[[Annotated, int, int], str]) -> Annotated:
    found = ((choose(example, i, j), i, j) for i, j in _pairs(example))
    return example._replace(relations=tuple(Relation(*each) for each in found if each[0] != NONE))


def _labelled(example: Annotated) -> Iterator[tuple[Pair, str]]:
    related = {(head, tail): kind for kind, head, tail in example.relations}
    return ((pair, related.get(pair, NONE)) for pair in _pairs(example))


def _pairs(example: Annotated) -> Iterator[Pair]:
    count = len(example.entities)
    return ((i, j) for i in range(count) for j in range(count) if i != j)


def _kinds(example: Annotated, i: int, j: int) -> tuple[str, str]:
    return example.entities[i].kind, example.entities[j].kind


def _bag(example: Annotated) -> set[str]:
    inside = {place for entity in example.entities for place in range(entity.start, entity.end)}
    return {word for place, word in enumerate(example.words) if place not in inside}
