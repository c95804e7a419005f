"""Every exercise of the book that can be judged: its right answer passes, and each known mistake gets its own hint."""

import pytest

from transformer_lib.exercises.catalogue import chapter_names, exercises_of, find_exercise, not_checked
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

EXERCISES = {name: exercise for chapter in chapter_names() for name, exercise in exercises_of(chapter).items()}
LEAST_MISTAKES = 3


def hints(name: str) -> list[str]:
    """What is said to each known mistake."""
    match EXERCISES[name]:
        case Numbers() as exercise:
            given = [exercise.judge({**exercise.right, **values}) for values in exercise.wrong.values()]
        case Function() as exercise:
            given = [exercise.judge(wrong) for wrong in exercise.wrong.values()]
        case Made() as exercise:
            given = [exercise.judge(wrong) for wrong in exercise.wrong()]
    assert not any(verdict.right for verdict in given)
    return [verdict.said for verdict in given]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_right_answer_passes(name: str) -> None:
    match EXERCISES[name]:
        case Numbers() as exercise:
            verdict = exercise.judge(list(exercise.right.values()))
        case Function() as exercise:
            verdict = exercise.judge(exercise.right)
        case Made() as exercise:
            verdict = exercise.judge(exercise.example())
    assert verdict.right, verdict.said


@pytest.mark.parametrize("name", EXERCISES)
def test_each_mistake_gets_a_hint_of_its_own(name: str) -> None:
    said, exercise = hints(name), EXERCISES[name]
    assert len(set(said)) == len(said) >= LEAST_MISTAKES
    known = exercise.laws if isinstance(exercise, Made) else exercise.wrong
    assert set(said) <= set(known) if isinstance(exercise, Made) else said == list(known)


@pytest.mark.parametrize("name", [name for name, exercise in EXERCISES.items() if isinstance(exercise, Function)])
def test_the_right_function_has_the_properties(name: str) -> None:
    exercise = EXERCISES[name]
    assert isinstance(exercise, Function)
    for sentence, holds in exercise.properties.items():
        assert all(holds(exercise.right, *case) for case in exercise.cases()), sentence


def test_no_exercise_is_listed_twice() -> None:
    names = [name for chapter in chapter_names() for name in (*exercises_of(chapter), *not_checked(chapter))]
    assert len(names) == len(set(names)) and all(name.startswith("ex-") for name in names)
    assert all(len(reason) > 15 for chapter in chapter_names() for reason in not_checked(chapter).values())


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ValueError, match=r"name must be that of an exercise \(.*ex-grouped.*\), got 'ex-groupd'"):
        find_exercise("ex-groupd")
    with pytest.raises(ValueError, match="cannot be judged by a program: it asks"):
        find_exercise("ex-causal-order")
    with pytest.raises(ValueError, match=r"chapter must be one of .*attention"):
        exercises_of("atention")
