"""Normalisation: give every position's vector a standard size before it is used.

The two functions are the equations; the two modules compute the same numbers through PyTorch's fused kernels.
Left out: batch normalisation (it mixes sentences).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from transformer_lib.config import ModelConfig, Norm, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import require_eps, require_fit
from transformer_lib.nn.memory import require_memory


@checked_once
def layer_norm(
    x: Float[Tensor, "*batch width"], gain: Float[Tensor, " width"], bias: Float[Tensor, " width"], eps: float = 1e-5
) -> Float[Tensor, "*batch width"]:
    """y = gain * (x - mean) / sqrt(variance + eps) + bias, over the last axis (Ba et al. 2016)."""
    require_eps(eps)
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps) + bias


@checked_once
def rms_norm(
    x: Float[Tensor, "*batch width"], gain: Float[Tensor, " width"], eps: float = 1e-6
) -> Float[Tensor, "*batch width"]:
    """y = gain * x / sqrt(mean(x^2) + eps), over the last axis (Zhang and Sennrich 2019)."""
    require_eps(eps)
    return gain * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


@checked_once
class LayerNorm(nn.Module):
    """`layer_norm` with a trained gain and, unless it is without one (ModernBERT), a trained bias."""

    def __init__(self, width: int, eps: float = 1e-5, *, bias: bool = True) -> None:
        super().__init__()
        _check(width, eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    @also(lambda self, x: require_fit("x", x, self.weight))
    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        gain = self.weight
        return torch.layer_norm(x, gain.shape, gain, self.bias, self.eps)  # F's asks Python more than the sum takes


@checked_once
class RMSNorm(nn.Module):
    """`rms_norm` with a trained gain: `weight`, or with `centred` 1 + `weight` (Gemma)."""

    def __init__(self, width: int, eps: float = 1e-6, *, centred: bool = False) -> None:
        super().__init__()
        _check(width, eps)
        self.eps, self.centred = eps, centred
        self.weight = nn.Parameter(torch.zeros(width) if centred else torch.ones(width))

    @also(lambda self, x: require_fit("x", x, self.weight))
    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        if not self.centred and x.dtype == self.weight.dtype:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        # Under autocast x may be narrower than the gain; the fused kernel wants one type, and the wider loses nothing.
        wide = torch.promote_types(x.dtype, self.weight.dtype)
        gain: Tensor = self.weight
        if self.centred:  # in bfloat16, 1 + weight would lose what the weight says
            wide = torch.promote_types(wide, torch.float32)
            gain = 1 + self.weight.to(wide)
        return F.rms_norm(x.to(wide), self.weight.shape, gain, self.eps).to(x.dtype)


def _check(width: int, eps: float) -> None:
    require_positive(width=width)
    require_eps(eps)
    require_memory(8 * width, width=width)


@checked_once
def build_norm(config: Norm, width: int) -> LayerNorm | RMSNorm:
    """The module that a `Norm` describes."""
    match config.kind:
        case "layer":
            return LayerNorm(width, config.eps, bias=config.bias)
        case "rms":
            return RMSNorm(width, config.eps, centred=config.centred)


@checked_once
def build_final_norm(config: ModelConfig) -> nn.Module:
    """The norm behind the last layer: nothing if that is in post-norm order, and so ends with one."""
    return nn.Identity() if config.ends_normed else build_norm(config.norm, config.d_model)
