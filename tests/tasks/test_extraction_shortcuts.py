"""Each shortcut on sentences that can be counted by hand, and on the authored ones, which it must not solve.

scikit-learn comes with seqeval.
"""

from itertools import permutations
from math import prod

import pytest
from sklearn.naive_bayes import BernoulliNB

from transformer_lib.data.examples import Annotated, Entity, Relation
from transformer_lib.data.toy_extraction import sentences
from transformer_lib.tasks.extraction import scores
from transformer_lib.tasks.extraction_shortcuts import (
    Reader,
    by_bag_of_words,
    by_kinds,
    by_neighbours,
    by_words_between,
    known_names,
)


def about(text: str, *related: tuple[str, int, int]) -> Annotated:
    """Words like Ada/p are entities of the kind p; the parts of a longer name are joined by _."""
    words: list[str] = []
    entities = []
    for word in text.split():
        name, _, kind = word.partition("/")
        start = len(words)
        words += name.split("_")
        if kind:
            entities.append(Entity(kind, start, len(words)))
    return Annotated(tuple(words), tuple(entities), tuple(Relation(*each) for each in related))


TRAIN = [
    about("Ada/p knows Bo/p", ("knows", 0, 1)),
    about("Cy/p knows Ada/p", ("knows", 0, 1)),
    about("Bo/p fears Ada/p"),
    about("Ada/p knows Bo/p , and Ada_Road/t fears Cy/p", ("knows", 0, 1)),
    about("Ada/t owns Bo/p", ("owns", 0, 1)),
]
ASKED = about("Di/p knows Ed/p and Flo/p")


def test_known_names_are_the_longest_and_most_common() -> None:
    found = known_names(TRAIN)(about("Ada fears Ada Road and Dan"))
    assert found.entities == (Entity("p", 0, 1), Entity("t", 2, 4))
    assert known_names([about("a b")])(ASKED).entities == ()


def test_kinds_neighbours_and_words_between() -> None:
    # Of 10 ordered pairs p-p, 3 are related; of the 4 neighbours p-p in this order, 3 are.
    assert by_kinds(TRAIN)(ASKED).relations == ()
    assert by_kinds(TRAIN[:1] + TRAIN[4:])(about("Ada/t x Bo/p")).relations == (Relation("owns", 0, 1),)
    assert by_neighbours(TRAIN)(ASKED).relations == (Relation("knows", 0, 1), Relation("knows", 1, 2))
    assert by_words_between(TRAIN)(ASKED).relations == (Relation("knows", 0, 1),)
    assert by_words_between(TRAIN)(about("Di/p fears Ed/p")).relations == ()


def test_the_bag_of_words_by_bayes_rule() -> None:
    train = [about("x y/p z/q", ("r", 0, 1)), about("x y/p z/q", ("r", 0, 1)), about("y/p w z/q")]
    reader = by_bag_of_words(train)
    # p(label | bag) with add-one smoothing, from p to q, over the vocabulary {x, w}.
    for text, bag in (("x a/p b/q", "x"), ("w a/p b/q", "w"), ("a/p b/q", ""), ("x w a/p b/q", "xw")):
        likely = {}
        for label, count, having in (("r", 2, {"x": 2, "w": 0}), ("", 1, {"x": 0, "w": 1})):
            shares = {word: (having[word] + 1) / (count + 2) for word in "xw"}
            likely[label] = count * prod(shares[word] if word in bag else 1 - shares[word] for word in "xw")
        best = max(likely, key=likely.__getitem__)
        assert reader(about(text)).relations == ((Relation("r", 0, 1),) if best else ())
    assert reader(about("a/q b/q")).relations == ()


@pytest.fixture(scope="module")
def authored() -> list[tuple[Annotated, ...]]:
    return [
        sentences(800, group="train", names="known", seed=1),
        sentences(150, group="train", names="known", seed=2),
        sentences(150, group="recombined", names="held out", seed=3),
    ]


@pytest.mark.parametrize(
    ("shortcut", "known", "new"),
    [(by_kinds, 0.4, 0.4), (by_neighbours, 0.55, 0.55), (by_bag_of_words, 0.6, 0.6), (by_words_between, 0.8, 0.0)],
)
def test_no_shortcut_finds_the_relations(
    authored: list[tuple[Annotated, ...]], shortcut: object, known: float, new: float
) -> None:
    reader: Reader = shortcut(authored[0])  # type: ignore[operator]
    for examples, bound in zip(authored[1:], (known, new), strict=True):
        result = scores([reader(example) for example in examples], examples)
        assert result["entities"]["f1"] == 1.0  # they are given
        assert result["relations"]["f1"] <= bound
        if shortcut is not by_words_between:
            assert result["relations"]["kinds"]["taught"]["f1"] < 0.4


def test_the_bag_of_words_decides_as_scikit_learns(authored: list[tuple[Annotated, ...]]) -> None:
    train, asked, _ = authored

    def bag(example: Annotated) -> set[str]:
        inside = {place for _, start, end in example.entities for place in range(start, end)}
        return {word for place, word in enumerate(example.words) if place not in inside}

    vocabulary = sorted(set().union(*map(bag, train)))

    def rows(examples: tuple[Annotated, ...]) -> tuple[list[list[bool]], list[str], list[tuple[int, int, int]]]:
        """Every ordered pair of two people: the words of its sentence, its relation, and where it stands."""
        features, labels, places = [], [], []
        for row, example in enumerate(examples):
            people = [i for i, entity in enumerate(example.entities) if entity.kind == "person"]
            related = {(head, tail): kind for kind, head, tail in example.relations}
            for i, j in permutations(people, 2):
                features.append([word in bag(example) for word in vocabulary])
                labels.append(related.get((i, j), ""))
                places.append((row, i, j))
        return features, labels, places

    features, labels, _ = rows(train)
    theirs = BernoulliNB(alpha=1.0).fit(features, labels)
    features, _, places = rows(asked)
    reader = by_bag_of_words(train)
    ours = [{(head, tail): kind for kind, head, tail in reader(example).relations} for example in asked]
    predicted = list(theirs.predict(features))
    assert [ours[row].get((i, j), "") for row, i, j in places] == predicted
    assert 10 < sum(label == "taught" for label in predicted) < len(predicted) - 10


def test_names_held_out_are_not_known(authored: list[tuple[Annotated, ...]]) -> None:
    reader = known_names(authored[0])
    known, new = (scores([reader(x) for x in part], part)["entities"]["f1"] for part in authored[1:])
    assert 0.4 < known < 0.8 and new == 0.0
