"""Experiments: comparisons under several seeds, as Python files, and how they are run.

A file such as `recipes/experiments/NAME.py` defines `EXPERIMENT`: the arms, what each changes, and a function that
makes one run from a seed, the settings of an arm and, where a learning rate is tuned, a rate. Its docstring begins with
the question. `execute` makes the runs and writes `recipes/results/NAME.json`.

Where rates are tuned, every arm tries the same grid under seeds of its own, and the rate with the lowest mean of
`chosen_by` is taken; that measure must come from data on which nothing else is reported. If the best rate is the first
or the last of the grid, the grid grows by one rate on that side until it is not, so no arm is held back by a border.
Only then is the arm run under the seeds that are reported.

The record is written after every run, and a run that stands there is not made again, so whoever is interrupted goes on.
A run counts as the same as long as the file of the experiment (but for comments, docstrings and the list of arms), what
it imports from `transformer_lib.runs`, the settings of its arm and the data are the same. Other changes of the library
do not count, since nearly all of them change no number: the record names the commit of each arm, and `again=True` makes
all runs anew.

Left out: several processes for one experiment, anything but learning rates to be tuned.
"""

import ast
import importlib.util
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from transformer_lib.checks import require, wrong_kind
from transformer_lib.contract import checked
from transformer_lib.files import read_json, read_text, sole_writer, write_text
from transformer_lib.identity import digest
from transformer_lib.runs.provenance import commit_of, machine_of, versions

MOST_GROWTH = 6  # rates by which a grid may grow on either side; an arm that wants more has another trouble

Measured = Mapping[str, Any]


@checked
@dataclass(frozen=True)
class Experiment:
    """What is compared, and how one run is made.

    `run` is called with `seed`, the settings of the arm and, if `rates` are given, `rate`; it gives its measures by
    name: numbers, or lists of numbers for curves. A measure that is not finite is kept as None: the run failed, as it
    did if `run` raises `FloatingPointError`, which `train` does.
    `rates` are in growing order, each the same factor above the last. `data` gives whatever else decides the numbers,
    a text that is read from a file, say: only its digest is kept.
    """

    arms: Mapping[str, Mapping[str, Any]]
    run: Callable[..., Measured]
    seeds: Sequence[int] = (0, 1, 2)
    rates: Sequence[float] = ()
    chosen_by: str = ""
    choice_seeds: Sequence[int] = (100, 101)
    data: Callable[[], Any] = tuple

    def __post_init__(self) -> None:
        require(len(self.arms) > 0, "arms", "must name at least one", list(self.arms))
        require(len(set(self.seeds)) == len(self.seeds) >= 3, "seeds", "must be at least three", self.seeds)
        require(bool(self.rates) == bool(self.chosen_by), "chosen_by", "goes with rates", self.chosen_by)
        apart = not set(self.seeds) & set(self.choice_seeds)
        require(apart, "choice_seeds", "must not be among the seeds that are reported", self.choice_seeds)
        if self.rates:
            require(len(self.rates) >= 3, "rates", "must be at least three", self.rates)
            growing = all(0 < low < high for low, high in zip(self.rates, self.rates[1:], strict=False))
            require(growing, "rates", "must be positive, each larger than the one before", self.rates)


@checked
def load_experiment(path: str | Path) -> tuple[Experiment, str]:
    """The experiment that a file defines, and its question, the first paragraph of the file's docstring."""
    path = Path(path)
    require(path.suffix == ".py", "experiment", "must be a Python file", str(path))
    read_text(path)  # `FileNotFoundError`, or a `ValueError` for what is no regular file
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem.replace('-', '_')}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise wrong_kind(f"EXPERIMENT in {path.name}", "an Experiment", experiment)
    question = " ".join((module.__doc__ or "").strip().partition("\n\n")[0].split())
    require(bool(question), path.name, "must begin with a docstring that asks its question", "")
    return experiment, question


@checked
def execute(path: str | Path, *, again: bool = False, results: str | Path | None = None) -> Path:
    """Make the runs of an experiment that its record lacks, and give the record's path.

    The record is `NAME.json` in `results`, by default the folder `results` beside that of the file. With `again`, no
    earlier run counts. Raises `ValueError` if another process is at work on the same experiment.
    """
    path = Path(path).resolve()
    experiment, question = load_experiment(path)
    folder = Path(results) if results is not None else path.parents[1] / "results"
    with sole_writer(Path(folder, ".locks", path.stem)):
        return _Work(experiment, question, path, folder / f"{path.stem}.json", again).complete()


