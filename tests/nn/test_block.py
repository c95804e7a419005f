"""One block against PyTorch's encoder and decoder layers: outputs and the gradient of every parameter."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import (
    TORCH_DECODER,
    TORCH_ENCODER,
    bits,
    carry_over,
    normal,
    randomise,
    rejects,
    rename,
    same_gradients,
)
from transformer_lib.config import Activation, AttentionConfig, Mlp, ModelConfig, NoPositions, NormOrder
from transformer_lib.nn import Block, Relations, padding_mask

CONFIG = ModelConfig(
    vocab_size=13,
    d_model=12,
    num_layers=1,
    max_length=16,
    attention=AttentionConfig(num_heads=3, bias=True),
    feedforward=Mlp(d_ff=20),
    positions=NoPositions(),
)
ORDERS = pytest.mark.parametrize("order", ["pre", "post"])
ACTIVATIONS = pytest.mark.parametrize("activation", ["relu", "gelu"])
FUTURE = torch.ones(5, 5, dtype=torch.bool).triu(1)


def make(order: NormOrder, activation: Activation, *, cross_attention: bool = False) -> Block:
    config = dataclasses.replace(CONFIG, norm_order=order, feedforward=Mlp(d_ff=20, activation=activation))
    return randomise(Block(config, cross_attention=cross_attention))


@ORDERS
@ACTIVATIONS
@pytest.mark.parametrize("mask", ["all", "causal", "padding"])
def test_a_block_is_torchs_encoder_layer(order: NormOrder, activation: Activation, mask: str) -> None:
    mine, convert, valid = make(order, activation), rename(TORCH_ENCODER), bits(2, 5)
    layer = nn.TransformerEncoderLayer(
        12, 3, 20, activation=activation, norm_first=order == "pre", batch_first=True, dropout=0.0
    )
    theirs, x = carry_over(mine, layer, convert).train(), normal(2, 5, 12)  # not the fused inference path
    options: dict[str, tuple[Tensor | str | None, dict[str, Tensor]]] = {
        "all": (None, {}),
        "causal": ("causal", {"src_mask": FUTURE}),
        "padding": (padding_mask(valid), {"src_key_padding_mask": ~valid}),
    }
    relations, arguments = options[mask]
    same_gradients(mine, theirs, convert, (mine(x, relations=Relations(relations)), theirs(x, **arguments)))


@ORDERS
@ACTIVATIONS
def test_a_block_with_cross_attention_is_torchs_decoder_layer(order: NormOrder, activation: Activation) -> None:
    mine, convert, valid = make(order, activation, cross_attention=True), rename(TORCH_DECODER), bits(2, 7)
    layer = nn.TransformerDecoderLayer(
        12, 3, 20, activation=activation, norm_first=order == "pre", batch_first=True, dropout=0.0
    )
    theirs, x, memory = carry_over(mine, layer, convert), normal(2, 5, 12), normal(2, 7, 12, seed=1)
    expected = theirs(x, memory, tgt_mask=FUTURE, memory_key_padding_mask=~valid)
    for seen in (memory, mine.project_memory(memory)):
        found = mine(x, relations=Relations("causal"), memory=seen, memory_mask=padding_mask(valid))
        same_gradients(mine, theirs, convert, (found, expected))
        expected = theirs(x, memory, tgt_mask=FUTURE, memory_key_padding_mask=~valid)


def test_memory_and_cross_attention_go_together() -> None:
    x, memory = normal(2, 5, 12), normal(2, 7, 12)
    with rejects("memory", "cross_attention"):
        make("pre", "relu", cross_attention=True)(x)
    with rejects("memory", "cross_attention"):
        make("pre", "relu")(x, memory=memory)
    with rejects("cross_attention"):
        make("pre", "relu").project_memory(memory)
