"""Each sort of error, on a sentence in which it can be seen."""

import pytest

from transformer_lib.data.examples import Annotated, Entity, Relation
from transformer_lib.tasks.extraction_errors import ENTITY_ERRORS, RELATION_ERRORS, entity_errors, relation_errors

WORDS = tuple("abcdefgh")
ADA, BEN, ACME, CITY = Entity("person", 0, 2), Entity("person", 3, 4), Entity("firm", 5, 6), Entity("place", 7, 8)
ENTITIES = (ADA, BEN, ACME, CITY)
GOLD = Annotated(WORDS, ENTITIES, (Relation("works", 0, 2), Relation("lives", 0, 3)))


def found(*entities: Entity, relations: tuple[tuple[str, int, int], ...] = ()) -> Annotated:
    return Annotated(WORDS, entities, tuple(Relation(*each) for each in relations))


@pytest.mark.parametrize(
    ("entities", "errors"),
    [
        (ENTITIES, []),
        ((ADA, BEN, ACME._replace(kind="place"), CITY), ["kind"]),
        ((Entity("person", 0, 1), BEN, ACME, CITY), ["boundary"]),
        ((ADA, BEN, ACME), ["missed"]),
        ((*ENTITIES, Entity("firm", 6, 7)), ["invented"]),
    ],
)
def test_entities(entities: tuple[Entity, ...], errors: list[str]) -> None:
    assert entity_errors(found(*entities), GOLD) == errors
    assert set(errors) <= set(ENTITY_ERRORS)


@pytest.mark.parametrize(
    ("relations", "errors"),
    [
        ((("works", 0, 2), ("lives", 0, 3)), []),
        ((("works", 0, 2),), ["missed"]),
        ((("works", 2, 0), ("lives", 0, 3)), ["turned round"]),
        ((("owns", 0, 2), ("lives", 0, 3)), ["kind"]),
        ((("works", 0, 2), ("lives", 0, 3), ("lives", 1, 3)), ["wrong partner"]),
        ((("works", 0, 2), ("lives", 0, 3), ("owns", 1, 2)), ["not said"]),
    ],
)
def test_relations(relations: tuple[tuple[str, int, int], ...], errors: list[str]) -> None:
    assert relation_errors(found(*ENTITIES, relations=relations), GOLD) == errors
    assert set(errors) <= set(RELATION_ERRORS)


def test_a_relation_of_a_wrong_entity_is_that_and_misses_nothing_else() -> None:
    wrong = Entity("person", 0, 1)
    ours = found(wrong, BEN, ACME, CITY, relations=(("works", 0, 2), ("lives", 0, 3)))
    assert relation_errors(ours, GOLD) == ["entity", "entity"]