class _Work:
    """An experiment with its record, which grows by one run after another."""

    def __init__(self, experiment: Experiment, question: str, path: Path, record: Path, again: bool) -> None:
        self.experiment, self.record = experiment, record
        self.program = digest([program_of(read_text(path)), *_helpers(read_text(path)), digest(experiment.data())])
        old: Any = read_json(record) if record.exists() and not again else {}
        kept = old.get("arms", {}) if isinstance(old, dict) else {}
        self.content: dict[str, Any] = {
            "experiment": path.stem,
            "question": question,
            "chosen_by": experiment.chosen_by,
            "arms": {name: self._arm(name, kept.get(name, {})) for name in experiment.arms},
        }
        self.made_from = commit_of(path.parent) | {"machine": machine_of(torch.device("cpu")), "versions": versions()}

    def _arm(self, name: str, kept: dict[str, Any]) -> dict[str, Any]:
        """The arm as it was recorded, or an empty one if anything that decides its numbers has changed."""
        settings = dict(self.experiment.arms[name])
        known = digest([self.program, settings])
        if kept.get("digest") == known:
            return kept
        return {"digest": known, "settings": _plain(settings), "choice": [], "runs": []}

    def complete(self) -> Path:
        for name, arm in self.content["arms"].items():
            rate = self._choose(name, arm) if self.experiment.rates else None
            if rate != arm.get("rate"):  # the choice fell anew, so what was run at another rate does not count
                arm["runs"] = []
            arm["rate"] = rate
            for seed in self.experiment.seeds:
                self._make(name, arm["runs"], seed, rate)
            arm["runs"] = [run for seed in self.experiment.seeds for run in arm["runs"] if run["seed"] == seed]
        self._write()
        return self.record

    def _choose(self, name: str, arm: dict[str, Any]) -> float:
        """The best rate, strictly inside those that were tried."""
        rates = list(self.experiment.rates)
        for _ in range(2 * MOST_GROWTH + 1):
            scores = [self._score(name, arm, rate) for rate in rates]
            best = min(range(len(rates)), key=scores.__getitem__)
            require(math.isfinite(scores[best]), name, "must have a rate at which no run fails", rates)
            if 0 < best < len(rates) - 1:
                return rates[best]
            if best == 0:
                rates.insert(0, _short(rates[0] ** 2 / rates[1]))
            else:
                rates.append(_short(rates[-1] ** 2 / rates[-2]))
        raise ValueError(f"rates must have their best inside, got {rates} for {name} and the best still at an end")

    def _score(self, name: str, arm: dict[str, Any], rate: float) -> float:
        chosen = [self._make(name, arm["choice"], seed, rate) for seed in self.experiment.choice_seeds]
        values = [run["measured"][self.experiment.chosen_by] for run in chosen]
        return math.inf if None in values else fmean(values)

    def _make(self, name: str, runs: list[dict[str, Any]], seed: int, rate: float | None) -> dict[str, Any]:
        """The run of this seed and rate, made if it is not among `runs` yet."""
        for run in runs:
            if run["seed"] == seed and run.get("rate") == rate:
                return run
        began = time.process_time()
        tuned = {} if rate is None else {"rate": rate}
        try:
            measured = self.experiment.run(seed=seed, **tuned, **self.experiment.arms[name])
        except FloatingPointError:
            measured = {self.experiment.chosen_by: math.nan} if tuned else {}
        seconds = time.process_time() - began
        run = {"seed": seed, **tuned, "measured": _plain(measured), "seconds": round(seconds, 1)}
        runs.append(run)
        self.content["arms"][name]["made_from"] = self.made_from
        self._write()
        at = "" if rate is None else f" at {rate:g}"
        shown = {key: value for key, value in run["measured"].items() if not isinstance(value, list)}
        print(f"{self.content['experiment']}: {name}{at}, seed {seed}: {shown} in {seconds:.0f} s", flush=True)
        return run

    def _write(self) -> None:
        arms = self.content["arms"].values()
        seconds = sum(run["seconds"] for arm in arms for part in ("choice", "runs") for run in arm[part])
        text = json.dumps(self.content | {"seconds": round(seconds)}, indent=1, ensure_ascii=False, allow_nan=False)
        # A curve stands in one line, so that a person can read the file.
        text = re.sub(r"\[[\s\d.,eE+-]+\]", lambda found: " ".join(found[0].split()), text)
        write_text(self.record, text + "\n")


@checked
def program_of(source: str) -> str:
    """The program of an experiment without what changes no number: comments, layout, docstrings, the list of arms."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    tree.body = [node for node in tree.body if not _names_experiment(node)]
    return ast.unparse(tree)


def _helpers(source: str) -> list[str]:
    """What an experiment imports from the modules beside this one, as programs; of those that only run it, nothing."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{__package__}."):
            file = Path(__file__).with_name(f"{(node.module or '').rpartition('.')[2]}.py")
            if file != Path(__file__):
                found.append(_part(program_of(read_text(file)), {alias.name for alias in node.names}))
    return found


def _part(program: str, names: set[str]) -> str:
    """What a module defines under these names, and under all the names that these use."""
    defined = {name: node for node in ast.parse(program).body for name in _defines(node)}
    wanted, new = set[str](), names & defined.keys()
    while new:
        wanted |= new
        used = {node.id for name in new for node in ast.walk(defined[name]) if isinstance(node, ast.Name)}
        new = (used & defined.keys()) - wanted
    return "\n".join(ast.unparse(defined[name]) for name in sorted(wanted))


def _defines(node: ast.stmt) -> set[str]:
    """The names that a statement of a module gives to functions, classes and constants."""
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Assign():
            return {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        case _:
            return set()


def _names_experiment(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["EXPERIMENT"]


def _plain(value: Any) -> Any:
    """A value as JSON, with None for a number that is not finite."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return float(f"{value:.7g}") if math.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _ if hasattr(value, "item") or hasattr(value, "tolist"):
            return _plain(value.tolist())
        case _:
            return str(value)


def _short(rate: float) -> float:
    """A rate in two digits, as a person would write it."""
    return float(f"{rate:.2g}")
