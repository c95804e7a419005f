"""The gated delta rule: a matrix that maps keys to values, corrected by each token and fading between them.

    S_t = a_t S_{t-1} + k_t (b_t (v_t - a_t S_{t-1}^T k_t))^T        out_t = S_t^T q_t

Before a value is written, what the matrix already holds under its key is taken off: a key that comes again is
overwritten, where linear attention would add to it (Schlag et al. 2021). a_t, below 1, forgets; b_t, from 0 to 1, is
how much is written. Three functions give the same numbers: `delta_recurrent` is the definition, `delta_parallel` solves
for all corrections at once, and `delta_chunked` does so chunk by chunk, which is what training runs
(Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule" and "Gated Delta Networks").

Left out: a kernel of one's own, and decays for each channel (Kimi Linear).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.contract import also, checked_once

Heads = Float[Tensor, "batch heads time"]
Keys = Float[Tensor, "batch heads time key_dim"]
Values = Float[Tensor, "batch heads time value_dim"]
Memory = Float[Tensor, "batch heads key_dim value_dim"]


def _check_operands(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, memory: Tensor | None) -> None:
    parts = {"q": q, "k": k, "v": v, "log_decay": log_decay, "beta": beta, "memory": memory}
    for name, part in parts.items():
        if part is not None:
            require(part.dtype in (torch.float32, torch.float64), name, "must be float32 or float64", part.dtype)
            require(part.dtype == q.dtype, name, f"must be {q.dtype}, as q", part.dtype)
            require(part.numel() > 0, name, "must not be empty", tuple(part.shape))
    largest = float(log_decay.detach().max())
    require(largest <= 0, "log_decay", "must be at most 0 everywhere, the logarithm of a factor", largest)


@checked_once
@also(_check_operands)
def delta_recurrent(
    q: Keys, k: Keys, v: Values, *, log_decay: Heads, beta: Heads, memory: Memory | None = None
) -> tuple[Values, Memory]:
    """Token by token, as the rule is written. Gives the outputs, and the memory after the last token."""
    memory = _start(k, v) if memory is None else memory
    outs = []
    for t in range(q.shape[2]):
        memory = memory * log_decay[:, :, t, None, None].exp()
        held = memory.mT @ k[:, :, t, :, None]
        change = beta[:, :, t, None, None] * (v[:, :, t, :, None] - held)
        memory = memory + k[:, :, t, :, None] @ change.mT
        outs.append((memory.mT @ q[:, :, t, :, None]).squeeze(-1))
    return torch.stack(outs, dim=2), memory


@checked_once
@also(_check_operands)
def delta_parallel(
    q: Keys, k: Keys, v: Values, *, log_decay: Heads, beta: Heads, memory: Memory | None = None
) -> tuple[Values, Memory]:
    """All tokens at once: one triangular system for the corrections, then a causal product like that of attention.

    With D_ts the decay from token s to token t, and G_t that from the memory to t, the corrections u solve
    u_t = b_t (v_t - G_t S^T k_t - sum over s < t of D_ts (k_t . k_s) u_s). Work grows with the square of time.
    """
    memory = _start(k, v) if memory is None else memory
    decay = _decays(log_decay)
    from_start = log_decay.cumsum(dim=-1).exp()[..., None]
    written = beta[..., None] * (v - from_start * (k @ memory))
    overlaps = beta[..., None] * decay * (k @ k.mT)  # of which the solver reads what lies below the diagonal
    change = torch.linalg.solve_triangular(overlaps, written, upper=False, unitriangular=True)
    out = from_start * (q @ memory) + (decay * (q @ k.mT)) @ change
    kept = from_start[:, :, -1:] * memory + (decay[:, :, -1, :, None] * k).mT @ change
    return out, kept


@checked_once
@also(_check_operands, lambda chunk: require_positive(chunk=chunk))
def delta_chunked(
    q: Keys, k: Keys, v: Values, *, log_decay: Heads, beta: Heads, memory: Memory | None = None, chunk: int = 64
) -> tuple[Values, Memory]:
    """Parallel within a chunk, recurrent from chunk to chunk: work grows with time * chunk."""
    outs = []
    pieces = (part.split(chunk, dim=2) for part in (q, k, v, log_decay, beta))
    for some_q, some_k, some_v, some_decay, some_beta in zip(*pieces, strict=True):
        out, memory = delta_parallel(some_q, some_k, some_v, log_decay=some_decay, beta=some_beta, memory=memory)
        outs.append(out)
    assert memory is not None  # no part is empty
    return torch.cat(outs, dim=2), memory


def _start(k: Keys, v: Values) -> Memory:
    return k.new_zeros(*k.shape[:2], k.shape[3], v.shape[3])


def _decays(log_decay: Heads) -> Float[Tensor, "batch heads time time"]:
    """The product of the decays after token s up to token t in row t and column s; 0 above the diagonal.

    Each sum is taken by itself. Differences of one running sum would lose their digits once a token has forgotten much.
    """
    time = log_decay.shape[-1]
    ones = torch.ones(time, time, dtype=torch.bool, device=log_decay.device)
    steps = log_decay[..., None].masked_fill(~ones.tril(-1), 0.0)  # in row t what happens at t
    return steps.cumsum(dim=-2).masked_fill(~ones.tril(), -torch.inf).exp()
