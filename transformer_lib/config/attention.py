"""Softmax attention, as data: how many heads look, and how scores become weights."""

from dataclasses import dataclass, field
from typing import Literal

from transformer_lib.checks import require, require_between, require_sizes
from transformer_lib.contract import checked
from transformer_lib.later import LATER

LEAST, LARGEST = 1e-6, 1e6  # of a scale or a cap: scores of ordinary size stay far from the ends of float32


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionConfig:
    """Multi-head attention; fewer key/value heads than query heads gives grouped-query or multi-query attention.

    `num_kv_heads=None` means as many as query heads, `head_dim=None` means `d_model / num_heads`. `window=w` lets a
    position look at itself and the `w - 1` before it. `qk_norm` normalises each query and key (Henry et al. 2020), or
    with "whole" those of all heads as one vector (OLMo 2).
    `bias` adds a vector to what each projection makes; "qkv" gives one to queries, keys and values alone (Qwen2).

    `scale` multiplies the scores, 1 / sqrt(head_dim) unless given; `soft_cap=c` bends them to c tanh(score / c), so
    that none exceeds c (Gemma 2). `sinks` gives each head one more score, trained, to which weight can go that no token
    deserves (gpt-oss). `gate` multiplies what each head brings with a sigmoid of the position's own vector (Qiu et al.
    2025).
    """

    num_heads: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    bias: bool | Literal["qkv"] = False
    qk_norm: bool | Literal["whole"] = False
    window: int | None = None
    scale: float | None = field(default=None, metadata=LATER)
    soft_cap: float | None = field(default=None, metadata=LATER)
    sinks: bool = field(default=False, metadata=LATER)
    gate: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        require_sizes(num_heads=self.num_heads, num_kv_heads=self.kv_heads)
        divides = self.num_heads % self.kv_heads == 0
        require(divides, "num_kv_heads", f"must divide num_heads={self.num_heads}", self.kv_heads)
        if self.head_dim is not None:
            require_sizes(head_dim=self.head_dim)
        if self.window is not None:
            require_sizes(window=self.window)
        for name in ("scale", "soft_cap"):
            value = getattr(self, name)
            if value is not None:
                require_between(LEAST, LARGEST, **{name: value})

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def qkv_bias(self) -> bool:
        """Whether queries, keys and values have a bias."""
        return self.bias in (True, "qkv")

    @property
    def out_bias(self) -> bool:
        """Whether the projection back to the stream has a bias."""
        return self.bias is True
