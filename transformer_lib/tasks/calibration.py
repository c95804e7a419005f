"""From a score to a probability that can be believed: of all answers given 0.8, eight in ten should be right.

Platt scaling (Platt 1999) fits p = sigmoid(slope * score + intercept) to held-out examples; with the intercept at 0 the
slope is the inverse of the temperature of Guo et al. (2017). How well it fits is seen from a calibration curve, and in
one number from the expected calibration error (Naeini et al. 2015): the mean distance of its points from the diagonal,
each weighed by its examples. Left out: curves that are fitted freely (isotonic regression), which need more examples.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from transformer_lib.checks import is_finite, require, require_numbers, require_positive
from transformer_lib.contract import checked


@checked
class Platt(NamedTuple):
    """Turns a score into the probability of being right, from 0 to 1."""

    slope: float
    intercept: float

    def probability(self, score: float) -> float:
        """sigmoid(slope * score + intercept)."""
        require_numbers(score=score)
        return float(torch.tensor(self.slope * score + self.intercept, dtype=torch.float64).sigmoid())


@checked
def read_platt(value: Any) -> Platt:
    """The one that a JSON object of its two fields describes; `ValueError` for anything else."""
    rule = "must be an object with a finite slope and a finite intercept"
    shaped = isinstance(value, dict) and sorted(value) == ["intercept", "slope"]
    require(shaped and all(is_finite(number) for number in value.values()), "calibration", rule, value)
    return Platt(float(value["slope"]), float(value["intercept"]))


@checked
class Bin(NamedTuple):
    """A point of a calibration curve: how many probabilities lie from `least` to `most`, their mean, and the share of
    them that is right."""

    least: float
    most: float
    examples: int
    probability: float
    right: float


@checked
def fit_platt(scores: Sequence[float], right: Sequence[bool]) -> Platt:
    """The slope and the intercept under which what is right, and what is not, is likeliest.

    As in Platt's paper the targets are not 1 and 0 but (n + 1) / (n + 2) and 1 / (m + 2), for n right and m wrong
    examples, so that scores which part them perfectly get no infinite slope. Fit it on examples that nothing was
    trained on. Where all scores are equal the slope is 0.
    """
    _check(scores, right, "scores")
    require_numbers(**{"a score": max(scores, key=abs)})
    x, y = torch.tensor(scores, dtype=torch.float64), torch.tensor(right, dtype=torch.float64)
    positive = float(y.sum())
    targets = y * (positive + 1) / (positive + 2) + (1 - y) / (len(y) - positive + 2)
    middle, spread = x.mean(), x.std(correction=0)
    if not spread > 0:
        return Platt(0.0, float(targets.mean().logit()))
    scaled = (x - middle) / spread
    found = torch.tensor([0.0, float(targets.mean().logit())], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [found], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = F.binary_cross_entropy_with_logits(found[0] * scaled + found[1], targets)
        value.backward()
        return value

    with torch.enable_grad():
        search.step(loss)
    slope, intercept = found.detach().tolist()
    slope /= float(spread)
    return Platt(slope, intercept - slope * float(middle))


@checked
def calibration_curve(probabilities: Sequence[float], right: Sequence[bool], *, bins: int = 10) -> list[Bin]:
    """The curve in `bins` equal parts, of which those without a probability are left out."""
    _check(probabilities, right, "probabilities")
    require_positive(bins=bins)
    outside = [p for p in probabilities if not 0 <= p <= 1]
    require(not outside, "probabilities", "must be from 0 to 1", outside)
    rows: dict[int, list[tuple[float, bool]]] = {}
    for p, hit in zip(probabilities, right, strict=True):
        rows.setdefault(min(int(p * bins), bins - 1), []).append((p, hit))
    return [
        Bin(
            number / bins,
            (number + 1) / bins,
            len(row),
            sum(p for p, _ in row) / len(row),
            sum(hit for _, hit in row) / len(row),
        )
        for number, row in sorted(rows.items())
    ]


@checked
def expected_calibration_error(curve: Sequence[Bin]) -> float:
    """The mean of |probability - right| over the examples of a curve, from 0 to 1."""
    require(len(curve) > 0, "curve", "must not be empty", curve)
    total = sum(point.examples for point in curve)
    return sum(point.examples * abs(point.probability - point.right) for point in curve) / total


def _check(values: Sequence[float], right: Sequence[bool], name: str) -> None:
    require(len(values) > 0, name, "must not be empty", values)
    require(len(right) == len(values), "right", f"must be {len(values)} in number", len(right))
