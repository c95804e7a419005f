"""What the plan says is sent, against what four real processes move, and what that makes of the numbers."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from sharing_ranks import BATCH, CONFIG, CONTEXT, MICRO, RANKS, alone, attention_alone, be_a_rank, inputs, model
from small_run import run_together, start_process

from transformer_lib.config import Experts, GatedDelta, SwiGlu
from transformer_lib.training.costs import Exchange, exchanges, experts_shared_among, parts_of_weights
from transformer_lib.training.counts import parameters
from transformer_lib.training.grid import Grid, Link, Network

GROUPS = (  # the drawn name, the grid, and the exchanges that the run makes
    ("ddp", Grid(replicate=4)),
    ("pass", Grid(shard=4)),
    ("micro-batch", Grid(shard=4, kept="micro-batch")),
    ("bfloat16", Grid(shard=4, numbers="bfloat16")),
    ("hybrid", Grid(replicate=2, shard=2)),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    run_together([start_process(be_a_rank, rank, folder) for rank in range(RANKS)])
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def sums(calls: list[tuple[str, int]]) -> dict[str, tuple[int, int]]:
    """Bytes and calls of each kind of collective."""
    kinds = {kind for kind, _ in calls}
    return {kind: (sum(size for k, size in calls if k == kind), [k for k, _ in calls].count(kind)) for kind in kinds}


def planned(grid: Grid, **how: Any) -> dict[str, tuple[float, int]]:
    sizes = {"batch": BATCH, "context": CONTEXT, "micro_batches": MICRO, "precision": "float32"} | how
    result: dict[str, tuple[float, int]] = {}
    for one in exchanges(CONFIG, grid, **sizes):
        size, calls = result.get(one.collective, (0.0, 0))
        result[one.collective] = size + one.size, calls + one.calls
    return result


@pytest.mark.parametrize("name, grid", GROUPS)
def test_weights_and_gradients_move_as_planned(found: list[dict[str, Any]], name: str, grid: Grid) -> None:
    """Every rank hands over the planned bytes; calls, too, except that embedding and head are gathered once a pass."""
    for rank in found:
        real, plan = sums(rank[name]["calls"]), planned(grid)
        assert set(real) == set(plan)
        for kind, (size, calls) in real.items():
            assert size == plan[kind][0]
            assert kind == "all-reduce" or 0 <= plan[kind][1] - calls <= MICRO


def test_tensor_parallel_is_one_process_and_moves_as_planned(found: list[dict[str, Any]]) -> None:
    whole, x = model().double(), inputs()[:, :CONTEXT].requires_grad_()
    h = x
    for block in whole.blocks:
        h = alone(block, h)
    h.square().sum().backward()
    plan = planned(Grid(tensor=4), batch=1, micro_batches=1)["all-reduce"]
    for rank in found:
        torch.testing.assert_close(rank["tensor"]["out"], h.detach(), rtol=0, atol=1e-10)
        torch.testing.assert_close(rank["tensor"]["gradient"], x.grad, rtol=0, atol=1e-9)
        for norm, block in zip(rank["tensor"]["norms"], whole.blocks, strict=True):
            torch.testing.assert_close(norm, block.feedforward_norm.weight.grad, rtol=1e-10, atol=1e-9)
        size, calls = sums(rank["tensor"]["calls"])["all-reduce"]
        assert (size, calls) == (2 * plan[0], plan[1])  # float64


def test_a_shared_text_is_one_text_and_moves_as_planned(found: list[dict[str, Any]]) -> None:
    out, gradient = attention_alone()
    grid = Grid(context=4)
    plan = planned(grid, batch=1, context=CONTEXT * RANKS, micro_batches=1)["send"]
    for number, rank in enumerate(found):
        part = slice(number * CONTEXT, (number + 1) * CONTEXT)
        torch.testing.assert_close(rank["context"]["out"], out[:, :, part], rtol=0, atol=1e-10)
        torch.testing.assert_close(rank["context"]["gradient"], gradient[:, :, part], rtol=0, atol=1e-10)
        size, calls = sums(rank["context"]["calls"])["send"]
        layers = CONFIG.num_layers
        assert (layers * size, layers * calls) == (2 * plan[0], plan[1])  # float64


def test_shared_experts_answer_as_one_process_and_move_as_planned(found: list[dict[str, Any]]) -> None:
    config = dataclasses.replace(CONFIG, feedforward=Experts(num_experts=4, top_k=2, d_ff=8))
    grid = Grid(shard=4, expert=4)
    how = {"batch": 1, "context": CONTEXT, "precision": "float32"}
    [plan] = [one for one in exchanges(config, grid, **how) if one.collective == "all-to-all"]
    factor = sum((torch.arange(CONTEXT) + one) % RANKS + 1 for one in (0, 1))
    for number, rank in enumerate(found):
        x = inputs()[0, number * CONTEXT : (number + 1) * CONTEXT]
        torch.testing.assert_close(rank["experts"]["out"], factor[:, None] * x, rtol=0, atol=1e-10)
        torch.testing.assert_close(rank["experts"]["gradient"], 2 * factor[:, None] ** 2 * x, rtol=0, atol=1e-9)
        calls = [size for kind, size in rank["experts"]["calls"] if kind == "all-to-all" and size > 8 * RANKS]
        assert CONFIG.num_layers * sum(calls) == 2 * plan.size  # float64
        assert CONFIG.num_layers * len(calls) == plan.calls


def test_a_pipeline_is_one_process_and_moves_as_planned(found: list[dict[str, Any]]) -> None:
    whole, loss = model().double(), torch.zeros(())
    for number in range(MICRO):
        h = inputs()[:, number * CONTEXT : (number + 1) * CONTEXT]
        for block in whole.blocks:
            h = alone(block, h)
        loss = loss + h.square().sum()
    loss.backward()
    plan = planned(Grid(pipeline=4), batch=1)["send"]
    torch.testing.assert_close(found[-1]["pipeline"]["loss"], loss.detach(), rtol=1e-10, atol=0)
    for rank, block in zip(found, whole.blocks, strict=True):
        want = block.feedforward.to_out.weight.grad
        torch.testing.assert_close(rank["pipeline"]["gradient"], want, rtol=1e-10, atol=1e-9)
    for rank in found[1:-1]:  # those that have a neighbour on both sides
        size, calls = sums(rank["pipeline"]["calls"])["send"]
        assert (size, calls) == (2 * plan[0], plan[1])  # float64


def test_passing_on_goes_round(found: list[dict[str, Any]]) -> None:
    assert [float(rank["passed"][0]) for rank in found] == [3, 0, 1, 2]


# By hand -------------------------------------------------------------------------------------------------------------


def ring(count: int, size: int) -> tuple[float, int]:
    """Numbers that each of so many sends in an all-reduce by a ring, and the rounds, played out part by part."""
    held = [[{rank} for _ in range(count)] for rank in range(count)]
    sent = rounds = 0
    for adds in (True, False):
        for number in range(count - 1):
            moves = [(rank, (rank - number + (not adds)) % count) for rank in range(count)]
            moves_held = [held[rank][part] for rank, part in moves]
            for (rank, part), what in zip(moves, moves_held, strict=True):
                there = held[(rank + 1) % count]
                there[part] = there[part] | what
            sent += size / count
            rounds += 1
    assert all(part == set(range(count)) for parts in held for part in parts)
    return sent, rounds


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_a_ring_played_out_sends_what_the_formula_says(count: int) -> None:
    one = Exchange(name="sum", collective="all-reduce", size=960.0, calls=1, members=count)
    sent, rounds = ring(count, 960)
    assert one.sent == pytest.approx(sent) and one.rounds("ring") == rounds
    halves = [dataclasses.replace(one, collective=kind) for kind in ("reduce-scatter", "all-gather")]
    assert sum(half.sent for half in halves) == pytest.approx(sent)
    assert sum(half.rounds("ring") for half in halves) == rounds
    assert one.rounds("tree") == 2 * math.ceil(math.log2(count))


def test_the_seconds_by_hand() -> None:
    """Machines of 2: 100 bytes a second inside, 10 between, latencies of 1 and 3 seconds."""
    network = Network(machine=2, inside=Link(bandwidth=100.0, latency=1.0), between=Link(bandwidth=10.0, latency=3.0))
    pair = Exchange(name="sum", collective="all-reduce", size=400.0, calls=2, members=2)
    assert pair.sent == 400 and pair.seconds(network) == 400 / 100 + 2 * 2 * 1
    apart = dataclasses.replace(pair, stride=2)  # one in each machine
    assert apart.seconds(network) == 400 / 10 + 2 * 2 * 3
    four = dataclasses.replace(pair, members=4)  # two cards leave each machine
    assert four.sent == 600 and four.seconds(network) == 600 / 20 + 2 * 6 * 3
    tree = dataclasses.replace(network, way="tree")
    assert four.seconds(tree) == 600 / 20 + 2 * 4 * 3
    swap = dataclasses.replace(four, collective="all-to-all")  # of 300 bytes, a third stays in the machine
    assert swap.sent == 300 and swap.seconds(network) == pytest.approx(200 / 10 + 2 * 3 * 3)
    assert swap.seconds(tree) == swap.seconds(network)
    hop = dataclasses.replace(pair, collective="send", stride=2)
    assert hop.seconds(network) == 400 / 10 + 2 * 3


def test_what_is_computed_again_is_sent_again() -> None:
    grid = Grid(tensor=2, context=2, shard=2, expert=2)
    config = dataclasses.replace(CONFIG, feedforward=Experts(num_experts=4, top_k=1, d_ff=8))
    how = {"batch": 2, "context": CONTEXT}
    plain, again = ({e.name: e for e in exchanges(config, grid, **how, recompute=r)} for r in (False, True))
    assert set(plain) == set(again)
    for name in ("sums within blocks", "tokens to experts", "keys and values"):
        assert again[name].size == 1.5 * plain[name].size and again[name].calls == 1.5 * plain[name].calls
    assert plain["weights gathered"] == again["weights gathered"]


def test_experts_are_sharded_among_those_who_hold_the_same_ones() -> None:
    assert experts_shared_among(Grid(shard=8, expert=4)) == (2, 1)
    assert experts_shared_among(Grid(replicate=8, expert=4)) == (1, 2)
    assert experts_shared_among(Grid(replicate=4, shard=2, expert=8)) == (1, 1)
    config = dataclasses.replace(CONFIG, feedforward=Experts(num_experts=4, top_k=1, d_ff=8))
    count = parameters(config)
    assert count.experts == 4 * 4 * 3 * 16 * 8, "layers, experts, matrices"
    blocks, experts, ends = parts_of_weights(count, Grid(tensor=2, pipeline=2, shard=4, expert=4))
    assert blocks == (count.blocks - count.experts) / 4 and experts == count.experts / 16
    assert ends == max(count.embedding, count.rest) / 2


def test_gathering_once_a_step_is_cheapest() -> None:
    """By hand, 4 processes, 2 micro-batches: (2 + 1) N bytes' worth each, (1 + 1), and (1 + 1) once; times 3/4."""
    blocks, outside = 4 * parameters(CONFIG).blocks, 4 * (parameters(CONFIG).embedding + parameters(CONFIG).rest)
    for kept, numbers in (
        ("pass", 2 * (3 * blocks + 2 * outside)),
        ("micro-batch", 2 * 2 * (blocks + outside)),
        ("step", 2 * (blocks + outside)),
    ):
        how = {"batch": BATCH, "context": CONTEXT, "micro_batches": 2}
        assert sum(e.sent for e in exchanges(CONFIG, Grid(shard=4, kept=kept), **how)) == numbers * 3 / 4


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Grid(shard=0), r"shard must be .*at least 1.*, got 0"),
        (lambda: Grid(shard=4, expert=3), r"expert must divide the 4 GPUs with other texts, got 3"),
        (lambda: Grid(interleave=2), r"interleave needs a pipeline, got 2"),
        (lambda: Grid(kept="always"), r"kept must be one of"),
        (lambda: Link(bandwidth=0.0), r"bandwidth must be positive, got 0.0"),
        (lambda: Link(bandwidth=1.0, latency=-1.0), r"latency must not be negative, got -1.0"),
        (lambda: _exchanges(Grid(pipeline=5)), r"pipeline must be at most the 4 layers, got 5"),
        (lambda: _exchanges(Grid(shard=2, expert=2)), r"expert must be at most the 1 experts of a layer, got 2"),
        (lambda: _exchanges(Grid(context=2), recurrent=True), r"context must be 1 for layers without keys"),
    ],
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def _exchanges(grid: Grid, *, recurrent: bool = False) -> Any:
    delta = GatedDelta(num_heads=2, key_dim=4, value_dim=4)
    config = dataclasses.replace(CONFIG, attention=delta, feedforward=SwiGlu(d_ff=8)) if recurrent else CONFIG
    return exchanges(config, grid, batch=2, context=8)
