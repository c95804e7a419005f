"""Muon (Jordan et al. 2024): a matrix moves along its momentum with all singular values brought near 1.

torch's Muon multiplies in bfloat16. A processor without instructions for that type does so in plain loops, and there
the few products of a step took most of the time of a small training. So on a CPU these are products in float32.
Left out: matrices that lie in parts on several ranks.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Muon

from transformer_lib.contract import checked

# s -> a s + b s^3 + c s^5, five times over, takes every s from 0.002 to 1 to between 0.68 and 1.21.
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
TIMES = 5


@checked
def orthogonalised(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """U S' V^T for a matrix U S V^T, where S' lies between 0.68 and 1.21 but for the smallest singular values.

    The polynomial acts on each singular value alone, as M M^T M = U S^3 V^T, so nothing need be decomposed. In
    bfloat16 on a GPU, on a CPU in the matrix's own type, in float32 at least.
    """
    narrow = torch.bfloat16 if matrix.is_cuda else torch.promote_types(matrix.dtype, torch.float32)
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.mT if tall else matrix).to(narrow)  # the smaller of x x^T and x^T x
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = POLYNOMIAL
    for _ in range(TIMES):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrix.dtype)


@checked
@torch.no_grad()
def step_muon(muon: Muon) -> None:
    """One step of torch's Muon, with the products of `orthogonalised`: decay each matrix, then move it.

    The momentum is Nesterov's, and of what the groups say, rate, decay and momentum count. A step has the size of
    AdamW's: the rate is scaled by 0.2 sqrt(max(rows, columns)) (Liu et al. 2025).
    """
    for group in muon.param_groups:
        rate, keep = group["lr"], group["momentum"]
        for matrix in group["params"]:
            if matrix.grad is None:
                continue
            state = muon.state[matrix]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(matrix.grad)
            momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - keep)
            update = orthogonalised(matrix.grad.lerp(momentum, keep))
            matrix.mul_(1 - rate * group["weight_decay"])
            matrix.add_(update, alpha=-rate * 0.2 * math.sqrt(max(matrix.shape)))
