"""Linear attention: weights that are products of features, so that the past is a sum of fixed size.

With phi(x) = elu(x) + 1 in the place of the exponential of softmax,

    out_t = sum over s <= t of (phi(q_t) . phi(k_s)) v_s / sum over s <= t of phi(q_t) . phi(k_s)

and both sums are products of phi(q_t) with what no longer depends on it: the sum of the matrices phi(k_s) v_s^T and
that of the vectors phi(k_s). The functions keep the second as one more column of the first, under a value of 1. Three
of them give the same numbers: all at once as attention, token by token as a recurrent network, and in chunks
(Katharopoulos et al. 2020, "Transformers are RNNs").

Left out: the form without a causal order, other features, and decays.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from transformer_lib.config import require, require_positive
from transformer_lib.config.mixers import LinearAttention
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.state import RecurrentState, recurrent_state, state_shapes

Keys = Float[Tensor, "batch heads time key_dim"]
Values = Float[Tensor, "batch heads time value_dim"]
Memory = Float[Tensor, "batch heads key_dim value_and_one"]


@checked_once
def features(x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
    """elu(x) + 1: e^x below 0, x + 1 above; never negative, so that the weights are none either."""
    return F.elu(x) + 1


def _check_operands(q: Tensor, k: Tensor, v: Tensor, memory: Tensor | None) -> None:
    for name, part in (("q", q), ("k", k), ("v", v), ("memory", memory)):
        if part is not None:
            require(part.dtype in (torch.float32, torch.float64), name, "must be float32 or float64", part.dtype)
            require(part.dtype == q.dtype, name, f"must be {q.dtype}, as q", part.dtype)
            require(part.numel() > 0, name, "must not be empty", tuple(part.shape))
    for name, part in (("q", q), ("k", k)):
        least = float(part.detach().min())
        require(least >= 0, name, "must hold features, none below 0", least)
    if memory is not None:
        columns = v.shape[-1] + 1
        require(memory.shape[-1] == columns, "memory", f"must have {columns} columns", tuple(memory.shape))


@checked_once
@also(_check_operands)
def linear_recurrent(q: Keys, k: Keys, v: Values, *, memory: Memory | None = None) -> tuple[Values, Memory]:
    """Token by token, from features q and k. Gives the outputs, and the memory after the last token."""
    v = _with_one(v)
    memory = _start(k, v) if memory is None else memory
    sums = []
    for t in range(q.shape[2]):
        memory = memory + k[:, :, t, :, None] * v[:, :, t, None, :]
        sums.append((q[:, :, t, None, :] @ memory).squeeze(2))
    return _divided(torch.stack(sums, dim=2)), memory


@checked_once
@also(_check_operands)
def linear_parallel(q: Keys, k: Keys, v: Values, *, memory: Memory | None = None) -> tuple[Values, Memory]:
    """All tokens at once, as attention: the products of features below the diagonal, and what the memory gives."""
    v = _with_one(v)
    memory = _start(k, v) if memory is None else memory
    return _divided(q @ memory + (q @ k.mT).tril() @ v), memory + k.mT @ v


@checked_once
@also(_check_operands, lambda chunk: require_positive(chunk=chunk))
def linear_chunked(
    q: Keys, k: Keys, v: Values, *, memory: Memory | None = None, chunk: int = 64
) -> tuple[Values, Memory]:
    """Parallel within a chunk, recurrent from chunk to chunk: work grows with time * chunk."""
    outs = []
    for some_q, some_k, some_v in zip(*(part.split(chunk, dim=2) for part in (q, k, v)), strict=True):
        out, memory = linear_parallel(some_q, some_k, some_v, memory=memory)
        outs.append(out)
    assert memory is not None  # no part is empty
    return torch.cat(outs, dim=2), memory


def _with_one(v: Values) -> Tensor:
    return F.pad(v, (0, 1), value=1.0)


def _start(k: Tensor, v: Tensor) -> Tensor:
    return k.new_zeros(*k.shape[:2], k.shape[3], v.shape[3])


def _divided(sums: Tensor) -> Tensor:
    """Zeros, as everywhere, for a query that has seen nothing."""
    values, total = sums[..., :-1], sums[..., -1:]
    return values / total.clamp(min=torch.finfo(total.dtype).tiny)


@checked_once
class LinearMixer(nn.Module):
    """`linear_chunked` in every head between a projection to queries, keys and values, and one back.

    It takes no positions and no mask: order enters by the causal sum alone, as with attention without positions.
    """

    def __init__(self, d_model: int, config: LinearAttention) -> None:
        super().__init__()
        require_positive(d_model=d_model)
        if config.head_dim is None:
            divides = d_model % config.num_heads == 0
            require(divides, "d_model", f"must be divisible by num_heads={config.num_heads}", d_model)
        self.config = config
        self.num_heads, self.head_dim = config.num_heads, config.head_dim or d_model // config.num_heads
        width = self.num_heads * self.head_dim
        require_memory(16 * d_model * width, d_model=d_model, config=config)
        self.to_qkv = nn.Linear(d_model, 3 * width, bias=False)
        self.to_out = nn.Linear(width, d_model, bias=False)

    def new_state(self, batch: int) -> RecurrentState:
        """What holds before the first token: zeros, on the device of the weights, in float32 at least.

        Bytes: batch * num_heads * head_dim * (head_dim + 1) * 4.
        """
        weight = self.to_qkv.weight
        return recurrent_state(self.config, weight.shape[1], batch, dtype=weight.dtype, device=weight.device)

    def _check_state(self, x: Tensor, state: RecurrentState | None) -> None:
        require_fit("x", x, self.to_qkv.weight)
        require(x.numel() > 0, "x", "must not be empty", tuple(x.shape))
        if state is not None:
            state.check_fits(*state_shapes(self.config, x.shape[2], len(x)), self.to_qkv.weight)

    @also(_check_state)
    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        *,
        valid: Bool[Tensor, "batch time"] | None = None,
        state: RecurrentState | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Each token reads what it and the real tokens before it have added, those in `state` among them."""
        wide = torch.promote_types(x.dtype, torch.float32)
        heads = self.to_qkv(x).to(wide).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = heads.chunk(3, dim=1)
        q, k = features(q), features(k)
        if valid is not None:
            k = k * valid[:, None, :, None]  # a key without features adds to neither sum
        form = linear_recurrent if x.shape[1] == 1 else linear_chunked
        read, memory = form(q, k, v, memory=None if state is None else state.memory.to(wide))
        if state is not None:
            state.write(memory, state.recent, new=x.shape[1])
        return self.to_out(read.transpose(1, 2).flatten(2).to(x.dtype))
