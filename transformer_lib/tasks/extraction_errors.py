"""What is wrong with what was extracted: each error of a sentence by its sort, so that they can be counted.

Every wrong answer has one sort, and every true one that nothing answers is missed; so a mistaken kind counts once.
"""

from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity, check_annotated
from transformer_lib.tasks.extraction import named_relations

ENTITY_ERRORS = ("boundary", "kind", "invented", "missed")
RELATION_ERRORS = ("entity", "turned round", "kind", "wrong partner", "not said", "missed")


@checked
def entity_errors(found: Annotated, gold: Annotated) -> list[str]:
    """The sort of every error in the entities of a sentence.

    A wrong answer has the right words and another "kind"; or it overlaps a true entity and has a wrong "boundary"; or
    it is "invented". A true entity that no answer overlaps is "missed".
    """
    check_annotated(found)
    check_annotated(gold)
    errors = []
    for entity in set(found.entities) - set(gold.entities):
        near = [true for true in gold.entities if _overlap(entity, true)]
        if any(entity[1:] == true[1:] for true in near):
            errors.append("kind")
        else:
            errors.append("boundary" if near else "invented")
    missed = [true for true in gold.entities if not any(_overlap(entity, true) for entity in found.entities)]
    return errors + ["missed"] * len(missed)


@checked
def relation_errors(found: Annotated, gold: Annotated) -> list[str]:
    """The sort of every error in the relations of a sentence.

    A wrong answer rests on a wrong "entity"; or it is "turned round"; or it has another "kind"; or the "wrong partner",
    where its kind and one of its ends are those of a true relation; or nothing of the sort was "not said". A true
    relation is "missed" if both its entities were found and nothing was said of the two.
    """
    check_annotated(found)
    check_annotated(gold)
    ours, true = set(named_relations(found)), set(named_relations(gold))
    pairs, known = {(head, tail) for _, head, tail in true}, set(gold.entities)
    errors: list[str] = []
    for kind, head, tail in ours - true:
        if not {head, tail} <= known:
            errors.append("entity")
        elif (kind, tail, head) in true:
            errors.append("turned round")
        elif (head, tail) in pairs:
            errors.append("kind")
        elif any(k == kind and {h, t} & {head, tail} for k, h, t in true):
            errors.append("wrong partner")
        else:
            errors.append("not said")
    given = {frozenset((head, tail)) for _, head, tail in ours}
    for _, head, tail in true - ours:
        if {head, tail} <= set(found.entities) and frozenset((head, tail)) not in given:
            errors.append("missed")
    return errors


def _overlap(a: Entity, b: Entity) -> bool:
    return a.start < b.end and b.start < a.end
