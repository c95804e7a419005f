"""Sharing the inside of a model: the exchanges that have a derivative, each in a few lines, for reading.

A block shared among n processes (Shoeybi et al. 2019) reads the same vectors on all of them, and adds up what each made
of its part of the matrices: `hand_out` and `add_up`, of which either is the other's derivative. A shared text (ring
attention, Liu et al. 2023) passes keys and values round: `pass_on`. Shared experts (Lepikhin et al. 2020) send each
token to where its expert is: `send_to`. The numbers are those of one process, which the tests hold to 1e-10.

Left out: all that makes it fast (sending while computing, which torch's own tensor and context parallelism do), and
shares of a causal text that take equally long.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.nn.tiled import absorb, finish, start


@checked
def hand_out(x: Tensor, group: ProcessGroup) -> Tensor:
    """The same x, which every process of the group has; its gradient is the sum of all processes' gradients."""
    return _call(_HandOut)(x, group)


@checked
def add_up(x: Tensor, group: ProcessGroup) -> Tensor:
    """The sum of every process's x, on each of them; the gradient of each summand is that of the sum."""
    return _call(_AddUp)(x, group)


@checked
def pass_on(x: Tensor, group: ProcessGroup) -> Tensor:
    """The x of the process before this one, of the same shape; this one's goes to the next. Gradients go back."""
    return _call(_PassOn)(x, group, 1)


@checked
def send_to(x: Float[Tensor, "rows width"], counts: Sequence[int], group: ProcessGroup) -> tuple[Tensor, list[int]]:
    """Rows to all processes: the first `counts[0]` to process 0, and so on. Gives what came, and how much of each.

    With the counts that came, `send_to` brings answers back to where their questions came from. Raises `ValueError` if
    the counts are not one for each process, or do not add up to the rows.
    """
    size = distributed.get_world_size(group)
    require(len(counts) == size, "counts", f"must be {size}, one for each process", list(counts))
    require(min(counts) >= 0, "counts", "must not be negative", list(counts))
    require(sum(counts) == len(x), "counts", f"must add up to the {len(x)} rows", list(counts))
    told, heard = torch.tensor(list(counts)), torch.empty(size, dtype=torch.int64)
    distributed.all_to_all_single(heard, told, group=group)
    came = [int(count) for count in heard]
    return _call(_SendTo)(x, list(counts), came, group), came


@checked
def ring_attention(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch heads query head_dim"],
    v: Float[Tensor, "batch heads query head_dim"],
    group: ProcessGroup,
) -> Float[Tensor, "batch heads query head_dim"]:
    """Causal attention over a text of which each process holds one stretch, in the order of the processes.

    The queries stay; keys and values pass round the ring, and each stretch is absorbed as it comes (`nn.tiled`).
    """
    size, here = distributed.get_world_size(group), distributed.get_rank(group)
    at = torch.arange(q.shape[2], device=q.device)
    seen = start(q, v)
    for hop in range(size):
        owner = (here - hop) % size
        later = at + owner * len(at) > (at + here * len(at))[:, None]
        scores = q.shape[-1] ** -0.5 * q @ k.mT
        seen = absorb(seen, scores.masked_fill(later, -torch.inf), v)
        if hop < size - 1:
            k, v = pass_on(torch.stack([k, v]), group).unbind()
    return finish(seen)[0]


def _call(function: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    """What applies it; torch leaves `apply` without a type."""
    return cast("Callable[..., Tensor]", function.apply)


class _HandOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _summed(gradient, ctx.group), None


class _AddUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        return _summed(x, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, None


class _PassOn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup, step: int) -> Tensor:
        ctx.group, ctx.step = group, step
        return _shifted(x, group, step)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _shifted(gradient, ctx.group, -ctx.step), None, None


class _SendTo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int], came: list[int], group: ProcessGroup) -> Tensor:
        ctx.group, ctx.counts, ctx.came = group, counts, came
        return _exchanged(x, counts, came, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _exchanged(gradient, ctx.came, ctx.counts, ctx.group), None, None, None


def _summed(x: Tensor, group: ProcessGroup) -> Tensor:
    whole = x.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(whole, group=group)
    return whole


def _shifted(x: Tensor, group: ProcessGroup, step: int) -> Tensor:
    """What the process `step` places before this one sent, while this one's goes as far the other way."""
    size, here = distributed.get_world_size(group), distributed.get_rank(group)
    after, before = (distributed.get_global_rank(group, (here + way) % size) for way in (step, -step))
    came = torch.empty_like(x, memory_format=torch.contiguous_format)
    sending = distributed.P2POp(distributed.isend, x.contiguous(), after, group)
    receiving = distributed.P2POp(distributed.irecv, came, before, group)
    for work in distributed.batch_isend_irecv([sending, receiving]):
        work.wait()
    return came


def _exchanged(x: Tensor, counts: list[int], came: list[int], group: ProcessGroup) -> Tensor:
    out = x.new_empty(sum(came), *x.shape[1:])
    distributed.all_to_all_single(out, x.contiguous(), came, counts, group=group)
    return out
