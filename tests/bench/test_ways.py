"""The ways to decode cheaper are raced, write the library's texts, and are printed with what else is known of them."""

from argparse import Namespace

import pytest
import torch

from bench import ways, ways_of_a_step

QUICK = Namespace(quick=True, rounds=2, threads=1, peers=["bare loop", "one query as two products", "int8 weights"])


def test_the_works_take_turns_and_are_compared_with_the_library() -> None:
    turns: list[str] = []
    works = {name: (lambda name=name: turns.append(name)) for name in (ways.AS_IT_IS, "other")}
    found = ways.race(works, rounds=2)
    own, other = ways.AS_IT_IS, "other"
    assert turns == [own, other, own, other, other, own]
    assert {name: len(spent) for name, spent in found["cpu_seconds"].items()} == {own: 2, other: 2}
    assert set(found["theirs_over_ours"]) == {other}


@pytest.mark.parametrize("row", ["choice top_k", "choice top_p", "beams 12 tokens"])
def test_a_row_is_measured(row: str) -> None:
    assert row in ways.rows(QUICK)
    record = ways.run(row, QUICK)
    assert all(len(spent) == 2 for spent in record["cpu_seconds"].values())
    assert all(f"{over['median']:.3f}" in ways.lines(record) for over in record["theirs_over_ours"].values())


def test_ways_that_change_no_number_write_the_texts_of_the_library() -> None:
    record = ways.run("step batch 2", QUICK)
    assert record["facts"]["bare loop"] == record["facts"]["one query as two products"] == {"tokens as ours": 1.0}
    assert "tokens as ours" in ways.lines(record)


def test_packed_weights_and_those_by_row_are_the_same_map() -> None:
    model, prompts = ways_of_a_step.model_of((2, 64, 4, 512, 8, 4), 2)
    with torch.inference_mode():
        expected = model(prompts)
        for other in (ways_of_a_step._by_row(model), ways_of_a_step._replaced(model, ways_of_a_step._Packed)):
            torch.testing.assert_close(other(prompts), expected, atol=1e-5, rtol=0)
