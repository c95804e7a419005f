"""What lets a gradient pass a deep stack: the residual connections or the norms?

Twenty-four untrained blocks with and without each, under two starts. `gradient` is the decimal logarithm of the size of
the gradient at the bottom, relative to the top: 0 if it arrives as it left, -5 if a hundred-thousandth arrives.
`content` is how much of the stream at the top differs between positions, 1 if all of it and 0 if all positions hold the
same vector.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Norm, Rope
from transformer_lib.nn import Block
from transformer_lib.runs.experiment import Experiment

CONFIG = ModelConfig(
    vocab_size=21,
    d_model=32,
    num_layers=1,
    max_length=12,
    attention=AttentionConfig(num_heads=2),
    feedforward=Mlp(d_ff=64, activation="gelu_tanh", bias=False),
    positions=Rope(),
    norm=Norm(kind="rms"),
)
DEPTH = 24


class WithoutResidual(Block):
    """Hands on only what its part makes of the stream."""

    def _add(self, x: Tensor, norm: nn.Module, part: Any) -> Tensor:
        return part(norm(x)) if self.norm_order == "pre" else norm(part(x))


def run(seed: int, residual: bool, norm: str, std: float) -> dict[str, Any]:
    torch.manual_seed(seed)
    config = replace(CONFIG, norm_order=norm if norm != "none" else "pre")
    states = [torch.randn(4, 8, 32, dtype=torch.float64, requires_grad=True)]
    for _ in range(DEPTH):
        block = (Block if residual else WithoutResidual)(config).double()
        if norm == "none":
            block.attention_norm = block.feedforward_norm = nn.Identity()
        for weight in block.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=std * weight.shape[1] ** -0.5)
        states.append(block(states[-1]))
    end = states[-1]
    first, last = torch.autograd.grad((end * torch.randn_like(end)).sum(), (states[0], end))
    ratio = (first.norm() / last.norm()).item()
    apart = ((end - end.mean(1, keepdim=True)).norm() / end.norm()).item()
    return {"gradient": math.log10(ratio) if 0 < ratio < math.inf else math.nan, "content": apart}


EXPERIMENT = Experiment(
    arms={
        f"{'residual' if residual else 'no residual'}, {norm} norm, {name} weights": {
            "residual": residual,
            "norm": norm,
            "std": std,
        }
        for name, std in (("usual", 1.0), ("small", 0.2))
        for norm in ("pre", "post", "none")
        for residual in (True, False)
    },
    run=run,
    seeds=tuple(range(8)),
)
