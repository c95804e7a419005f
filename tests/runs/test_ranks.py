"""A function that several processes run together: what each gives back, and what is said when one fails."""

from typing import Any

import pytest
import torch

from transformer_lib.runs.ranks import on_ranks


def added(start: float, x: torch.Tensor) -> dict[str, Any]:
    import torch
    from torch import distributed

    mine = x + distributed.get_rank()
    distributed.all_reduce(mine)
    return {"sum": mine, "rank": distributed.get_rank(), "start": start, "threads": torch.get_num_threads()}


def breaks() -> None:
    raise ArithmeticError("the sum is wrong")


def test_they_join_and_each_gives_back_what_it_found() -> None:
    found = on_ranks(added, {"start": 0.5, "x": torch.ones(3)})
    assert [one["rank"] for one in found] == [0, 1]
    for one in found:
        torch.testing.assert_close(one["sum"], torch.full((3,), 3.0))
        assert (one["start"], one["threads"]) == (0.5, 1)


def test_a_failure_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)breaks failed: .*ArithmeticError: the sum is wrong"):
        on_ranks(breaks, {}, processes=1)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="processes must be at most 16, got 17"):
        on_ranks(breaks, {}, processes=17)
    with pytest.raises(TypeError, match="function must be"):
        on_ranks("breaks", {})
