"""Causal multi-head self-attention, forward and backward, in NumPy.

The numbers of `transformer_lib.nn.Attention` (Vaswani et al. 2017, section 3.2), with every stage kept under its name.
Left out: caches, padding, cross-attention.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from transformer_lib.config import ModelConfig, Rope, require
from transformer_lib.contract import checked_once
from transformer_lib.scratch.functions import (
    Arrays,
    check_shapes,
    linear,
    linear_backward,
    rotate,
    softmax,
    softmax_backward,
)


@checked_once
def attention(config: ModelConfig, weights: Arrays, x: Float[ndarray, "*batch time d_model"]) -> Arrays:
    """All stages by name: to_qkv, q, k (both rotated, if the positions are RoPE), v, scores, weights, heads, out.

    q has shape (*batch, heads, time, head_dim); k and v may have fewer heads. `scores` are scaled and not yet masked.
    """
    check_shapes("weights", weights, weight_shapes(config))
    _check_width(config, x)
    to_qkv = linear(x, weights["to_qkv.weight"], weights.get("to_qkv.bias"))
    q, k, v = _split(config, to_qkv)
    if isinstance(config.positions, Rope):
        q, k = rotate(q, config.positions.theta), rotate(k, config.positions.theta)
    scores = q @ _repeat(config, k).swapaxes(-1, -2) / math.sqrt(config.head_dim)
    allowed = np.tri(x.shape[-2], dtype=bool)  # itself and the earlier positions
    a = softmax(np.where(allowed, scores, -np.inf))
    heads = a @ _repeat(config, v)
    out = linear(_merge(heads), weights["to_out.weight"], weights.get("to_out.bias"))
    return {"to_qkv": to_qkv, "q": q, "k": k, "v": v, "scores": scores, "weights": a, "heads": heads, "out": out}


@checked_once
def attention_backward(
    config: ModelConfig,
    weights: Arrays,
    x: Float[ndarray, "*batch time d_model"],
    stages: Arrays,
    d_out: Float[ndarray, "..."],
) -> tuple[Float[ndarray, "*batch time d_model"], Arrays, Arrays]:
    """The gradient with respect to x, to each weight, and to each stage, from that of `out`.

    d_a = d_heads V^T and d_V = A^T d_heads; through the softmax to d_scores; d_q = d_scores K and d_k = d_scores^T Q,
    both over sqrt(head_dim). A blocked pair has weight 0, so its score gets gradient 0.
    """
    check_shapes("weights", weights, weight_shapes(config))
    _check_width(config, x)
    require(d_out.shape == x.shape, "d_out", f"must have the shape of x, {x.shape}", d_out.shape)
    check_shapes("stages", stages, stage_shapes(config, x.shape[:-1]))
    q, k, v, a = (stages[name] for name in ("q", "k", "v", "weights"))
    d_merged, *d_to_out = linear_backward(d_out, _merge(stages["heads"]), weights["to_out.weight"])
    d_heads = _unmerge(config, d_merged)
    d_a = d_heads @ _repeat(config, v).swapaxes(-1, -2)
    d_v = _sum_groups(config, a.swapaxes(-1, -2) @ d_heads)
    d_scores = softmax_backward(d_a, a)
    scaled = d_scores / math.sqrt(config.head_dim)
    d_q = scaled @ _repeat(config, k)
    d_k = _sum_groups(config, scaled.swapaxes(-1, -2) @ q)
    before = (d_q, d_k, d_v)
    if isinstance(config.positions, Rope):
        theta = config.positions.theta
        before = (rotate(d_q, theta, turn=-1), rotate(d_k, theta, turn=-1), d_v)
    d_to_qkv = np.concatenate([_merge(part) for part in before], axis=-1)
    d_x, *d_qkv_weights = linear_backward(d_to_qkv, x, weights["to_qkv.weight"])
    names = ("to_qkv.weight", "to_qkv.bias", "to_out.weight", "to_out.bias")
    gradients = dict(zip(names, [*d_qkv_weights, *d_to_out], strict=True))
    signals = {"to_qkv": d_to_qkv, "q": d_q, "k": d_k, "v": d_v, "scores": d_scores, "weights": d_a, "heads": d_heads}
    return d_x, {name: gradients[name] for name in weights}, signals | {"out": d_out}


@checked_once
def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of each weight of one attention, in the order of PyTorch's parameters."""
    attention, d = config.multihead, config.d_model
    heads, kv_heads = attention.num_heads, attention.kv_heads
    linears = {
        "to_qkv": ((heads + 2 * kv_heads) * config.head_dim, d, attention.qkv_bias),
        "to_out": (d, heads * config.head_dim, attention.out_bias),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (out, inside, bias) in linears.items():
        shapes |= {f"{name}.weight": (out, inside)} | ({f"{name}.bias": (out,)} if bias else {})
    return shapes


@checked_once
def stage_shapes(config: ModelConfig, rows: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The name and shape of each stage of one attention; `rows` are the leading axes of its input, time the last."""
    *batch, time = rows
    heads, kv_heads, width = config.heads.num_heads, config.heads.kv_heads, config.head_dim
    keys, scores = (*batch, kv_heads, time, width), (*batch, heads, time, time)
    queries = (*batch, heads, time, width)
    to_qkv = (*rows, (heads + 2 * kv_heads) * width)
    inside = {"q": queries, "k": keys, "v": keys, "scores": scores, "weights": scores, "heads": queries}
    return {"to_qkv": to_qkv, **inside, "out": (*rows, config.d_model)}


def _check_width(config: ModelConfig, x: ndarray) -> None:
    require(x.shape[-1] == config.d_model, "x", f"must have the width d_model={config.d_model}", x.shape)
    require(x.shape[-2] > 0, "x", "must hold at least one position", x.shape)


def _split(config: ModelConfig, to_qkv: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    heads, kv_heads = config.heads.num_heads, config.heads.kv_heads
    ends = [heads * config.head_dim, (heads + kv_heads) * config.head_dim]
    q, k, v = (_unmerge(config, part) for part in np.split(to_qkv, ends, axis=-1))
    return q, k, v


def _unmerge(config: ModelConfig, x: ndarray) -> ndarray:
    """(*batch, time, heads * head_dim) to (*batch, heads, time, head_dim)."""
    return x.reshape(*x.shape[:-1], -1, config.head_dim).swapaxes(-2, -3)


def _merge(x: ndarray) -> ndarray:
    joined = x.swapaxes(-2, -3)
    return joined.reshape(*joined.shape[:-2], -1)


def _repeat(config: ModelConfig, x: ndarray) -> ndarray:
    """Each key/value head stands for a group of query heads."""
    return x.repeat(config.heads.num_heads // config.heads.kv_heads, axis=-3)


def _sum_groups(config: ModelConfig, dx: ndarray) -> ndarray:
    """The backward pass of `_repeat`: what was copied gets the sum of its copies' gradients."""
    group = config.heads.num_heads // config.heads.kv_heads
    return dx.reshape(*dx.shape[:-3], -1, group, *dx.shape[-2:]).sum(axis=-3)
