"""The layer around the gated delta rule, as in Gated DeltaNet (Yang et al. 2024) and Qwen3-Next.

Queries, keys and values pass a short convolution over the newest tokens; queries and keys are brought to length 1; each
token says how much is forgotten and how much is written; what is read is normalised and gated. The order of the tokens
enters by the recurrence itself, so the layer takes no positions, and no mask.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import require, require_positive
from transformer_lib.config.mixers import GatedDelta
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.delta import delta_chunked, delta_recurrent
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.norm import RMSNorm
from transformer_lib.nn.state import RecurrentState, recurrent_state, state_shapes

FASTEST = 16.0  # decay per unit of a step that a head may begin with
SHORTEST, LONGEST = 1e-3, 1e-1  # steps that a head may begin with
EPS = 1e-6  # added to a squared length


class _Order(NamedTuple):
    """The real tokens of each row before its padding, so that the layer reads them as if there were none."""

    places: Int[Tensor, "batch time"]
    valid: Bool[Tensor, "batch time"]

    @classmethod
    def of(cls, valid: Bool[Tensor, "batch time"]) -> "_Order":
        places = valid.logical_not().byte().argsort(dim=1, stable=True)
        return cls(places, valid.take_along_dim(places, dim=1))

    def sort(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
        return x.take_along_dim(self.places[..., None], dim=1)

    def restore(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
        return torch.zeros_like(x).scatter(1, self.places[..., None].expand_as(x), x)


@checked_once
class GatedDeltaMixer(nn.Module):
    """out = W_out (norm(S_t^T q_t) * SiLU(W_gate x)), where S_t follows the gated delta rule.

    a_t = exp(-exp(log_rate) softplus(w_a . x + step_bias)) and b_t = sigmoid(w_b . x) for each head. W_Q, W_K and W_V
    stand one below the other in `to_qkv`, the w_b of all heads above all w_a in `to_rates`.
    """

    def __init__(self, d_model: int, config: GatedDelta, *, norm_eps: float = 1e-6) -> None:
        super().__init__()
        require_positive(d_model=d_model)
        self.config = config
        keys, values = config.key_heads * config.key_dim, config.num_heads * config.value_dim
        width = 2 * keys + values
        require_memory(4 * (d_model * (width + 2 * values) + width * config.conv), d_model=d_model, config=config)
        self.widths = (keys, keys, values)
        self.to_qkv = nn.Linear(d_model, width, bias=False)
        self.to_gate = nn.Linear(d_model, values, bias=False)
        self.to_rates = nn.Linear(d_model, 2 * config.num_heads, bias=False)
        self.conv = nn.Conv1d(width, width, config.conv, groups=width, bias=False)
        self.log_rate = nn.Parameter(torch.empty(config.num_heads).uniform_(EPS, FASTEST).log())
        step = torch.empty(config.num_heads).uniform_(math.log(SHORTEST), math.log(LONGEST)).exp()
        self.step_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus gives the step back
        self.norm = RMSNorm(config.value_dim, norm_eps)
        self.to_out = nn.Linear(values, d_model, bias=False)

    def new_state(self, batch: int) -> RecurrentState:
        """What holds before the first token: zeros, on the device of the weights, the memory in float32 at least.

        Bytes: batch * num_heads * key_dim * value_dim * 4, and the few tokens of the convolution.
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
        """Each token reads what it and the real tokens before it have written, those in `state` among them."""
        order = None if valid is None else _Order.of(valid)
        x = x if order is None else order.sort(x)
        real = None if order is None else order.valid
        channels, recent = self._convolved(self.to_qkv(x), real, None if state is None else state.recent)
        q, k, v = self._heads(channels, torch.promote_types(x.dtype, torch.float32))
        log_decay, beta = self._rates(x, real)
        rule = delta_recurrent if x.shape[1] == 1 else delta_chunked
        before = None if state is None else state.memory.to(q.dtype)
        read, memory = rule(q, k, v, log_decay=log_decay.to(q.dtype), beta=beta.to(q.dtype), memory=before)
        if state is not None:
            state.write(memory, recent, new=x.shape[1])
        gate = F.silu(self.to_gate(x)).unflatten(-1, (self.config.num_heads, -1))
        read = self.norm(read.transpose(1, 2).to(gate.dtype)) * gate
        out = self.to_out(read.flatten(2))
        return out if order is None else order.restore(out)

    def _convolved(
        self, x: Float[Tensor, "batch time width"], real: Bool[Tensor, "batch time"] | None, recent: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Each channel over the newest tokens of its own, activated; and the inputs that the next piece will need."""
        x, past = x.mT, self.config.conv - 1
        recent = x.new_zeros(*x.shape[:2], past) if recent is None else recent.to(x.dtype)
        stream = torch.cat([recent, x], dim=2)
        if real is None:
            last = stream[:, :, x.shape[2] :]
        else:
            ends = real.sum(dim=1)[:, None, None] + torch.arange(past, device=x.device)
            last = stream.take_along_dim(ends, dim=2)
        return F.silu(F.conv1d(stream, self.conv.weight, groups=x.shape[1])).mT, last

    def _heads(self, x: Float[Tensor, "batch time width"], wide: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        config = self.config
        q, k, v = (part.to(wide) for part in x.split(self.widths, dim=-1))
        q, k = (_unit(part.unflatten(-1, (config.key_heads, -1))) for part in (q, k))
        q, k = (part.repeat_interleave(config.num_heads // config.key_heads, dim=2) for part in (q, k))
        v = v.unflatten(-1, (config.num_heads, -1))
        return (q / math.sqrt(config.key_dim)).transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def _rates(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """The logarithm of what is kept, and the share that is written; padding keeps all and writes nothing."""
        write, step = self.to_rates(x).mT.chunk(2, dim=1)
        wide = torch.promote_types(step.dtype, torch.float32)
        step = F.softplus(step.to(wide) + self.step_bias[:, None])
        log_decay, beta = -self.log_rate.to(wide).exp()[:, None] * step, write.sigmoid()
        return (log_decay, beta) if real is None else (log_decay * real[:, None], beta * real[:, None])


def _unit(x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
    return x * torch.rsqrt(x.square().sum(dim=-1, keepdim=True) + EPS)
