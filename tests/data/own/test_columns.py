"""Entities written in any of the four schemes come back; the scheme is told from the tags of the file."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.data.examples import Annotated, Entity
from transformer_lib.data.own import Fault, read_columns
from transformer_lib.data.own.columns import entities_of, scheme_of

KINDS = ("PER", "LOC-x")


@st.composite
def sentences(draw: st.DrawFn) -> tuple[int, tuple[Entity, ...]]:
    """A length, and entities that do not overlap."""
    length = draw(st.integers(1, 12))
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=8)))
    spans = [span for span in pairwise(cuts) if draw(st.booleans())]
    return length, tuple(Entity(draw(st.sampled_from(KINDS)), *span) for span in spans)


def tags(length: int, entities: tuple[Entity, ...], scheme: str) -> list[str]:
    """The tags as the papers define the schemes, written here once more."""
    row = ["O"] * length
    for entity in entities:
        for place in range(entity.start, entity.end):
            first, last = place == entity.start, place == entity.end - 1
            touches = any(e.kind == entity.kind and e.end == entity.start for e in entities)
            letter = {
                "IO": "I",
                "IOB1": "B" if first and touches else "I",
                "IOB2": "B" if first else "I",
                "BILOU": "U" if first and last else "B" if first else "L" if last else "I",
                "IOBES": "S" if first and last else "B" if first else "E" if last else "I",
            }[scheme]
            row[place] = f"{letter}-{entity.kind}"
    return row


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BILOU", "IOBES"])
@given(sentence=sentences())
def test_what_is_written_is_read(scheme: str, sentence: tuple[int, tuple[Entity, ...]]) -> None:
    assert entities_of(tags(*sentence, scheme), "BILOU" if scheme == "IOBES" else scheme) == sentence[1]


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        ([["I-PER", "I-PER"], ["O", "I-LOC"]], "IO"),
        ([["PER", "O"]], "IO"),
        ([["I-PER", "B-PER", "I-PER"]], "IOB1"),
        ([["B-PER", "I-PER"], ["B-LOC", "B-PER"]], "IOB2"),
        ([["B-PER", "I-PER"], ["I-LOC"]], "IOB2"),
        ([["B-PER", "L-PER"]], "BILOU"),
        ([["S-PER", "O"]], "BILOU"),
        ([["O"]], "IOB2"),
    ],
)
def test_the_scheme_is_told_from_the_tags(rows: list[list[str]], scheme: str) -> None:
    assert scheme_of(iter(rows)) == scheme


def test_blanks_tabs_documents_comments_and_columns_between(tmp_path: Path) -> None:
    file = tmp_path / "x.conll"
    file.write_text(
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP I-ORG\nrejects VBZ B-VP O\n\n\n# id 7\nNew\tNNP\tI-LOC\nYork\tNNP\tI-LOC\n"
        "\n#Oslo I-LOC\n"
    )
    found = list(read_columns(file))
    assert [each.example for each in found if not isinstance(each, Fault)] == [
        Annotated(("EU", "rejects"), (Entity("ORG", 0, 1),), ()),
        Annotated(("New", "York"), (Entity("LOC", 0, 2),), ()),
        Annotated(("#Oslo",), (Entity("LOC", 0, 1),), ()),
    ]
    assert [each.line for each in found] == [3, 8, 11]


def test_a_wrong_sentence_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x.conll"
    file.write_bytes(b"a B-PER\nb I-LOC\n\nc B-PER\nd\n\ne B-PER\n\n\xff O\nf O\n")
    found = list(read_columns(file))
    assert [(each.line, isinstance(each, Fault)) for each in found] == [(2, True), (5, True), (7, False), (9, True)]
    assert "tag 'I-LOC' must not stand here, by the scheme IOB2" in str(found[0])


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        (["B-PER", "O"], 1),
        (["B-PER"], 0),
        (["I-PER", "L-PER"], 0),
        (["U-PER", "L-PER"], 1),
        (["B-PER", "U-PER"], 1),
        (["B-PER", "L-LOC"], 1),
    ],
)
def test_bilou_that_contradicts_itself(row: list[str], wrong: int) -> None:
    assert entities_of(row, "BILOU") == wrong
