"""The shares of entities against the sum over every sequence of tags, one by one."""

from itertools import pairwise, product

import pytest
import torch

from transformer_lib.data.examples import Entity
from transformer_lib.tasks.tag_marginals import entity_shares
from transformer_lib.tasks.tagging import allowed_steps, entities_of, tag_names


def by_counting(scores: torch.Tensor, tags: tuple[str, ...]) -> dict[Entity, float]:
    """The weight of every entity in every allowed sequence, divided by that of all of them."""
    first, following, last = allowed_steps(tags)
    weights: dict[Entity, float] = {}
    total = 0.0
    for path in product(range(len(tags)), repeat=len(scores)):
        stands = first[path[0]] and last[path[-1]] and all(following[pair] for pair in pairwise(path))
        if stands:
            weight = float(sum(scores[place, tag] for place, tag in enumerate(path)).exp())
            total += weight
            for entity in entities_of([tags[tag] for tag in path]):
                weights[entity] = weights.get(entity, 0.0) + weight
    return {entity: weight / total for entity, weight in weights.items()}


@pytest.mark.parametrize(("scheme", "words"), [("BIO", 4), ("BILOU", 3), ("BIO", 1), ("BILOU", 1)])
def test_a_share_is_that_of_all_sequences(scheme: str, words: int) -> None:
    tags = tag_names(["x", "y"], scheme)  # type: ignore[arg-type]
    scores = torch.randn(words, len(tags), generator=torch.Generator().manual_seed(words), dtype=torch.float64)
    wanted = by_counting(scores, tags)
    assert len(wanted) == 2 * words * (words + 1) // 2
    for entity, share in wanted.items():
        [found] = entity_shares(scores, tags, [entity], scheme=scheme)  # type: ignore[arg-type]
        assert abs(found - share) < 1e-12


def test_entities_together_have_the_shares_that_each_has_alone() -> None:
    tags = tag_names(["x"], "BILOU")
    scores = torch.randn(5, len(tags), generator=torch.Generator().manual_seed(1))
    entities = [Entity("x", 0, 2), Entity("x", 3, 4)]
    alone = [entity_shares(scores, tags, [entity], scheme="BILOU")[0] for entity in entities]
    assert entity_shares(scores, tags, entities, scheme="BILOU") == alone


@pytest.mark.parametrize(
    ("entities", "words"),
    [
        ([Entity("z", 0, 1)], "of kinds that have tags"),
        ([Entity("x", 1, 9)], "spans of at least one of the 3 words"),
        ([Entity("x", 0, 2), Entity("x", 1, 3)], "not overlap"),
    ],
)
def test_what_has_no_share(entities: list[Entity], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        entity_shares(torch.zeros(3, 3), ["O", "B-x", "I-x"], entities, scheme="BIO")
    with pytest.raises(ValueError, match="must be finite"):
        entity_shares(torch.full((3, 3), torch.nan), ["O", "B-x", "I-x"], [], scheme="BIO")
