"""Tags against seqeval's reading of them, and the search against trying every sequence."""

import itertools
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from tests.oracles import normal, rejects, unchecked
from transformer_lib.data.examples import Annotated, Entity
from transformer_lib.tasks.tagging import Scheme, allowed_steps, best_tags, entities_of, tag_names, tags_of

SCHEMES = get_args(Scheme)
KINDS = ("person", "place")
SEQEVAL = str.maketrans("LU", "ES")  # its names for the last and the only word


def by_seqeval(tags: list[str]) -> tuple[Entity, ...]:
    spelled = [tag[0].translate(SEQEVAL) + tag[1:] for tag in tags]
    return tuple(Entity(kind, start, last + 1) for kind, start, last in get_entities(spelled))


@st.composite
def sentences(draw: st.DrawFn) -> Annotated:
    gaps = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(KINDS)), max_size=5))
    entities, end = [], 0
    for gap, length, kind in gaps:
        entities.append(Entity(kind, end + gap, end + gap + length))
        end += gap + length
    return Annotated(("w",) * (end + draw(st.integers(0, 2))), tuple(entities), ())


def test_tags_by_hand() -> None:
    entities = (Entity("place", 0, 1), Entity("person", 1, 4), Entity("person", 4, 6))
    example = Annotated(tuple("abcdefg"), entities, ())
    bio = "B-place B-person I-person I-person B-person I-person O"
    assert tags_of(example, "BIO") == bio.split()
    bilou = "U-place B-person I-person L-person B-person L-person O"
    assert tags_of(example, "BILOU") == bilou.split()
    assert tag_names(("x",), "BIO") == ("O", "B-x", "I-x")
    assert tag_names(("x",), "BILOU") == ("O", "B-x", "I-x", "L-x", "U-x")


@given(sentences(), st.sampled_from(SCHEMES))
def test_decoding_gives_back_what_was_encoded(example: Annotated, scheme: Scheme) -> None:
    assert entities_of(tags_of(example, scheme)) == example.entities


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("O I-x", (Entity("x", 1, 2),)),
        ("B-x I-y", (Entity("x", 0, 1), Entity("y", 1, 2))),
        ("B-x I-x O I-x", (Entity("x", 0, 2), Entity("x", 3, 4))),
        ("U-x L-x", (Entity("x", 0, 1), Entity("x", 1, 2))),
        ("B-x O", (Entity("x", 0, 1),)),
        ("B-x B-x L-x", (Entity("x", 0, 1), Entity("x", 1, 3))),
        ("", ()),
    ],
)
def test_the_repair_of_contradicting_tags(tags: str, entities: tuple[Entity, ...]) -> None:
    assert entities_of(tags.split()) == entities


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_sequence_of_tags_is_read_as_by_seqeval(scheme: Scheme) -> None:
    for tags in itertools.product(tag_names(KINDS, scheme), repeat=4 if scheme == "BIO" else 3):
        assert entities_of(tags) == by_seqeval(list(tags))


def legal(tags: tuple[str, ...], scheme: Scheme) -> bool:
    """Whether some sentence is encoded so: decode and encode again."""
    return tags_of(Annotated(("w",) * len(tags), entities_of(tags), ()), scheme) == list(tags)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_allowed_steps_are_those_that_encoding_makes(scheme: Scheme) -> None:
    names = tag_names(KINDS, scheme)
    first, following, last = allowed_steps(names)
    for path in itertools.product(range(len(names)), repeat=3):
        allowed = first[path[0]] and last[path[-1]] and all(following[i, j] for i, j in itertools.pairwise(path))
        assert bool(allowed) == legal(tuple(names[i] for i in path), scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_search_equals_trying_every_sequence(scheme: Scheme) -> None:
    names, words = tag_names(KINDS[:1], scheme), 4
    scores = normal(20, words, len(names))
    found = best_tags(scores, torch.ones(20, words, dtype=torch.bool), allowed_steps(names))
    paths = [p for p in itertools.product(range(len(names)), repeat=words) if legal([names[i] for i in p], scheme)]
    for row, path in zip(scores, found, strict=True):
        best = max(paths, key=lambda p: sum(row[t, tag] for t, tag in enumerate(p)))
        assert tuple(path.tolist()) == best
    assert len(paths) > 10


@pytest.mark.parametrize("scheme", SCHEMES)
def test_where_the_best_single_tags_are_legal_they_are_what_is_found(scheme: Scheme) -> None:
    names = tag_names(KINDS, scheme)
    scores = normal(200, 3, len(names))
    found = best_tags(scores, torch.ones(200, 3, dtype=torch.bool), allowed_steps(names))
    free = scores.argmax(-1)
    keeps = torch.tensor([legal([names[i] for i in path], scheme) for path in free.tolist()])
    assert 5 < keeps.sum() < 195
    assert torch.equal(found[keeps], free[keeps])
    for path in found.tolist():
        assert legal([names[i] for i in path], scheme)


def test_padding_changes_nothing() -> None:
    steps = allowed_steps(tag_names(KINDS, "BILOU"))
    scores = normal(6, 5, len(steps.first))
    lengths = torch.tensor([5, 4, 3, 2, 1, 1])
    found = best_tags(scores, torch.arange(5) < lengths[:, None], steps)
    for row, length, path in zip(scores, lengths.tolist(), found, strict=True):
        alone = best_tags(row[None, :length], torch.ones(1, length, dtype=torch.bool), steps)
        assert torch.equal(path[:length], alone[0])


def test_overlapping_entities_have_no_tags() -> None:
    example = Annotated(tuple("abc"), (Entity("x", 0, 2), Entity("y", 1, 3)), ())
    with pytest.raises(ValueError, match="entities must not overlap"):
        tags_of(example, "BIO")


@pytest.mark.parametrize("tags", [[""], ["X-person"], ["person"], ["B"], ["B-"], ["O-person"], ["BI-x"]])
def test_what_is_no_tag(tags: list[str]) -> None:
    for use in (entities_of, allowed_steps):
        with pytest.raises(ValueError, match="tags must be O, or B, I, L or U with a hyphen and a kind"):
            use(tags)


def test_what_has_no_best_tags() -> None:
    steps, valid = allowed_steps(tag_names(KINDS, "BIO")), torch.ones(2, 3, dtype=torch.bool)
    with rejects("steps.first must be boolean of shape (6,)", "(5,)"):
        best_tags(normal(2, 3, 6), valid, steps)
    with rejects("steps.next must be boolean"):
        best_tags(normal(2, 3, len(steps.first)), valid, steps._replace(next=steps.next.long()))
    with rejects("scores must have at least one word and one tag", "(2, 0, 5)"):
        best_tags(normal(2, 0, 5), valid[:, :0], steps)
    with rejects("tags must not be empty"):
        allowed_steps([])
    with rejects("scheme must be one of", "'BIO', 'BILOU'", "got 'bilou'"):
        tags_of(Annotated(("a",), (), ()), "bilou")


@pytest.mark.parametrize(
    "fields",
    [
        (["a", "b"], (), ()),
        (("a", 7), (), ()),
        (("a", "b"), ((0, 1),), ()),
        (("a", "b"), (Entity._make(("x", 0.0, 1)),), ()),
        (("a", "b"), None, ()),
    ],
)
def test_what_is_no_sentence(fields: tuple[Any, ...]) -> None:
    """Also if it was made by a way that does not look: `_make` and `_replace` do not."""
    with unchecked(), pytest.raises(TypeError, match=r"words|entities|start"):
        tags_of(Annotated._make(fields), "BIO")
