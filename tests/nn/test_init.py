"""Starting weights have the stated spread, judged by their standard deviation over many draws."""

import dataclasses

import pytest
import torch

from tests.oracles import CONFIG
from transformer_lib.config import Experts, GatedDelta, Learned, Mlp
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


def test_experts_start_as_other_matrices_do_and_rates_keep_their_own() -> None:
    torch.manual_seed(0)
    experts = Experts(num_experts=16, top_k=2, d_ff=64, bias=True, router_bias=True)
    delta = GatedDelta(num_heads=8, key_dim=16, value_dim=16)
    block = DecoderLM(dataclasses.replace(WIDE, feedforward=experts, attention=delta)).blocks[0]
    part, mixer = block.feedforward, block.attention
    for module, expected in ((part.to_gate, 0.02), (part.to_hidden, 0.02), (part.to_out, 0.02 / 4)):
        assert module.weight.std().item() == pytest.approx(expected, rel=0.02)
        assert not module.bias.any()
    assert part.router.to_scores.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not part.router.to_scores.bias.any()
    assert mixer.to_out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert 0.2 < mixer.conv.weight.std().item() < 0.4, "torch's own start: uniform within 1 / sqrt(4)"
    kept = torch.exp(-mixer.log_rate.exp() * torch.nn.functional.softplus(mixer.step_bias))
    assert ((kept > 0.1) & (kept < 1)).all(), "at first a head forgets within a few tokens or in thousands"
