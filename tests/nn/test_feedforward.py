"""The two feed-forward networks, written out in NumPy."""

import math

import numpy as np
import pytest
import torch

from tests.oracles import close, normal, randomise
from transformer_lib.config import Activation, Glu, Mlp, SwiGlu
from transformer_lib.nn.experts import build_feedforward

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu"])
@pytest.mark.parametrize("bias", [False, True])
def test_mlp(activation: Activation, bias: bool) -> None:
    module = randomise(build_feedforward(4, Mlp(d_ff=6, activation=activation, bias=bias)))
    weights = {name: weight.detach().numpy() for name, weight in module.named_parameters()}
    x = normal(2, 3, 4)
    hidden = ACTIVATIONS[activation](x.numpy() @ weights["to_hidden.weight"].T + weights.get("to_hidden.bias", 0))
    expected = hidden @ weights["to_out.weight"].T + weights.get("to_out.bias", 0)
    close(module(x), torch.from_numpy(expected))
    assert len(weights) == (4 if bias else 2)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["silu", "relu", "gelu", "gelu_tanh"])
def test_swiglu(activation: Activation, bias: bool) -> None:
    """And the gates that another activation makes."""
    config = SwiGlu(d_ff=6, bias=bias) if activation == "silu" else Glu(d_ff=6, activation=activation, bias=bias)
    module = randomise(build_feedforward(4, config))
    weights = {name: weight.detach().numpy() for name, weight in module.named_parameters()}
    x = normal(2, 3, 4)
    gate, hidden = (
        x.numpy() @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0) for name in ("to_gate", "to_hidden")
    )
    expected = (ACTIVATIONS[activation](gate) * hidden) @ weights["to_out.weight"].T + weights.get("to_out.bias", 0)
    close(module(x), torch.from_numpy(expected))
    assert len(weights) == (6 if bias else 3)
