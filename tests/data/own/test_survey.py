"""What is odd about examples is counted and named by line; the split is told from the examples alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.data.examples import Annotated, Entity, Pair, Question
from transformer_lib.data.own import Survey, drawn, kind_of, read_own, sides
from transformer_lib.data.own.found import Fault, Found


def _report(file: Path) -> dict[str, object]:
    survey = Survey()
    for found in read_own([file], kind_of([file])):
        survey.add(found)
    return survey.report()


def test_oddities_of_pairs_are_named(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    rows = [f"word {i}\tWort {i}" for i in range(20)]
    rows += ["word 3\tWort 3", "word 4\tanders", "same\tsame", "a\tvery much longer than usual", "x &amp; y\tx und y"]
    rows += ["Zoe\u0308\tZo\u00eb", "bad \ufffd\tschlecht", "no tab"]
    file.write_text("\n".join(rows))
    report = _report(file)
    assert report["examples"] == 27
    odd = {each["what"]: (each["times"], each["lines"]) for each in report["odd"]}  # type: ignore[attr-defined]
    line = f"{file}, line "
    assert odd == {
        "an example that stands there already": (1, [f"{line}21"]),
        "the same input as before with another answer": (1, [f"{line}22"]),
        "a translation that is its source": (1, [f"{line}23"]),
        "a translation over 3 times longer or shorter than usual": (1, [f"{line}24"]),
        "HTML in source": (1, [f"{line}25"]),
        "letters with their accents as characters of their own (not NFC) in source": (1, [f"{line}26"]),
        "U+FFFD, which stands where decoding went wrong, in source": (1, [f"{line}27"]),
    }
    assert [fault["line"] for fault in report["faults"]] == [28]  # type: ignore[attr-defined]
    assert report["lengths"]["words of source"] == {"least": 1, "median": 2, "95 %": 2, "most": 3}  # type: ignore[index]


def test_kinds_are_counted_and_rare_ones_named() -> None:
    survey = Survey()
    for i in range(6):
        entities = (Entity("PER", 0, 1), *((Entity("LOC", 1, 2),) if i == 0 else ()))
        survey.add(Found(Annotated((f"w{i}", "x"), entities, ()), "f", i + 1))
    survey.add(Fault("f", 9, "is wrong"))
    report = survey.report()
    assert report["counts"] == {"entities": {"PER": 6, "LOC": 1}}
    assert [each["what"] for each in report["odd"]] == ["entities of the kind 'LOC': only 1"]
    assert report["faults"] == [{"file": "f", "line": 9, "why": "is wrong"}]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.tsv", "a\tb\nc\td\n", "pairs"),
        ("a.txt", "a\tb\nc\td\n", "pairs"),
        ("a.jsonl", '{"source": "a", "target": "b"}\n', "pairs"),
        ("a.jsonl", '{"translation": {"en": "a", "de": "b"}}\n', "pairs"),
        ("a.conll", "a\tO\nb\tB-X\n\nc\tO\n", "columns"),
        ("a.txt", "a NN O\nb NN I-X\n\nc NN O\n", "columns"),
        ("a.conll", "a PER\nb O\n", "columns"),
        ("a.jsonl", '{"text": "a", "label": []}\n', "offsets"),
        ("a.jsonl", 'null\n{"source": "a"}\n{"source": "a", "target": "b"}\n', "pairs"),
        ("a.json", '{\n "data": []\n}', "questions"),
        ("a.jsonl", '{"context": "a", "question": "b", "answers": {}}\n', "questions"),
        ("a.txt", "O brave new world\nthat has such people in it\n", "texts"),
    ],
)
def test_kinds_are_told_from_the_beginning(name: str, text: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert kind_of([file]) == kind


def test_files_of_two_kinds_or_none_are_refused(tmp_path: Path) -> None:
    first, second, empty, other = (tmp_path / name for name in ("a.tsv", "b.conll", "c.txt", "d.jsonl"))
    first.write_text("a\tb\n")
    second.write_text("a B-X\n")
    empty.write_text("\n\n")
    other.write_text('{"name": 1}\n')
    with pytest.raises(ValueError, match="files must be of one kind"):
        kind_of([first, second])
    with pytest.raises(ValueError, match="must have lines of text"):
        kind_of([empty])
    with pytest.raises(ValueError, match="must have JSON objects with the fields"):
        kind_of([other])


@given(st.lists(st.integers(0, 60), min_size=10, max_size=80, unique=True), st.integers(0, 5))
def test_a_split_shares_nothing_and_does_not_depend_on_the_order(numbers: list[int], seed: int) -> None:
    pairs = [Pair(f"Word {i}!", str(j)) for i in numbers for j in range(2)] + [Pair(f"word {i}", "") for i in numbers]
    cuts = sides((drawn(pair, seed) for pair in pairs), validation=True, test=True)
    assert cuts == sides((drawn(pair, seed) for pair in reversed(pairs)), validation=True, test=True)
    parts: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for pair in pairs:
        parts[cuts.of(drawn(pair, seed))].add(pair.source.lower().strip("!"))
    wanted = max(1, round(len(numbers) / 10))
    assert len(parts["validation"]) == len(parts["test"]) == wanted
    assert sum(map(len, parts.values())) == len(numbers)


def test_questions_on_one_passage_stay_together() -> None:
    asked = [Question(str(i), "One passage.", f"What is {i}?", ()) for i in range(5)]
    assert len({drawn(question, 0) for question in asked}) == 1


def test_too_few_to_be_split_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 10 different examples"):
        sides([0.1] * 50, validation=True, test=False)
    assert sides([0.1], validation=False, test=False).of(0.0) == "train"
