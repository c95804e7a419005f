"""Multi-head latent attention: what is kept of a token is one short vector for all heads (DeepSeek-V2, 2024).

Two ways to compute it give the same numbers. The expanded one makes keys and values of every kept vector, then attends
as always. The absorbed one moves the matrix W_K of each head to its queries, q^T (W_K c) = (W_K^T q)^T c, and W_V
behind the attention: all heads then look at the kept vectors, which are keys and, without the turned part, values. A
step of decoding costs little that way, and expanded keys and values never exist.
Left out: keeping the vectors in less than the precision of the weights.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transformer_lib.config import require, require_positive
from transformer_lib.config.mixers import LatentAttention
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.attend import attend
from transformer_lib.nn.fit import require_fit, require_probability, require_same_dtype
from transformer_lib.nn.masks import Mask
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.norm import RMSNorm
from transformer_lib.nn.positions import Rotation, apply_rope, check_rotation
from transformer_lib.nn.state import LatentState, latent_state


@checked_once
class LatentMixer(nn.Module):
    """Attention with keys [W_K c, r] and values W_V c, where c is the normalised latent of a token, r its rotated key.

    `to_latent` makes c and r of x; `to_kv` holds W_K and W_V of each head, one below the other, head after head; `to_q`
    makes, head after head, the query for W_K c and then that for r.
    """

    attend = staticmethod(attend)  # replaced on an instance by `viz.record_attention`

    def __init__(self, d_model: int, config: LatentAttention, *, dropout: float = 0.0, norm_eps: float = 1e-6) -> None:
        super().__init__()
        require_positive(d_model=d_model)
        require_probability("dropout", dropout)
        self.config, self.dropout = config, dropout
        heads, rank, q_rank = config.num_heads, config.kv_rank, config.q_rank
        self.q_widths = [config.head_dim, config.rope_dim]
        self.kv_widths = [config.head_dim, config.value_dim]
        q_width, kv_width = heads * sum(self.q_widths), heads * sum(self.kv_widths)
        inner = d_model if q_rank is None else q_rank
        numbers = inner * q_width + rank * kv_width + d_model * (rank + config.rope_dim + heads * config.value_dim)
        require_memory(4 * (numbers + d_model * (q_rank or 0)), d_model=d_model, config=config)
        self.to_q_latent = None if q_rank is None else nn.Linear(d_model, q_rank, bias=config.bias)
        self.q_norm = None if q_rank is None else RMSNorm(q_rank, norm_eps)
        self.to_q = nn.Linear(inner, q_width, bias=False)
        self.to_latent = nn.Linear(d_model, rank + config.rope_dim, bias=config.bias)
        self.latent_norm = RMSNorm(rank, norm_eps)
        self.to_kv = nn.Linear(rank, kv_width, bias=False)
        self.to_out = nn.Linear(heads * config.value_dim, d_model, bias=config.bias)
        self.scale = config.score_factor / math.sqrt(sum(self.q_widths))

    def new_state(self, batch: int, max_length: int) -> LatentState:
        """Room for `max_length` tokens, of the type and on the device of the weights."""
        weight = self.to_latent.weight
        return latent_state(self.config, batch, max_length, dtype=weight.dtype, device=weight.device)

    def _check_place(self, x: Tensor, rotation: Rotation | None, state: LatentState | None) -> None:
        require_fit("x", x, self.to_latent.weight)
        require(x.numel() > 0, "x", "must not be empty", tuple(x.shape))
        if rotation is not None:
            check_rotation(rotation, (len(x), 1, x.shape[1], self.config.rope_dim), x)
        if state is not None:
            wanted, have = (len(x), len(self.to_latent.weight)), state.entries.shape[::2]
            require(have == wanted, "state", f"must have batch and width {wanted}", tuple(have))
            require_same_dtype("state", state.entries, self.to_latent.weight.dtype)
            here = state.entries.device == x.device
            require(here, "state", f"must be on the device of x, {x.device}", str(state.entries.device))

    @also(_check_place)
    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        *,
        mask: Mask = None,
        rotation: Rotation | None = None,
        state: LatentState | None = None,
        form: Literal["expanded", "absorbed"] | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """Each position of x looks at x and, with a state, at what was seen before; `rotation` has `rope_dim` channels.

        `form` is how it is computed, by default with the fewest products (`LatentAttention.absorbing_pays`).
        """
        q, q_turned = self._queries(x, rotation)
        entries = self._entries(x, rotation)
        if state is not None:
            entries = state.write(entries)
        if form is None:
            form = "absorbed" if self.config.absorbing_pays(x.shape[1], entries.shape[1]) else "expanded"
        match form:
            case "expanded":
                read = self._expanded(q, q_turned, entries, mask)
            case "absorbed":
                read = self._absorbed(q, q_turned, entries, mask)
        return self.to_out(read.transpose(1, 2).flatten(2))

    def _queries(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor]:
        if self.to_q_latent is not None and self.q_norm is not None:
            x = self.q_norm(self.to_q_latent(x))
        heads = self.to_q(x).unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)
        q, turned = heads.split(self.q_widths, dim=-1)
        return q, self._turned(turned, rotation)

    def _entries(self, x: Tensor, rotation: Rotation | None) -> Float[Tensor, "batch query width"]:
        """What is kept of each token of x."""
        latent, key = self.to_latent(x).split([self.config.kv_rank, self.config.rope_dim], dim=-1)
        return torch.cat([self.latent_norm(latent), self._turned(key[:, None], rotation)[:, 0]], dim=-1)

    def _turned(self, x: Float[Tensor, "batch heads time rope_dim"], rotation: Rotation | None) -> Tensor:
        if self.config.pairs == "interleaved":  # to the other layout, in queries and keys alike
            x = x.unflatten(-1, (-1, 2)).mT.flatten(-2)
        return x if rotation is None else apply_rope(x, rotation)

    def _expanded(self, q: Tensor, q_turned: Tensor, entries: Tensor, mask: Mask) -> Tensor:
        latents, turned = entries.split([self.config.kv_rank, self.config.rope_dim], dim=-1)
        heads = self.to_kv(latents).unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)
        k, v = heads.split(self.kv_widths, dim=-1)
        k = torch.cat([k, turned[:, None].expand(*k.shape[:3], -1)], dim=-1)
        return self._attend(torch.cat([q, q_turned], dim=-1), k, v, mask)

    def _absorbed(self, q: Tensor, q_turned: Tensor, entries: Tensor, mask: Mask) -> Tensor:
        to_k, to_v = self.to_kv.weight.unflatten(0, (self.config.num_heads, -1)).split(self.kv_widths, dim=1)
        latents = entries[:, None, :, : self.config.kv_rank]
        read = self._attend(torch.cat([q @ to_k, q_turned], dim=-1), entries[:, None], latents, mask)
        return read @ to_v.mT

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return self.attend(q, k, v, mask=mask, scale=self.scale, dropout=dropout)
