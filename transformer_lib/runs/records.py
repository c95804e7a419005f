"""The record of an experiment, and what may be said of it: means, spreads, and whether one side is ahead.

An experiment compares arms, one thing changed between them. Each arm has runs, one for each seed, and each run has
measures. A mean over seeds says little without its spread, so both are given together; a difference that is not
larger than the spread of either side is a tie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.files import read_json


@checked
@dataclass(frozen=True)
class Spread:
    """The values of one measure under several seeds, in the order of the seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return fmean(self.values)

    @property
    def least(self) -> float:
        """The smallest value of any seed."""
        return min(self.values)

    @property
    def greatest(self) -> float:
        """The largest value of any seed."""
        return max(self.values)

    @property
    def width(self) -> float:
        """From the least to the greatest."""
        return self.greatest - self.least

    def ties(self, other: "Spread") -> bool:
        """Whether the two means are no farther apart than the wider of the two spreads."""
        return abs(self.mean - other.mean) <= max(self.width, other.width)

    def above(self, other: "Spread") -> bool:
        """Whether the mean is the larger one, by more than either spread."""
        return self.mean > other.mean and not self.ties(other)

    def below(self, other: "Spread") -> bool:
        """Whether the mean is the smaller one, by more than either spread."""
        return other.above(self)

    def __str__(self) -> str:
        """Mean, least and greatest, such as `4.69 (4.66 to 4.72)`."""
        digits = self._digits()
        mean, least, greatest = (f"{value:.{digits}f}" for value in (self.mean, self.least, self.greatest))
        return mean if least == greatest else f"{mean} ({least} to {greatest})"

    def _digits(self) -> int:
        """Decimals, so that the largest has three or four digits, and what is below 1 three decimals."""
        size = max(abs(self.least), abs(self.greatest))
        return next((digits for digits, bound in ((0, 1000), (1, 10), (2, 1)) if size >= bound), 3)


@checked
class Record:
    """What one experiment measured: `results/NAME.json`, as `runs.experiment` writes it.

    Raises `FileNotFoundError` without the file, and `ValueError` if it is not the record of an experiment.
    """

    def __init__(self, path: str | Path) -> None:
        content = read_json(path)
        known = isinstance(content, dict) and {"experiment", "arms"} <= content.keys()
        require(known, str(path), "must be the record of an experiment", type(content).__name__)
        assert isinstance(content, dict)
        self.content: dict[str, Any] = content

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return str(self.content["experiment"])

    @property
    def question(self) -> str:
        """What the experiment asks: the first line of its file."""
        return str(self.content["question"])

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of what is compared."""
        return tuple(self.content["arms"])

    def runs(self, arm: str) -> Sequence[Mapping[str, Any]]:
        """The runs that count, one for each seed: `seed`, `measured`, `seconds`."""
        require(arm in self.content["arms"], "arm", f"must be among {list(self.arms)} of {self.name}", arm)
        return list(self.content["arms"][arm]["runs"])

    def seeds(self, arm: str) -> tuple[int, ...]:
        """The seeds of the runs that count."""
        return tuple(run["seed"] for run in self.runs(arm))

    def measures(self, arm: str) -> tuple[str, ...]:
        """The names of what each run measured."""
        return tuple(self.runs(arm)[0]["measured"])

    def each(self, arm: str, measure: str) -> list[Any]:
        """One measure of every run; a list where a run measured a curve."""
        require(measure in self.measures(arm), "measure", f"must be among {list(self.measures(arm))}", measure)
        return [run["measured"][measure] for run in self.runs(arm)]

    def spread(self, arm: str, measure: str) -> Spread:
        """A measure that is one number a run, over the seeds; `ValueError` if some run has none, as one that failed."""
        values = self.each(arm, measure)
        plain = all(isinstance(value, int | float) for value in values)
        require(plain, measure, "must be a number in every run", values)
        return Spread(tuple(float(value) for value in values))

    def rate(self, arm: str) -> float | None:
        """The learning rate that the arm's runs were made with, chosen among those tried; None if none was tuned."""
        self.runs(arm)
        rate: float | None = self.content["arms"][arm].get("rate")
        return rate

    def tried(self, arm: str) -> dict[float, list[float | None]]:
        """For each learning rate tried, what the choice was made by, a value for each seed; None where a run failed."""
        found: dict[float, list[float | None]] = {}
        for run in self.content["arms"][arm].get("choice", []):
            found.setdefault(run["rate"], []).append(run["measured"].get(self.content["chosen_by"]))
        return dict(sorted(found.items()))
