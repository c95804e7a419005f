"""Other names in the same sentence, looked up by hand."""

from collections import Counter

import pytest
import torch

from transformer_lib.data.examples import Annotated, Entity, Relation, check_annotated
from transformer_lib.data.toy_extraction import sentences
from transformer_lib.tasks.mentions import disguised, rename, swapped

# Entities out of order, as real data may have them.
EXAMPLE = Annotated(
    ("The", "Elm", "Road", "was", "written", "by", "Ada", "Novak", "."),
    (Entity("person", 6, 8), Entity("work", 0, 3)),
    (Relation("wrote", 0, 1),),
)
POOL = sentences(200, group="train", names="known", seed=0)


def test_renaming_moves_what_comes_after() -> None:
    new = {"person": ("Bo",), "work": ("A", "Long", "Wet", "Road")}
    changed = rename(EXAMPLE, lambda kind, words: new[kind])
    assert " ".join(changed.words) == "A Long Wet Road was written by Bo ."
    assert changed.entities == (Entity("person", 7, 8), Entity("work", 0, 4))
    assert changed.relations == EXAMPLE.relations
    assert rename(EXAMPLE, lambda kind, words: words) == EXAMPLE


def test_a_swapped_name_is_one_of_its_kind() -> None:
    torch.manual_seed(0)
    names = {(e.kind, x.words[e.start : e.end]) for x in POOL for e in x.entities}
    change, seen = swapped(POOL, 1.0), Counter()
    for _ in range(50):
        changed = change(EXAMPLE)
        check_annotated(changed)
        found = [(kind, changed.words[start:end]) for kind, start, end in changed.entities]
        assert set(found) <= names
        outside = [w for i, w in enumerate(changed.words) if not any(e.start <= i < e.end for e in changed.entities)]
        assert outside == ["was", "written", "by", "."]
        seen.update(found)
    assert len(seen) > 60
    assert swapped(POOL, 0.0)(EXAMPLE) == EXAMPLE
    assert swapped([EXAMPLE._replace(entities=(), relations=())], 1.0)(EXAMPLE) == EXAMPLE


def test_a_disguised_name_keeps_its_shape() -> None:
    torch.manual_seed(0)
    changed = disguised(1.0)(EXAMPLE)
    check_annotated(changed)
    assert changed.entities == EXAMPLE.entities and changed.words[3:6] == EXAMPLE.words[3:6]
    for place in (0, 1, 2, 6, 7):
        assert changed.words[place] != EXAMPLE.words[place]
        assert changed.words[place].istitle() and len(changed.words[place]) == len(EXAMPLE.words[place])
    assert disguised(0.0)(EXAMPLE) == EXAMPLE


def test_the_probability_is_kept_and_the_seed_decides() -> None:
    torch.manual_seed(1)
    first = [disguised(0.3)(example) for example in POOL]
    torch.manual_seed(1)
    assert first == [disguised(0.3)(example) for example in POOL]
    pairs = [(old, new) for a, b in zip(POOL, first, strict=True) for old, new in zip(a.words, b.words, strict=True)]
    inside = [
        old != new
        for a, b in zip(POOL, first, strict=True)
        for e in a.entities
        for old, new in zip(a.words[e.start : e.end], b.words[e.start : e.end], strict=True)
        if old[0].isupper()
    ]
    assert len(inside) > 500 and 0.25 < sum(inside) / len(inside) < 0.35
    assert sum(old != new for old, new in pairs) == sum(inside)


@pytest.mark.parametrize("build", [disguised, lambda p: swapped(POOL, p)])
def test_what_is_no_probability(build: object) -> None:
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"probability must be from 0 to 1, got {wrong}"):
            build(wrong)  # type: ignore[operator]


def test_what_is_no_new_name() -> None:
    with pytest.raises(TypeError, match="new must be a function that gives a tuple of words, got 'Bo'"):
        rename(EXAMPLE, lambda kind, words: "Bo")  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match=r"words\[6\] must be a string, got 7"):
        rename(EXAMPLE, lambda kind, words: (7,) if kind == "person" else words)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="entities must be spans of at least one"):
        rename(EXAMPLE, lambda kind, words: ())
    overlapping = EXAMPLE._replace(entities=(Entity("person", 6, 8), Entity("work", 0, 7)))
    for change in (disguised(0.5), lambda example: rename(example, lambda kind, words: words)):
        with pytest.raises(ValueError, match="entities must not overlap"):
            change(overlapping)
    with pytest.raises(ValueError, match="entities must not overlap"):
        swapped([overlapping], 0.5)


def test_a_name_may_be_written_with_combining_marks_or_not_at_all() -> None:
    example = Annotated(("", "Zoe\u0308"), (Entity("person", 0, 2),), ())
    assert disguised(1.0)(example).words[0] == ""
