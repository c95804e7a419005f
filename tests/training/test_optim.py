"""Which parameters are decayed, and that the optimiser is torch's AdamW."""

import pytest
import torch
from small_run import small_model
from torch import nn

from transformer_lib.training import adamw, parameter_groups


def test_matrices_are_decayed_and_vectors_are_not_each_once():
    model = small_model()
    decayed, plain = parameter_groups(model, weight_decay=0.3)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert {p.dim() for p in decayed["params"]} == {2} and {p.dim() for p in plain["params"]} == {1}
    both = [id(p) for p in decayed["params"] + plain["params"]]
    assert len(set(both)) == len(both) and set(both) == {id(p) for p in model.parameters()}
    assert model.head.weight is model.embedding.tokens.weight and id(model.head.weight) in both


def test_a_frozen_parameter_stands_in_no_group():
    model = nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    groups = parameter_groups(model, weight_decay=0.1)
    assert [len(group["params"]) for group in groups] == [1, 0]


def test_bad_settings_name_field_rule_and_value():
    with pytest.raises(ValueError, match="weight_decay must not be negative, got -1"):
        parameter_groups(nn.Linear(2, 2), weight_decay=-1.0)
    with pytest.raises(ValueError, match="model must have a parameter to train, got 'Identity'"):
        parameter_groups(nn.Identity(), weight_decay=0.1)


def test_the_fused_update_is_plain_adamws_with_decay_on_matrices_only():
    ours, theirs = (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizers = [adamw(ours, weight_decay=0.5, betas=(0.8, 0.9))]
    for parameters, decay in ([[theirs[0].weight, theirs[1].weight], 0.5], [[theirs[0].bias, theirs[1].bias], 0.0]):
        optimizers.append(torch.optim.AdamW(parameters, lr=0.01, betas=(0.8, 0.9), weight_decay=decay, fused=False))
    for group in optimizers[0].param_groups:
        assert group["fused"]
        group["lr"] = 0.01
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        for model in (ours, theirs):
            model.zero_grad()
            model(x).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=0)
