"""The equations against NumPy, the modules against the equations and PyTorch, gradients included."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tests.oracles import close, normal, randomise
from transformer_lib.config import Norm
from transformer_lib.nn import LayerNorm, RMSNorm, layer_norm, rms_norm
from transformer_lib.nn.norm import build_norm

X, GAIN, BIAS = normal(2, 3, 8), normal(8, seed=1), normal(8, seed=2)


def test_the_equations() -> None:
    x = X.numpy()
    centred = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
    close(layer_norm(X, GAIN, BIAS, 0.1), GAIN * torch.from_numpy(centred) + BIAS)
    scaled = x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.1)
    close(rms_norm(X, GAIN, 0.1), GAIN * torch.from_numpy(scaled))


@pytest.mark.parametrize(
    "mine, theirs", [(LayerNorm(8, 0.1), nn.LayerNorm(8, 0.1)), (RMSNorm(8, 0.1), nn.RMSNorm(8, 0.1))]
)
def test_the_modules_are_torchs_and_the_equations(mine: nn.Module, theirs: nn.Module) -> None:
    randomise(mine)
    theirs.double().load_state_dict(mine.state_dict())
    inputs = [X.clone().requires_grad_() for _ in range(3)]
    gain, *bias = [weight.detach() for weight in mine.parameters()]
    equation = layer_norm(inputs[2], gain, bias[0], 0.1) if bias else rms_norm(inputs[2], gain, 0.1)
    outputs = [mine(inputs[0]), theirs(inputs[1]), equation]
    gradients = [torch.autograd.grad(out, x, GAIN.expand_as(X))[0] for out, x in zip(outputs, inputs, strict=True)]
    for out, gradient in zip(outputs, gradients, strict=True):
        close(out, outputs[0])
        close(gradient, gradients[0])


def test_a_config_builds_its_norm() -> None:
    layer, rms = build_norm(Norm(eps=0.5), 8), build_norm(Norm(kind="rms", eps=0.25), 8)
    assert isinstance(layer, LayerNorm) and layer.eps == 0.5
    assert isinstance(rms, RMSNorm) and rms.eps == 0.25


def test_without_a_bias_only_the_gain_is_trained() -> None:
    mine = randomise(build_norm(Norm(eps=0.1, bias=False), 8))
    assert [name for name, _ in mine.named_parameters()] == ["weight"]
    close(mine(X), layer_norm(X, mine.weight, torch.zeros_like(BIAS), 0.1))


def test_centred_gains_are_added_to_one() -> None:
    mine = build_norm(Norm(kind="rms", eps=0.1, centred=True), 8).double()
    close(mine(X), rms_norm(X, torch.ones_like(GAIN), 0.1))
    with torch.no_grad():
        mine.weight.copy_(GAIN)
    close(mine(X), rms_norm(X, 1 + GAIN, 0.1))


@pytest.mark.parametrize("centred", [False, True])
def test_under_autocast_nothing_is_warned_of_and_only_the_output_is_rounded(centred: bool) -> None:
    """Queries come out of a map in bfloat16, the gain is in float32: torch's fast kernel cannot mix them, and warns."""
    mine = randomise(RMSNorm(8, 0.1, centred=centred)).float()
    x = X.bfloat16().requires_grad_()
    torch.set_warn_always(True)  # not only in the first of all tests
    try:
        with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
            warnings.simplefilter("error")
            found = mine(x)
    finally:
        torch.set_warn_always(False)
    wide = x.detach().float().requires_grad_()
    exact = rms_norm(wide, mine.weight.detach() + centred, 0.1)
    assert found.dtype == torch.bfloat16 and torch.equal(found, exact.bfloat16())
    found.sum().backward()
    exact.sum().backward()
    assert x.grad is not None and wide.grad is not None
    torch.testing.assert_close(x.grad.float(), wide.grad, rtol=2**-7, atol=1e-6)


def test_centred_gains_are_not_rounded_beside_one() -> None:
    """In bfloat16 there is nothing between 1 and 1.0078: 1 + weight must be made in float32."""
    mine = build_norm(Norm(kind="rms", eps=1e-6, centred=True), 8).bfloat16()
    x, gain = (100 * X).bfloat16(), torch.full((8,), 0.003).bfloat16()
    with torch.no_grad():
        mine.weight.copy_(gain)
    expected = rms_norm(x.float(), 1 + gain.float(), 1e-6)
    assert torch.equal(mine(x), expected.bfloat16())
    assert not torch.equal(mine(x), rms_norm(x.float(), torch.ones(8), 1e-6).bfloat16()), "the gain counts"
