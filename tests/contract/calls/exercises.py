"""How the public callables of `transformer_lib.exercises` are called validly."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.exercises.questions import Amount, Choices, Order

HERE = "transformer_lib.exercises."
CHOICES = {"name": "q-x", "kind": "one", "text": "Which?", "right": "a"}
CHOICES |= {"choices": {"a": "x", "b": "y"}, "why": {"a": "so", "b": "not so"}}
AMOUNT = {"name": "q-n", "text": "How many?", "right": 2.0, "why": "so", "wrong": [(3.0, "one more")]}
ORDER = {"name": "q-o", "text": "Which first?", "choices": {"a": "x", "b": "y"}, "why": {"ba": "so"}, "right": "ba"}
QUESTION = '[q-x]\nkind = "one"\ntext = "Which?"\nright = "a"\na = ["x", "so"]\nb = ["y", "not so"]\n'


def questions_file() -> Path:
    path = Path(tempfile.mkdtemp(dir=".")) / "chapters" / "questions" / "x.toml"
    path.parent.mkdir(parents=True)
    path.write_text(QUESTION)
    return path


def _numbers() -> dict[str, Any]:
    return {"right": {"n": 2.0}, "wrong": {"one more": {"n": 3.0}}}


def _double(x: float) -> float:
    return 2 * x


def _function() -> dict[str, Any]:
    return {"right": _double, "wrong": {"a sum": lambda x: x + 2}, "cases": lambda: [[1.0], [3.0]]}


def _made() -> dict[str, Any]:
    return {"laws": {"too short": lambda text: len(text) > 2}, "example": lambda: "abc", "wrong": lambda: ["a"]}


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}verdict.Verdict": lambda: {"right": True, "said": "so"},
    f"{HERE}agree.Raised": lambda: {"kind": "ValueError", "message": "no"},
    f"{HERE}agree.result_or_error": lambda: {"function": _double, "arguments": [1.0]},
    f"{HERE}agree.agree": lambda: {"one": [1.0, 2.0], "other": [1.0, 2.0], "tolerance": 1e-3},
    f"{HERE}agree.numbers_of": lambda: {"value": [1.0, 2.0]},
    f"{HERE}agree.short_text": lambda: {"value": [1.0, 2.0]},
    f"{HERE}numbers.Numbers": lambda: {**_numbers(), "tolerance": 0.1, "why": "so"},
    f"{HERE}numbers.Numbers.judge": lambda: {"self": Numbers(**_numbers()), "answer": 2.0},
    f"{HERE}function.Function": lambda: {**_function(), "tolerance": 0.1, "why": "so"},
    f"{HERE}function.Function.judge": lambda: {"self": Function(**_function()), "answer": _double},
    f"{HERE}made.Made": lambda: {**_made(), "why": "so"},
    f"{HERE}made.Made.judge": lambda: {"self": Made(**_made()), "answer": "abcd"},
    f"{HERE}questions.Choices": lambda: dict(CHOICES),
    f"{HERE}questions.Choices.judge": lambda: {"self": Choices(**CHOICES), "answer": "a"},
    f"{HERE}questions.Choices.agrees": lambda: {"self": Choices(**CHOICES), "computed": [True, False]},
    f"{HERE}questions.Choices.answer": lambda: {"self": Choices(**CHOICES)},
    f"{HERE}questions.Amount": lambda: {**AMOUNT, "tolerance": 0.1, "unit": "keys"},
    f"{HERE}questions.Amount.judge": lambda: {"self": Amount(**AMOUNT), "answer": 2.0},
    f"{HERE}questions.Amount.agrees": lambda: {"self": Amount(**AMOUNT), "computed": 2.0},
    f"{HERE}questions.Amount.answer": lambda: {"self": Amount(**AMOUNT)},
    f"{HERE}questions.Order": lambda: dict(ORDER),
    f"{HERE}questions.Order.judge": lambda: {"self": Order(**ORDER), "answer": "ab"},
    f"{HERE}questions.Order.agrees": lambda: {"self": Order(**ORDER), "computed": [2.0, 1.0]},
    f"{HERE}questions.Order.answer": lambda: {"self": Order(**ORDER)},
    f"{HERE}questions.exact_text": lambda: {"number": 36.0},
    f"{HERE}question_files.read_questions": lambda: {"path": questions_file()},
    f"{HERE}question_files.find_question": lambda: {"name": "q-x", "folder": questions_file().parents[2]},
    f"{HERE}question_text.as_markdown": lambda: {"question": Choices(**CHOICES)},
    f"{HERE}question_text.as_plain": lambda: {"question": Choices(**CHOICES)},
    f"{HERE}catalogue.chapter_names": dict,
    f"{HERE}catalogue.exercises_of": lambda: {"chapter": "attention"},
    f"{HERE}catalogue.not_checked": lambda: {"chapter": "attention"},
    f"{HERE}catalogue.find_exercise": lambda: {"name": "ex-grouped"},
}
EXCUSED: dict[str, str] = {}
