"""One linear layer for each expert, applied to rows that are sorted by expert.

There is one matrix product per expert with rows, so nothing is computed that no row asked for. How many rows an expert
gets is known only when the numbers are; `torch.compile` therefore sees the whole as one operation of fixed shape.
Left out: second derivatives, and one kernel for all experts.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.config import require, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import require_fit, require_index
from transformer_lib.nn.memory import require_memory


@checked_once
class StackedLinear(nn.Module):
    """x_i W_e^T + b_e, where e is the expert of row i; the weights of all experts are one tensor (expert, out, in)."""

    def __init__(self, num_experts: int, width_in: int, width_out: int, *, bias: bool = False) -> None:
        super().__init__()
        require_positive(num_experts=num_experts, width_in=width_in, width_out=width_out)
        size = 4 * num_experts * width_in * width_out
        require_memory(size, num_experts=num_experts, width_in=width_in, width_out=width_out)
        bound = 1 / math.sqrt(width_in)  # as nn.Linear begins
        self.weight = nn.Parameter(torch.empty(num_experts, width_out, width_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_experts, width_out).uniform_(-bound, bound)) if bias else None

    def _check_rows(self, x: Tensor, expert: Tensor) -> None:
        require_fit("x", x, self.weight)
        require_index("expert", expert)
        if expert.numel():
            ordered = bool((expert[1:] >= expert[:-1]).all())
            inside = int(expert[0]) >= 0 and int(expert[-1]) < len(self.weight)
            rule = f"must rise from row to row, within 0 and {len(self.weight) - 1}"
            require(ordered and inside, "expert", rule, expert.tolist())

    @also(_check_rows)
    def forward(self, x: Float[Tensor, "rows width_in"], expert: Int[Tensor, " rows"]) -> Float[Tensor, "rows width"]:
        """`expert` says whose weights each row meets, in rising order."""
        counts = torch.zeros(len(self.weight), dtype=torch.int64, device=x.device)
        counts = counts.index_add(0, expert, torch.ones_like(expert, dtype=torch.int64))
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)  # autocast does not know the operation
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        out = _products(x, weight, counts)
        return out if bias is None else out + bias[expert]


@torch.library.custom_op("transformer_lib::products", mutates_args=())
def _products(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Row by row the product with the weights of its expert."""
    sizes = counts.tolist()
    parts = [rows @ w.T for rows, w in zip(x.split(sizes), weight, strict=True) if len(rows)]
    return torch.cat(parts) if parts else x.new_empty(0, weight.shape[1])


@torch.library.custom_op("transformer_lib::outer_products", mutates_args=())
def _outer_products(out: Tensor, x: Tensor, counts: Tensor) -> Tensor:
    """For each expert the sum of the outer products of its rows: the gradient of its weights."""
    sizes = counts.tolist()
    return torch.stack([a.T @ b for a, b in zip(out.split(sizes), x.split(sizes), strict=True)])


@_products.register_fake
def _(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


@_outer_products.register_fake
def _(out: Tensor, x: Tensor, counts: Tensor) -> Tensor:
    return x.new_empty(counts.shape[0], out.shape[1], x.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, counts = ctx.saved_tensors
    grad = grad.contiguous()
    to_x = _products(grad, weight.mT, counts) if ctx.needs_input_grad[0] else None
    to_weight = _outer_products(grad, x, counts) if ctx.needs_input_grad[1] else None
    return to_x, to_weight, None


_products.register_autograd(_backward, setup_context=_keep)
