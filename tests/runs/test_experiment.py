"""Experiments: every run once, rates chosen inside their grid, records that go on, and what may be said of a spread."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from transformer_lib.runs.experiment import Experiment, _helpers, execute, load_experiment, program_of
from transformer_lib.runs.records import Record, Spread

# The loss has its minimum over the rate at `best`; `log` lists the runs as they are made.
PROGRAM = '''"""Does a larger width help?

The two differ in their width alone.
"""

import math
from pathlib import Path

from transformer_lib.runs.experiment import Experiment


def run(seed: int, best: float, rate: float = 1.0, width: int = 1) -> dict[str, object]:
    with Path({log!r}).open("a") as log:
        print(seed, best, rate, file=log)
    if Path({stop!r}).exists() and seed == 1:
        raise KeyboardInterrupt
    loss = math.nan if rate > 50 else abs(math.log(rate / best)) + seed / 1000
    return {{"validation": loss, "test": 2 * loss, "curve": [3.0, loss]}}


EXPERIMENT = Experiment(
    arms={{"narrow": {{"best": 0.1}}, "wide": {{"best": {wide}, "width": 2}}}},
    run=run,
    rates={rates},
    chosen_by={chosen!r},
    choice_seeds=(7, 8),
)
'''


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "experiments"
    folder.mkdir()

    class Bench:
        path, record = folder / "width.py", tmp_path / "results" / "width.json"
        log, stop = tmp_path / "log", tmp_path / "stop"

        def write(self, *, wide: float = 0.1, rates: Any = (0.01, 0.1, 1.0), more: str = "") -> None:
            files = {"log": str(self.log), "stop": str(self.stop)}
            text = PROGRAM.format(wide=wide, rates=rates, chosen="validation" if rates else "", **files)
            self.path.write_text(text + more)

        def made(self) -> list[tuple[float, ...]]:
            """The runs that `execute` makes now: seed, best, rate."""
            self.log.write_text("")
            execute(self.path)
            return [tuple(map(float, line.split())) for line in self.log.read_text().splitlines()]

    yield Bench()


def test_each_arm_has_its_best_rate_and_all_seeds(bench: Any) -> None:
    bench.write(wide=1.0, rates=(0.01, 0.1, 1.0, 10.0))
    assert len(bench.made()) == 2 * (4 * 2 + 3)
    found = Record(bench.record)
    assert found.question == "Does a larger width help?"
    assert (found.rate("narrow"), found.rate("wide")) == (0.1, 1.0)
    assert found.seeds("wide") == (0, 1, 2)
    assert found.spread("wide", "test").values == pytest.approx((0.0, 0.002, 0.004))
    assert found.each("wide", "curve")[1] == pytest.approx([3.0, 0.001])
    assert found.tried("narrow")[0.01] == pytest.approx([math.log(10) + 0.007, math.log(10) + 0.008])
    arm = found.content["arms"]["wide"]
    assert arm["settings"] == {"best": 1.0, "width": 2}
    assert {"commit", "clean", "machine", "versions"} <= arm["made_from"].keys()


def test_a_grid_grows_until_its_best_rate_is_inside(bench: Any) -> None:
    bench.write(wide=0.0001, rates=(0.1, 1.0, 10.0))
    bench.made()
    found = Record(bench.record)
    assert found.rate("wide") == 0.0001
    assert list(found.tried("wide")) == [0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0]
    assert list(found.tried("narrow")) == [0.01, 0.1, 1.0, 10.0], "only the arm that needs it"


def test_a_rate_at_which_runs_fail_is_tried_and_not_chosen(bench: Any) -> None:
    bench.write(wide=50.0, rates=(5.0, 20.0, 80.0))
    bench.made()
    found = Record(bench.record)
    assert found.rate("wide") == 20.0
    assert found.tried("wide")[80.0] == [None, None]


def test_a_run_that_stands_is_not_made_again(bench: Any) -> None:
    bench.write()
    first = bench.made()
    text = bench.record.read_text()
    assert len(first) == 2 * (3 * 2 + 3)
    assert bench.made() == []
    bench.write(more="\n\n# A comment changes nothing.\n")
    assert bench.made() == []
    assert json.loads(bench.record.read_text()) == json.loads(text)


def test_only_what_has_changed_runs_again(bench: Any) -> None:
    bench.write()
    bench.made()
    bench.write(wide=1.0, rates=(0.01, 0.1, 1.0, 10.0))
    again = bench.made()
    assert {best for _, best, _ in again if best == 1.0} and len([run for run in again if run[1] == 1.0]) == 4 * 2 + 3
    assert [run for run in again if run[1] == 0.1] == [(7, 0.1, 10.0), (8, 0.1, 10.0)], (
        "the arm that stood tries the new rate"
    )
    bench.write(wide=1.0, rates=(0.01, 0.1, 1.0, 10.0), more="\n\nPI = 3\n")
    assert len(bench.made()) == len(again) - 2 + 4 * 2 + 3, "another program"


def test_whoever_is_interrupted_goes_on(bench: Any) -> None:
    bench.write(rates=())
    bench.stop.touch()
    with pytest.raises(KeyboardInterrupt):
        bench.made()
    assert Record(bench.record).seeds("narrow") == (0,)
    bench.stop.unlink()
    assert bench.made() == [(1, 0.1, 1.0), (2, 0.1, 1.0), (0, 0.1, 1.0), (1, 0.1, 1.0), (2, 0.1, 1.0)]
    assert [Record(bench.record).seeds(arm) for arm in ("narrow", "wide")] == [(0, 1, 2)] * 2


def test_again_makes_all_runs_anew(bench: Any) -> None:
    bench.write(rates=())
    bench.made()
    bench.log.write_text("")
    execute(bench.path, again=True)
    assert len(bench.log.read_text().splitlines()) == 2 * 3


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("arms", {}),
        ("seeds", (0, 1)),
        ("seeds", (0, 1, 1)),
        ("choice_seeds", (2, 3)),
        ("rates", (0.1, 1.0)),
        ("rates", (1.0, 0.1, 0.01)),
        ("rates", ()),
        ("chosen_by", ""),
    ],
)
def test_what_would_be_no_experiment_is_refused(setting: str, value: Any) -> None:
    right: dict[str, Any] = {"arms": {"a": {}}, "run": dict, "rates": (0.1, 1.0, 10.0), "chosen_by": "loss"}
    Experiment(**right)
    with pytest.raises(ValueError, match=setting if setting != "rates" or value else "chosen_by"):
        Experiment(**right | {setting: value})


def test_a_file_that_defines_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    path.write_text('"""Why?"""\n')
    with pytest.raises(TypeError, match=r"EXPERIMENT in nothing\.py"):
        load_experiment(path)
    path.write_text(
        "from transformer_lib.runs.experiment import Experiment\nEXPERIMENT = Experiment({'a': {}}, dict)\n"
    )
    with pytest.raises(ValueError, match=r"nothing\.py must begin with a docstring"):
        load_experiment(path)


def test_a_program_is_known_by_what_it_does() -> None:
    plain = "def run():\n    return 1\n"
    assert program_of(
        '"""Text."""\n# Comment\ndef run():\n    """Text."""\n    return 1\nEXPERIMENT = 3\n'
    ) == program_of(plain)
    assert program_of(plain.replace("1", "2")) != program_of(plain)


def test_a_difference_within_the_spread_is_a_tie() -> None:
    low, near, far = Spread((1.0, 1.1, 1.2)), Spread((1.15, 1.25, 1.3)), Spread((1.5, 1.6, 1.7))
    assert low.ties(near) and not low.below(near) and not near.above(low)
    assert low.below(far) and far.above(low) and not low.above(far)
    assert Spread((2.0, 2.0, 2.0)).below(Spread((2.1, 2.1, 2.1)))


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ((4.689, 4.66, 4.72), "4.69 (4.66 to 4.72)"),
        ((0.5, 0.25, 0.75), "0.500 (0.250 to 0.750)"),
        ((42.04, 41.0, 43.0), "42.0 (41.0 to 43.0)"),
        ((1200.0, 1000.4, 1399.6), "1200 (1000 to 1400)"),
        ((1.0, 1.0, 1.0), "1.00"),
    ],
)
def test_a_spread_is_written_with_its_ends(values: tuple[float, ...], written: str) -> None:
    assert str(Spread(values)) == written


def test_a_record_says_what_it_lacks(bench: Any, tmp_path: Path) -> None:
    bench.write(rates=())
    bench.made()
    found = Record(bench.record)
    with pytest.raises(ValueError, match=r"arm must be among \['narrow', 'wide'\] of width, got 'deep'"):
        found.runs("deep")
    with pytest.raises(ValueError, match="measure must be among"):
        found.spread("narrow", "accuracy")
    with pytest.raises(ValueError, match="curve must be a number in every run"):
        found.spread("narrow", "curve")
    assert found.rate("narrow") is None
    other = tmp_path / "other.json"
    other.write_text("[1]")
    with pytest.raises(ValueError, match="must be the record of an experiment"):
        Record(other)


def test_a_training_that_is_no_longer_finite_is_a_run_that_failed(bench: Any) -> None:
    bench.write(more="\n\ndef fails(**given):\n    raise FloatingPointError\n")
    text = bench.path.read_text().replace(
        "    run=run,", "    run=lambda rate, **arm: fails() if rate > 0.5 else run(rate=rate, **arm),"
    )
    bench.path.write_text(text)
    bench.made()
    assert Record(bench.record).tried("wide")[1.0] == [None, None]


def test_a_program_holds_the_helpers_that_it_imports_and_no_others() -> None:
    def helpers(names: str) -> str:
        (found,) = _helpers(f"from transformer_lib.runs.practice import {names}\n")
        return found

    assert "def learn_programs" in helpers("learn_programs") and "def deal" in helpers("learn_programs")
    assert "TIME" in helpers("learn_programs"), "the constants that they use are part of them"
    assert "def learn_text" not in helpers("learn_programs")
    assert helpers("TIME, deal") == helpers("deal")
    assert _helpers("from transformer_lib.runs.experiment import Experiment\nfrom pathlib import Path\n") == []
