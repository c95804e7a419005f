"""Starting weights have the stated spread, judged by their standard deviation over many draws."""

import dataclasses

import pytest
import torch

from tests.oracles import CONFIG
from transformer_lib.config import Learned, Mlp
from transformer_lib.models import DecoderLM

WIDE = dataclasses.replace(
    CONFIG, vocab_size=500, d_model=128, num_layers=8, max_length=400, positions=Learned(), feedforward=Mlp(d_ff=256)
)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_spread_of_every_weight(scaled: bool) -> None:
    torch.manual_seed(0)
    model = DecoderLM(dataclasses.replace(WIDE, scale_embeddings=scaled))
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert weight.count_nonzero() == 0, name
        elif "norm" in name:
            assert (weight == 1).all(), name
        else:
            expected = 0.02 / 16**0.5 if "to_out" in name else 0.02
            if scaled and name == "embedding.tokens.weight":
                expected = 128**-0.5
            # The deviation of n normal draws scatters by about sqrt(1 / 2n): 5 of those.
            assert weight.std().item() == pytest.approx(expected, rel=5 / (2 * weight.numel()) ** 0.5), name
            assert abs(weight.mean().item()) < 5 * expected / weight.numel() ** 0.5, name
