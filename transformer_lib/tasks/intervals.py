"""How much a score would have moved with other examples of the same kind: the bootstrap of Efron (1979).

A test of 300 sentences is a sample. Drawing 300 of them again, with replacement, many times shows how far the score of
such a sample strays. Of two systems on one test, the difference of each example is drawn, so that what is hard for both
does not blur the comparison. Left out: what other seeds of the training would have changed.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import checked

MOST_DRAWS = 100_000
Score = Callable[[Float[Tensor, "draw count"]], Float[Tensor, " draw"]]


@checked
def bootstrap(
    rows: Float[Tensor, "example count"], score: Score, *, draws: int = 2000, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """The interval that holds this share of the scores of samples drawn again, as its lower and upper end.

    `rows` holds a few counts for each example, and `score` makes a score for each row of their sums.
    """
    require(1 <= draws <= MOST_DRAWS, "draws", f"must be from 1 to {MOST_DRAWS}", draws)
    require(0 < share < 1, "share", "must be between 0 and 1", share)
    require(len(rows) > 0, "rows", "must not be empty", tuple(rows.shape))
    require(bool(rows.isfinite().all()), "rows", "must be finite", tuple(rows.shape))
    generator = torch.Generator().manual_seed(seed)
    sums = []
    for some in torch.arange(draws).split(200):  # a part at a time, for the memory
        drawn = torch.randint(len(rows), (len(some), len(rows)), generator=generator)
        sums.append(rows[drawn].sum(dim=1))
    found = score(torch.cat(sums))
    require_kind(found, Tensor, "score", "a function that gives a tensor")
    require(found.shape == (draws,), "score", f"must give {draws} numbers", tuple(found.shape))
    ends = torch.tensor([(1 - share) / 2, (1 + share) / 2], dtype=torch.float64)
    low, high = found.double().quantile(ends).tolist()
    return low, high


@checked
def mean_interval(values: Sequence[float], *, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The interval of 95 % of the mean of these values; of two systems, give the difference of each example."""
    require(len(values) > 0, "values", "must not be empty", values)
    count = len(values)
    return bootstrap(
        torch.tensor(values, dtype=torch.float64)[:, None], lambda sums: sums[:, 0] / count, draws=draws, seed=seed
    )


@checked
def f1_interval(
    right: Sequence[float], given: Sequence[float], wanted: Sequence[float], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The interval of 95 % of a micro F1, from how many answers of each sentence are right, were given, were wanted."""
    for name, column in (("given", given), ("wanted", wanted)):
        require(len(column) == len(right) > 0, name, f"must be {len(right)} in number, at least 1", len(column))
    rows = torch.tensor([right, given, wanted], dtype=torch.float64).T
    return bootstrap(rows, lambda sums: 2 * sums[:, 0] / sums[:, 1:].sum(1).clamp(min=1), draws=draws, seed=seed)
