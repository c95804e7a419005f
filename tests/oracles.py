"""What the tests of the library share: random tensors, weights carried over to a reference, and strict comparison.

A reference is an implementation that this project did not write. Its weights are copied from ours by a renaming, and
the same renaming is applied to our gradients, so that a forward pass and every parameter's gradient are compared.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from tests.plain import CONFIG as CONFIG
from tests.plain import rejects as rejects
from tests.plain import unchecked as unchecked
from transformer_lib.config import Alibi, Learned, Llama3Scaling, NoPositions, Rope, Sinusoidal

M = TypeVar("M", bound=nn.Module)
Tensors = dict[str, Tensor]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
SLOWED = Rope(scaling=Llama3Scaling(factor=4.0, original_length=6))
POSITIONS = [NoPositions(), Sinusoidal(), Learned(), Rope(), SLOWED, Alibi()]

TORCH_ENCODER = {
    "attention.to_qkv.": "self_attn.in_proj_",
    "attention.to_out": "self_attn.out_proj",
    "attention_norm": "norm1",
    "feedforward_norm": "norm2",
    "feedforward.to_hidden": "linear1",
    "feedforward.to_out": "linear2",
}
TORCH_DECODER = {
    "cross_attention.to_qkv.": "multihead_attn.in_proj_",
    "cross_attention.to_out": "multihead_attn.out_proj",
    "cross_norm": "norm2",
} | (TORCH_ENCODER | {"feedforward_norm": "norm3"})


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def integers(high: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def bits(*shape: int, seed: int = 0, p: float = 0.6) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < p


def randomise(model: M, *, dtype: torch.dtype = torch.float64) -> M:
    """Weights under which attention is far from uniform, and every gain and bias counts; dropout off."""
    with torch.no_grad():
        for seed, (name, weight) in enumerate(model.named_parameters()):
            noise = normal(*weight.shape, seed=seed).to(weight.dtype)
            gain = float(name.endswith("weight"))  # a vector called weight is a norm's
            weight.copy_(noise * 1.5 / weight.shape[-1] ** 0.5 if weight.ndim > 1 else gain + 0.3 * noise)
    return model.to(dtype).eval()


def rename(names: dict[str, str]) -> Callable[[Tensors], Tensors]:
    """A conversion that replaces each key of `names`, in turn, wherever it occurs in a parameter's name."""

    def convert(tensors: Tensors) -> Tensors:
        renamed = {}
        for name, tensor in tensors.items():
            for mine, theirs in names.items():
                name = name.replace(mine, theirs)
            renamed[name] = tensor
        return renamed

    return convert


def close(mine: Tensor, theirs: Tensor, name: str = "output") -> None:
    tolerance = TOLERANCE[mine.dtype]
    torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance, msg=lambda text: f"{name}: {text}")


def carry_over(mine: nn.Module, theirs: M, convert: Callable[[Tensors], Tensors]) -> M:
    """The reference with our weights; every parameter on either side must have its partner."""
    weights = convert(dict(mine.named_parameters()))
    theirs = theirs.to(next(mine.parameters()).dtype).eval()
    assert weights.keys() == dict(theirs.named_parameters()).keys()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            assert weight.shape == weights[name].shape, name
            weight.copy_(weights[name])
    return theirs


def same_gradients(
    mine: nn.Module, theirs: nn.Module, convert: Callable[[Tensors], Tensors], outputs: tuple[Tensor, Tensor]
) -> None:
    """Equal outputs, and equal gradients of a random weighing of them with respect to every parameter."""
    close(*outputs)
    weighing = normal(*outputs[0].shape, seed=99).to(outputs[0].dtype)
    for model, output in zip((mine, theirs), outputs, strict=True):
        model.zero_grad()
        (output * weighing).sum().backward()
    found = convert({name: _gradient(weight) for name, weight in mine.named_parameters()})
    for name, weight in theirs.named_parameters():
        expected = _gradient(weight)
        size = expected.abs().max().clamp(min=1)  # entries are sums over all positions: judged by the largest of them
        close(found[name] / size, expected / size, f"gradient of {name}")


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
