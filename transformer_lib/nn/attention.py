"""Multi-head attention as a module: project, split into heads, attend, merge, project back.

One class serves multi-head, grouped-query and multi-query attention (by the number of key/value heads), and self- and
cross-attention (by what it is given as context). It knows nothing of positions: mask, bias and rotation come as
arguments. Latent attention has a module of its own.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, require, require_positive
from transformer_lib.contract import also, checked_once, require_parts
from transformer_lib.nn.attend import attend
from transformer_lib.nn.cache import LayerCache
from transformer_lib.nn.fit import require_fit, require_probability, require_same_dtype
from transformer_lib.nn.lora import project_rows
from transformer_lib.nn.masks import Mask
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.norm import RMSNorm
from transformer_lib.nn.positions import Rotation, apply_rope, check_rotation

SHAPING = ("scale", "soft_cap")  # what a config says of the scores, by the names that `attend` has for it


@checked_once
class KeyValues(NamedTuple):
    """Keys and values already projected and split into heads; what cross-attention reuses at every step."""

    k: Float[Tensor, "batch kv_heads key head_dim"]
    v: Float[Tensor, "batch kv_heads key head_dim"]


@checked_once
class Attention(nn.Module):
    """softmax(q k^T / sqrt(head_dim)) v in every head, then `to_out`.

    Vaswani et al. (2017), section 3.2; fewer key/value heads: Shazeer (2019), Ainslie et al. (2023).
    W_Q, W_K and W_V stand one below the other in `to_qkv`, so that self-attention projects with one product.
    With a gate, what the heads bring is multiplied by sigmoid(x W_gate) before `to_out`.
    """

    attend = staticmethod(attend)  # replaced on an instance by `viz.record_attention`

    def __init__(
        self,
        d_model: int,
        config: AttentionConfig,
        *,
        dropout: float = 0.0,
        norm_eps: float = 1e-6,
        norm_centred: bool = False,
    ) -> None:
        super().__init__()
        require_positive(d_model=d_model)
        require_probability("dropout", dropout)
        if config.head_dim is None:
            heads = config.num_heads
            require(d_model % heads == 0, "d_model", f"must be divisible by num_heads={heads}", d_model)
        self.head_dim = config.head_dim or d_model // config.num_heads
        self.heads = (config.num_heads, config.kv_heads, config.kv_heads)
        require_memory(8 * d_model * sum(self.heads) * self.head_dim, d_model=d_model, config=config)
        self.to_qkv = nn.Linear(d_model, sum(self.heads) * self.head_dim, bias=config.qkv_bias)
        self.to_out = nn.Linear(config.num_heads * self.head_dim, d_model, bias=config.out_bias)
        normed = [self.head_dim * (heads if config.qk_norm == "whole" else 1) for heads in self.heads[:2]]
        self.q_norm, self.k_norm = (
            RMSNorm(width, norm_eps, centred=norm_centred) if config.qk_norm else None for width in normed
        )
        self.to_gate = nn.Linear(d_model, self.to_out.in_features, bias=False) if config.gate else None
        self.sinks = nn.Parameter(torch.zeros(config.num_heads)) if config.sinks else None
        self.shaping = {name: value for name in SHAPING if (value := getattr(config, name)) is not None}
        self.dropout = dropout

    def _check_context(self, x: Tensor, context: Tensor | KeyValues | None) -> None:
        if isinstance(context, KeyValues):
            require_parts(context)
            wanted = (len(x), self.heads[1], self.head_dim)
            for name, part in context._asdict().items():
                shape = tuple(part.shape)
                require(shape[:2] + shape[3:] == wanted, name, f"must have batch, heads, head_dim {wanted}", shape)
                require_same_dtype(name, part, x.dtype)
        elif context is not None:
            require_fit("context", context, self.to_qkv.weight)

    def _check_place(self, x: Tensor, rotation: Rotation | None, cache: LayerCache | None) -> None:
        require_fit("x", x, self.to_qkv.weight)
        shape = (len(x), self.heads[1], x.shape[1], self.head_dim)
        if rotation is not None:
            require_parts(rotation)
            turned = min(self.head_dim, 2 * rotation.cos.shape[-1])
            check_rotation(rotation, (*shape[:3], turned), x)
        if cache is not None:
            require_parts(cache)
            cache.cache.check_new(cache.layer, shape, x.dtype)

    @also(_check_place, _check_context)
    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        *,
        context: Float[Tensor, "batch key d_model"] | KeyValues | None = None,
        mask: Mask = None,
        bias: Float[Tensor, "#batch #heads #query key"] | None = None,
        rotation: Rotation | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """Each position of x looks at `context`, or at x itself (and, with a cache, at what was seen before)."""
        alone = context is None or (rotation is None and cache is None)
        require(alone, "context", "stands at positions of its own: it takes no rotation and no cache", "both")
        if context is None:
            q, k, v = self._heads(self.to_qkv(x)).transpose(1, 2).split_with_sizes(self.heads, dim=1)
            k = k if self.k_norm is None else self._normed(k, self.k_norm)
        else:
            q = self._heads(self._project(x, 0, self.heads[0])).transpose(1, 2)
            k, v = context if isinstance(context, KeyValues) else self.keys_values(context)
        q = q if self.q_norm is None else self._normed(q, self.q_norm)
        if rotation is not None:
            q, k = _turn(q, rotation), _turn(k, rotation)
        if cache is not None:
            k, v = cache.write(k, v)
        shaping = self.shaping if self.sinks is None else {**self.shaping, "sinks": self.sinks}
        dropout = self.dropout if self.training else 0.0
        out = self.attend(q, k, v, mask=mask, bias=bias, dropout=dropout, **shaping).transpose(1, 2).flatten(2)
        return self.to_out(out if self.to_gate is None else out * self.to_gate(x).sigmoid())

    @also(lambda self, context: require_fit("context", context, self.to_qkv.weight))
    def keys_values(self, context: Float[Tensor, "batch key d_model"]) -> KeyValues:
        """Project a context once, to be looked at many times."""
        k, v = self._heads(self._project(context, self.heads[0], sum(self.heads))).transpose(1, 2).chunk(2, dim=1)
        return KeyValues(k if self.k_norm is None else self._normed(k, self.k_norm), v)

    def _normed(self, x: Float[Tensor, "batch heads time head_dim"], norm: RMSNorm) -> Tensor:
        """Each head by itself, or all heads of a position as one vector, by the width of the norm."""
        if len(norm.weight) == self.head_dim:
            return norm(x)
        return self._heads(norm(x.transpose(1, 2).flatten(2))).transpose(1, 2)

    def _project(self, x: Tensor, first: int, end: int) -> Tensor:
        """The part of `to_qkv` that makes the heads from `first` to before `end`."""
        return project_rows(self.to_qkv, x, slice(first * self.head_dim, end * self.head_dim))

    def _heads(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time heads head_dim"]:
        return x.view(*x.shape[:2], -1, self.head_dim)


def _turn(x: Float[Tensor, "batch heads time head_dim"], rotation: Rotation) -> Tensor:
    """Turn the channels that the rotation is for: all of a head's, or its first."""
    width = 2 * rotation.cos.shape[-1]
    if width == x.shape[-1]:
        return apply_rope(x, rotation)
    return torch.cat([apply_rope(x[..., :width], rotation), x[..., width:]], dim=-1)
