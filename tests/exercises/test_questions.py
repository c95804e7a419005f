"""Questions: how they are read from a file, what is said to answers, and how a cell prints and holds them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from transformer_lib.book import ask, check
from transformer_lib.exercises.question_files import find_question, read_questions

FILE = """
[q-one]
kind = "one"
text = "Which $x$?"
right = "b"
a = ["the first", "no: it is too small"]
b = ["the second", "yes"]

[q-several]
kind = "several"
text = "Which ones?"
right = "ca"
a = ["x", "x fits"]
b = ["y", "y does not"]
c = ["z", "z fits"]

[q-number]
kind = "number"
text = "How many?"
right = 36
unit = "pairs"
why = "counted"
wrong = [[28, "without the diagonal"], [64, "all"]]

[q-order]
kind = "order"
text = "Which first?"
right = "bca"
a = "last"
b = "first"
c = "second"
bc = "b makes what c needs"
ca = "c makes what a needs"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "chapters" / "questions" / "x.toml"
    path.parent.mkdir(parents=True)
    path.write_text(FILE)
    monkeypatch.chdir(tmp_path / "chapters")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "answer", "right", "said"),
    [
        ("q-one", "b", True, "yes"),
        ("q-one", "A", False, "no: it is too small"),
        ("q-several", "ac", True, "x fits z fits"),
        ("q-several", "c, b", False, "a, left out: x fits b, chosen: y does not"),
        ("q-number", 36, True, "counted"),
        ("q-number", 28.0, False, "without the diagonal"),
        ("q-number", 35, False, "That is none of the mistakes known here. Try it with smaller numbers first."),
        ("q-order", "b c a", True, "b makes what c needs c makes what a needs"),
        ("q-order", "bac", False, "c before a: c makes what a needs"),
        ("q-order", "abc", False, "c before a: c makes what a needs"),
    ],
)
def test_what_is_said_to_an_answer(folder: Path, name: str, answer: Any, right: bool, said: str) -> None:
    verdict = check(name, answer)
    assert (verdict.right, verdict.said) == (right, said)
    assert repr(verdict) == f"{'Right' if right else 'Not yet'}. {said}"
    assert verdict._repr_markdown_() == f"**{'Right' if right else 'Not yet'}.** {said}"


@pytest.mark.parametrize(
    ("name", "answer", "error", "message"),
    [
        ("q-one", "ab", ValueError, "answer must be one letter, got 'ab'"),
        ("q-one", "x", ValueError, "answer must be letters of ab, got 'x'"),
        ("q-one", 1, TypeError, "answer must be"),
        ("q-number", "36", TypeError, "answer must be"),
        ("q-order", "bc", ValueError, "answer must have each of abc once, got 'bc'"),
        ("q-two", "a", ValueError, r"name must be that of a question \(q-one, q-several, q-number, q-order\), got"),
    ],
)
def test_what_is_no_answer_is_refused(folder: Path, name: str, answer: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        check(name, answer)


def test_without_questions_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*questions"):
        find_question("q-one", tmp_path)


@pytest.mark.parametrize(
    ("name", "computed", "holds"),
    [
        ("q-one", [False, True], True),
        ("q-one", torch.tensor([1.0, 2.0]).argmax(), True),
        ("q-one", 0, False),
        ("q-one", [True, True], False),
        ("q-several", torch.tensor([True, False, True]), True),
        ("q-several", [True, False], False),
        ("q-number", torch.tensor(36), True),
        ("q-number", 36.1, False),
        ("q-order", [3, 0.5, 2], True),
        ("q-order", [3, 2, 2], False),
        ("q-order", [1, 2, 3], False),
    ],
)
def test_a_cell_must_compute_what_the_file_says(folder: Path, name: str, computed: Any, holds: bool) -> None:
    if holds:
        assert name in ask({name: computed}).markdown
    else:
        with pytest.raises(ValueError, match=f"{name} must have the answer of its file"):
            ask({name: computed})


def test_the_printed_question_has_all_that_the_page_needs(folder: Path) -> None:
    shown = ask({"q-one": 1, "q-number": 36})
    assert shown.plain.splitlines() == [
        "q-one (one choice is right): Which $x$?",
        "  a  the first",
        "  b  the second",
        "",
        "q-number (a number): How many?",
    ]
    first, second = shown.markdown.split('<div class="question" ')[1:]
    assert first.startswith('id="q-one" data-kind="one" data-right="b">\n\n**Question** (one choice is right). Which')
    assert "- **a** the first\n- **b** the second\n" in first and "- **a** no: it is too small\n- **b** yes\n" in first
    assert first.index("<details>") < first.index("Right is b.") and 'check("q-one", ...)' in first
    assert 'data-right="36" data-tolerance="0" data-unit="pairs" data-wrong="28 64"' in second
    assert "Right is 36 pairs. counted\n\n- 28? without the diagonal\n- 64? all\n" in second
    assert 'data-right="bca" data-pairs="bc ca"' in ask({"q-order": [3, 1, 2]}).markdown


BROKEN = {
    'kind = "one"': ('kind = "two"', "q-one: kind must be one of one, several, number, order, got 'two'"),
    'right = "b"': ('right = "ab"', "q-one: right must be one letter"),
    'b = ["the second", "yes"]': ('b = ["the second"]', "q-one: b must be two things"),
    'b = ["the second", "yes"]\n': ("", r"q-one must have the letters a, got \['a'\]"),
    'c = ["z", "z fits"]': ('d = ["z", "z fits"]', "q-several must have the letters a, b, c"),
    'a = ["x", "x fits"]': ('a = ["x", " "]', "q-several: a must be two things"),
    'wrong = [[28, "without the diagonal"], [64, "all"]]': ("", "q-number: wrong must be a list"),
    '[28, "without': ('[36, "without', "q-number: wrong must be farther from the right number"),
    'why = "counted"': ("", "q-number: why must be a text, got None"),
    'unit = "pairs"': ('units = "pairs"', "q-number must have no more than .*unit"),
    'right = "bca"': ('right = "abc"', "q-order: right must have every letter, in another order"),
    'bc = "b makes what c needs"': ("", "q-order: bc must be a text"),
    'ca = "c': ('ab = "c', "q-order must have no more than"),
    "[q-several]": ("[several]", "several must begin with q-"),
    'text = "How many?"': ("text = how", "x.toml: Invalid value"),
}


@pytest.mark.parametrize("old", BROKEN)
def test_what_is_missing_or_unknown_is_refused(folder: Path, old: str) -> None:
    new, message = BROKEN[old]
    path = folder / "chapters" / "questions" / "x.toml"
    assert FILE.count(old) == 1
    path.write_text(FILE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_questions(path)
