"""Dropout from sixteen random bits a number, on the CPU (Srivastava et al. 2014).

There PyTorch draws each decision with its own slow step of a generator, which takes longer than the matrix product
beside it: a third of a small model's training step. Drawing words of 64 bits and cutting them in four is three times as
fast. The probability is rounded to a multiple of 2^-16, and the scale is that of the rounded one.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from transformer_lib.contract import checked_once
from transformer_lib.nn.fit import require_probability

WORD = torch.int64
LEVELS = 2**16  # of one decision: a quarter of a word


@checked_once
class Dropout(nn.Dropout):
    """`nn.Dropout` by way of `dropout`; p is below 1, so that the scale is finite."""

    def __init__(self, p: float = 0.5) -> None:
        require_probability("p", p)
        super().__init__(p)

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """x itself, unless in training."""
        return dropout(x, self.p) if self.training else x


@checked_once
def dropout(x: Float[Tensor, "..."], p: float) -> Float[Tensor, "..."]:
    """Each number 0 with probability p, else divided by 1 - p, so that the expectation stays x."""
    if p == 0:
        return x
    require_probability("p", p)
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, p)
    dropped = min(round(p * LEVELS), LEVELS - 1)
    words = torch.empty(-(-x.numel() // 4), dtype=WORD).random_(-(2**63), None)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
    return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
