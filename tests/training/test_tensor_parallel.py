"""Which modules ranks share, by hand; that they compute the same is in `test_layouts.py`."""

import pytest
from small_run import small_model
from test_parallel_kinds import PATTERN
from torch import nn

from transformer_lib.config import AttentionConfig, SwiGlu
from transformer_lib.training.tensor_parallel import row_orders, tensor_plan

HEADS = AttentionConfig(num_heads=4, num_kv_heads=2, head_dim=2, qk_norm=True, gate=True)


def test_the_plan_has_the_names_of_our_modules() -> None:
    plan = tensor_plan(small_model(attention=HEADS, feedforward=SwiGlu(d_ff=12)), 2)
    assert {name: type(style).__name__ for name, style in plan.items()} == {
        "blocks.0.attention.to_qkv": "ColwiseParallel",
        "blocks.0.attention.to_out": "RowwiseParallel",
        "blocks.0.attention.to_gate": "ColwiseParallel",
        "blocks.0.attention.q_norm": "SequenceParallel",
        "blocks.0.attention.k_norm": "SequenceParallel",
        "blocks.0.feedforward.to_hidden": "ColwiseParallel",
        "blocks.0.feedforward.to_gate": "ColwiseParallel",
        "blocks.0.feedforward.to_out": "RowwiseParallel",
    }


def test_each_rank_has_the_rows_of_its_own_heads() -> None:
    """Two rows a head: 0 to 7 are the queries, 8 to 11 the keys, 12 to 15 the values; heads 0 and 1 share a key."""
    orders = row_orders(small_model(attention=HEADS), 2)
    assert {name: order.tolist() for name, order in orders.items()} == {
        "blocks.0.attention.to_qkv.weight": [0, 1, 2, 3, 8, 9, 12, 13, 4, 5, 6, 7, 10, 11, 14, 15]
    }


def test_of_many_kinds_of_layers_the_plan_has_those_that_it_knows() -> None:
    plan = tensor_plan(small_model(num_layers=5, pattern=PATTERN), 2)
    assert sorted({name.rpartition(".")[0] for name in plan}) == [
        "blocks.0.feedforward",
        "blocks.1.feedforward",
        "blocks.2.feedforward",
        "blocks.4.attention",
    ]


def test_what_cannot_be_shared_is_said() -> None:
    with pytest.raises(ValueError, match=r"blocks\.0\.attention: heads must be divisible by the 4 tensor ranks, got 2"):
        tensor_plan(small_model(attention=HEADS), 4)
    with pytest.raises(
        ValueError, match=r"blocks\.0\.feedforward: d_ff must be divisible by the 2 tensor ranks, got 13"
    ):
        tensor_plan(small_model(feedforward=SwiGlu(d_ff=13)), 2)
    whole = AttentionConfig(num_heads=4, head_dim=2, qk_norm="whole")
    with pytest.raises(
        ValueError, match=r"q_norm must be of each head by itself, as ranks have some heads only, got 8"
    ):
        tensor_plan(small_model(attention=whole), 2)
    with pytest.raises(ValueError, match="model must have attention or a feed-forward part that ranks can share"):
        tensor_plan(nn.Linear(2, 2), 2)
