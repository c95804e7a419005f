"""Seq2Seq against `nn.Transformer`, and its laws: memory is made once, padding is nothing, the future is unknown."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.oracles import (
    CONFIG,
    TORCH_DECODER,
    TORCH_ENCODER,
    Tensors,
    bits,
    carry_over,
    close,
    integers,
    randomise,
    rename,
    same_gradients,
)
from transformer_lib.config import (
    Activation,
    AttentionConfig,
    LayerConfig,
    Mlp,
    NoPositions,
    NormOrder,
    Rope,
    Seq2SeqConfig,
    Sinusoidal,
)
from transformer_lib.models import Seq2Seq

SIDE = dataclasses.replace(
    CONFIG, attention=AttentionConfig(num_heads=4, bias=True), feedforward=Mlp(d_ff=24), positions=NoPositions()
)
SOURCE, TARGET = integers(13, 3, 8), integers(13, 3, 5, seed=1)
VALID = torch.arange(8) < torch.tensor([[8], [3], [1]])


class TorchSeq2Seq(nn.Module):
    """`nn.Transformer` between an embedding shared by both sides and the tied head."""

    def __init__(self, order: NormOrder, activation: Activation) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, 16)
        self.body = nn.Transformer(16, 4, 2, 2, 24, 0.0, activation, norm_first=order == "pre", batch_first=True)
        if order == "post":  # torch adds a norm after either stack, which in post-norm order is already normalised
            self.body.encoder.norm = self.body.decoder.norm = None

    def forward(self, source: torch.Tensor, target: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        states = self.body(
            self.embedding(source),
            self.embedding(target),
            tgt_mask=future,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return states @ self.embedding.weight.T


def to_torch(tensors: Tensors) -> Tensors:
    encoder, decoder = rename(TORCH_ENCODER), rename(TORCH_DECODER)
    found: Tensors = {}
    for name, weight in tensors.items():
        if name == "encoder.embedding.tokens.weight":
            found["embedding.weight"] = weight
        elif name.startswith("encoder."):
            name = name.replace("encoder.blocks", "encoder.layers").replace("final_norm", "norm")
            found |= {f"body.{new}": part for new, part in encoder({name: weight}).items()}
        else:
            name = "decoder." + name.replace("blocks", "layers").replace("final_norm", "norm")
            found |= {f"body.{new}": part for new, part in decoder({name: weight}).items()}
    return found


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_it_is_torchs_transformer(order: NormOrder, activation: Activation) -> None:
    side = dataclasses.replace(SIDE, norm_order=order, feedforward=Mlp(d_ff=24, activation=activation))
    mine = randomise(Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side)))
    theirs = carry_over(mine, TorchSeq2Seq(order, activation), to_torch).train()  # not the fused inference path
    found = mine(SOURCE, TARGET, source_valid=VALID)
    same_gradients(mine, theirs, to_torch, (found, theirs(SOURCE, TARGET, ~VALID)))


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("tie", [False, True])
def test_which_tables_are_one(share: bool, tie: bool) -> None:
    side = dataclasses.replace(SIDE, tie_embeddings=tie)
    model = Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side, share_embeddings=share))
    source, target, head = model.encoder.embedding.tokens.weight, model.embedding.tokens.weight, model.head.weight
    assert (source is target) == share and (target is head) == tie


def test_sides_may_differ_in_depth_vocabulary_and_kind() -> None:
    decoder = dataclasses.replace(CONFIG, vocab_size=7, num_layers=3)
    side = dataclasses.replace(SIDE, positions=Sinusoidal())
    model = randomise(Seq2Seq(Seq2SeqConfig(encoder=side, decoder=decoder, share_embeddings=False)))
    target = integers(7, 3, 5)
    assert model(SOURCE, target, source_valid=bits(3, 8)).shape == (3, 5, 7)


@pytest.mark.parametrize("order", ["pre", "post"])
def test_padding_of_either_side_is_nothing(order: NormOrder) -> None:
    """Torch's transformer on each row alone, without padding; source and target equally long, padded differently."""
    side = dataclasses.replace(SIDE, norm_order=order, feedforward=Mlp(d_ff=24, activation="relu"))
    mine = randomise(Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side)))
    theirs = carry_over(mine, TorchSeq2Seq(order, "relu"), to_torch).train()
    target = integers(13, 3, 8, seed=2)
    target_valid = torch.arange(8) >= torch.tensor([[5], [0], [3]])  # on the left, as in generation
    found = mine(SOURCE, target, source_valid=VALID, target_valid=target_valid)
    for row in range(3):
        source, written = SOURCE[row, VALID[row]][None], target[row, target_valid[row]][None]
        expected = theirs(source, written, torch.zeros_like(source, dtype=torch.bool))[0]
        close(found[row, target_valid[row]], expected, f"row {row}")


def test_either_side_can_have_layers_that_differ() -> None:
    """With windows: what a token reaches, and steps behind a cache."""
    near = LayerConfig(attention=AttentionConfig(num_heads=4, num_kv_heads=2, window=2), positions=Rope())
    first = LayerConfig(attention=AttentionConfig(num_heads=4, window=2), positions=Rope(), attention_norm=False)
    side = dataclasses.replace(SIDE, num_layers=3, logit_cap=2.0, pattern=(first, near))
    mine = randomise(Seq2Seq(Seq2SeqConfig(encoder=dataclasses.replace(side, logit_cap=None), decoder=side)))
    target = integers(13, 3, 8, seed=2)
    found = mine(SOURCE, target, source_valid=VALID)
    other = target.clone()
    other[:, 0] = (target[:, 0] + 1) % 13
    changed = (mine(SOURCE, other, source_valid=VALID) != found).any(dim=-1)
    assert changed.tolist() == [[True] * 4 + [False] * 4] * 3, "three layers that look one back reach three back"
    row = SOURCE[1, :3][None]
    close(mine(row, target[1][None])[0], found[1])
    memory, cache = mine.encode(SOURCE, VALID), mine.new_cache(3, 8)
    steps = [mine.decode(target[:, at : at + 3], memory, cache=cache) for at in range(0, 8, 3)]
    close(torch.cat(steps, dim=1), found)
