"""Together the ranks read what one process reads, and of batches that can be skipped none is made twice."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from small_run import small_batches

from transformer_lib.data.batching import BucketedBatches, PackedBatches, pad
from transformer_lib.training.share import Share, Skipping, endless


class Fives:
    """Passes over five numbers."""

    seen = 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.seen % 5, 5):
            self.seen += 1
            yield number

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.seen = state["seen"]


def test_a_share_is_every_other_batch_across_the_ends_of_passes() -> None:
    shares = [Share(Fives(), rank, 2) for rank in range(2)]
    streams = [iter(share) for share in shares]
    assert [next(stream) for _ in range(5) for stream in streams] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert [share.state_dict() for share in shares] == [{"seen": 10}] * 2
    share = Share(Fives(), 2, 3)  # three ranks take up what two have left
    share.load_state_dict({"seen": 4})
    assert list(islice(share, 2)) == [1, 4]


def buckets(made: list[list[int]], **options: Any) -> BucketedBatches[Any]:
    lengths = [1 + number % 7 for number in range(40)]

    def collate(rows: list[int]) -> Any:
        made.append(rows)
        return pad([[row] * lengths[row] for row in rows], 0)

    return BucketedBatches(lengths, collate, token_budget=20, seed=1, **options)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_the_union_over_ranks_is_the_order_of_one_process(ranks: int) -> None:
    """Windows of a stream, whose passes end within a round, and examples by length."""
    whole = list(islice(small_batches(), 12))
    shares = [Share(small_batches(), rank, ranks) for rank in range(ranks)]
    streams = [iter(share) for share in shares]
    found = [next(stream) for _ in range(12 // ranks) for stream in streams]
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(found, whole, strict=True))
    alone = small_batches()
    list(islice(alone, 12))
    assert [share.state_dict() for share in shares] == [alone.state_dict()] * ranks
    made: list[list[int]] = []
    expected = [batch.tokens.tolist() for batch in islice(buckets([]), 12)]
    streams = [iter(Share(buckets(made), rank, ranks)) for rank in range(ranks)]
    assert [next(stream).tokens.tolist() for _ in range(12 // ranks) for stream in streams] == expected
    assert len(made) == 12, "each batch is made by the rank that it is for, and by no other"


def test_skipping_is_going_on_without_the_batches() -> None:
    for batches, others in ((small_batches(), small_batches()), (buckets([]), buckets([]))):
        assert isinstance(batches, Skipping)
        list(islice(others, 7))
        batches.skip(7)
        assert batches.state_dict() == others.state_dict()
        assert str(next(iter(batches))) == str(next(iter(others)))


def test_where_batches_end_all_ranks_are_told_in_the_same_round() -> None:
    """Five batches: of the third round of two, one is not there, and neither rank gets its own."""

    def few() -> PackedBatches:
        return PackedBatches(torch.arange(105), batch=3, context=8, seed=0, epochs=1)

    assert len(list(few())) == 5
    for rank in range(2):
        stream = iter(Share(few(), rank, 2))
        assert len(list(islice(stream, 2))) == 2
        with pytest.raises(ValueError, match=r"count must be at most the \d batches left|batches must not run out"):
            next(stream)
    batches = few()
    batches.skip(4)
    with pytest.raises(ValueError, match="count must be at most the 1 batches left, got 2"):
        batches.skip(2)
    batches.skip(1)
    assert list(batches) == []
    with pytest.raises(ValueError, match="count must be a whole number of at least 0, got -1"):
        batches.skip(-1)


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="rank must be from 0 to 1, got 2"):
        Share(Fives(), 2, 2)
    with pytest.raises(ValueError, match="micro_batches must share out over 2 processes, got 3"):
        Share(Fives(), 0, 2).require_whole_rounds(3)
    assert list(islice(endless(Fives()), 7)) == [0, 1, 2, 3, 4, 0, 1]
