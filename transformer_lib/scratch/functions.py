"""The functions a Transformer is made of, each with its derivative, in NumPy.

`f_backward` takes `dy`, the gradient of the loss with respect to f's output, and returns it with respect to f's inputs
(reverse-mode differentiation: Rumelhart et al. 1986). It computes what it needs from the inputs again, so nothing is
kept between the two calls. The leading axes are any: each row along the last axis is treated alone, and the gradient
of a weight is the sum over all rows. A linear map's weight lies as in PyTorch, (out, in).
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from transformer_lib.checks import require, require_base, require_eps
from transformer_lib.config import Activation
from transformer_lib.contract import checked_once

Arrays = dict[str, Float[ndarray, "..."]]  # weights, stages and gradients, by name
IGNORED = -100  # a target that does not count, as in PyTorch


@checked_once
def linear(
    x: Float[ndarray, "*batch in"], weight: Float[ndarray, "out in"], bias: Float[ndarray, " out"] | None = None
) -> Float[ndarray, "*batch out"]:
    """y = x W + b with W = weight^T."""
    return x @ weight.T if bias is None else x @ weight.T + bias


@checked_once
def linear_backward(
    dy: Float[ndarray, "*batch out"], x: Float[ndarray, "*batch in"], weight: Float[ndarray, "out in"]
) -> tuple[Float[ndarray, "*batch in"], Float[ndarray, "out in"], Float[ndarray, " out"]]:
    """dx = dy W^T; dW = x^T dy, stored transposed like the weight; db = the sum of dy's rows."""
    rows = dy.reshape(-1, dy.shape[-1])
    return dy @ weight, rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(axis=0)


@checked_once
def softmax(scores: Float[ndarray, "*batch key"]) -> Float[ndarray, "*batch key"]:
    """a_j = e^(s_j) / sum_r e^(s_r); the largest score is taken off first, which changes nothing but the range."""
    _check_last_axis("scores", scores)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@checked_once
def softmax_backward(da: Float[ndarray, "*batch key"], a: Float[ndarray, "*batch key"]) -> Float[ndarray, "*batch key"]:
    """ds = a * (da - sum_r da_r a_r), from the Jacobian a_i (1[i = j] - a_j). `a` is the softmax's output."""
    return a * (da - (da * a).sum(axis=-1, keepdims=True))


@checked_once
def cross_entropy(logits: Float[ndarray, "*batch vocab"], targets: Int[ndarray, "*batch"]) -> tuple[np.floating, int]:
    """The sum of -log softmax(logits)[target] over the targets that count, and their number."""
    _check_targets(logits, targets)
    counted = targets != IGNORED
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(log_p, np.where(counted, targets, 0)[..., None], axis=-1)[..., 0]
    return -picked[counted].sum(), int(counted.sum())


@checked_once
def cross_entropy_backward(
    logits: Float[ndarray, "*batch vocab"], targets: Int[ndarray, "*batch"]
) -> Float[ndarray, "*batch vocab"]:
    """dz = p - y, where y is 1 at the target and 0 elsewhere: the gradient of the sum, not of the mean."""
    _check_targets(logits, targets)
    counted = (targets != IGNORED)[..., None]
    y = np.arange(logits.shape[-1]) == targets[..., None]
    return np.where(counted, softmax(logits) - y, 0.0)


@checked_once
def layer_norm(
    x: Float[ndarray, "*batch width"],
    gain: Float[ndarray, " width"],
    bias: Float[ndarray, " width"] | None = None,
    eps: float = 1e-5,
) -> Float[ndarray, "*batch width"]:
    """y = gain * n + bias with n = (x - mean) / sqrt(variance + eps) (Ba et al. 2016)."""
    _check_norm(x, eps)
    y = gain * _centred(x) * _inverse_size(_centred(x), eps)
    return y if bias is None else y + bias


@checked_once
def layer_norm_backward(
    dy: Float[ndarray, "*batch width"], x: Float[ndarray, "*batch width"], gain: Float[ndarray, " width"], eps: float
) -> tuple[Float[ndarray, "*batch width"], Float[ndarray, " width"], Float[ndarray, " width"]]:
    """dx = r (dn - mean(dn) - n mean(dn * n)) with dn = dy * gain, r = 1 / sqrt(variance + eps); dgain; dbias."""
    _check_norm(x, eps)
    # Taking the mean off is a linear, symmetric map: its backward pass is to take the mean off the gradient.
    d_centred, d_gain = rms_norm_backward(dy, _centred(x), gain, eps)
    return _centred(d_centred), d_gain, _sum_rows(dy)


@checked_once
def rms_norm(
    x: Float[ndarray, "*batch width"], gain: Float[ndarray, " width"], eps: float = 1e-6
) -> Float[ndarray, "*batch width"]:
    """y = gain * n with n = x / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019)."""
    _check_norm(x, eps)
    return gain * x * _inverse_size(x, eps)


@checked_once
def rms_norm_backward(
    dy: Float[ndarray, "*batch width"], x: Float[ndarray, "*batch width"], gain: Float[ndarray, " width"], eps: float
) -> tuple[Float[ndarray, "*batch width"], Float[ndarray, " width"]]:
    """dx = r (dn - n mean(dn * n)) with dn = dy * gain and r = 1 / sqrt(mean(x^2) + eps); dgain = sum of dy * n."""
    _check_norm(x, eps)
    r = _inverse_size(x, eps)
    n, dn = x * r, dy * gain
    return r * (dn - n * (dn * n).mean(axis=-1, keepdims=True)), _sum_rows(dy * n)


@checked_once
def activate(x: Float[ndarray, "*batch"], kind: Activation) -> Float[ndarray, "*batch"]:
    """relu: max(x, 0); silu: x sigmoid(x); gelu: x Phi(x), Phi the normal distribution's (Hendrycks and Gimpel 2016).

    gelu_tanh is GPT-2's approximation of gelu.
    """
    match kind:
        case "relu":
            return np.maximum(x, 0.0)
        case "silu":
            return x * _sigmoid(x)
        case "gelu":
            return x * _normal_distribution(x)
        case "gelu_tanh":
            return x * (1 + np.tanh(_gelu_argument(x))) / 2


@checked_once
def activate_backward(
    dy: Float[ndarray, "*batch"], x: Float[ndarray, "*batch"], kind: Activation
) -> Float[ndarray, "*batch"]:
    """dx = dy * f'(x), for each element alone."""
    match kind:
        case "relu":
            return dy * (x > 0)
        case "silu":
            s = _sigmoid(x)
            return dy * s * (1 + x * (1 - s))
        case "gelu":
            density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
            return dy * (_normal_distribution(x) + x * density)
        case "gelu_tanh":
            t, inner = np.tanh(_gelu_argument(x)), math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
            return dy * ((1 + t) + x * (1 - t**2) * inner) / 2


@checked_once
def rotate(x: Float[ndarray, "*batch time head_dim"], theta: float, turn: Literal[1, -1] = 1) -> ndarray:
    """RoPE: the pair (x_i, x_(i + head_dim / 2)) at position t turns by t * theta^(-2i / head_dim) (Su et al. 2021).

    A rotation is undone by its transpose, which turns back: the backward pass is `rotate(dy, theta, turn=-1)`.
    """
    time, head_dim = x.shape[-2:]
    require(head_dim % 2 == 0, "x", "must have an even head_dim, its last axis", x.shape)
    require_base("theta", theta)
    frequencies = theta ** -(np.arange(0, head_dim, 2) / head_dim)
    angles = turn * np.arange(time)[:, None] * frequencies
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _centred(x: ndarray) -> ndarray:
    return x - x.mean(axis=-1, keepdims=True)


def _inverse_size(x: ndarray, eps: float) -> ndarray:
    return 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)


def _sum_rows(x: ndarray) -> ndarray:
    return x.reshape(-1, x.shape[-1]).sum(axis=0)


def _sigmoid(x: ndarray) -> ndarray:
    return (1 + np.tanh(x / 2)) / 2  # equal to 1 / (1 + e^-x), and does not overflow


def _normal_distribution(x: ndarray) -> ndarray:
    erf = np.vectorize(math.erf, otypes=[x.dtype])  # NumPy has no erf
    return (1 + erf(x / math.sqrt(2))) / 2


def _gelu_argument(x: ndarray) -> ndarray:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


@checked_once
def check_shapes(field: str, arrays: Arrays, expected: Mapping[str, tuple[int, ...]]) -> None:
    """`ValueError` unless there are exactly the arrays expected, in their shapes."""
    found = {name: array.shape for name, array in arrays.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    rule = f"must have the names and shapes that the config asks for; {wrong} should be"
    require(not wrong, field, f"{rule} {[expected.get(name) for name in wrong]}", [found.get(name) for name in wrong])


def _check_norm(x: ndarray, eps: float) -> None:
    _check_last_axis("x", x)
    require_eps(eps)


def _check_last_axis(field: str, x: ndarray) -> None:
    require(x.shape[-1] > 0, field, "must not be empty along its last axis", x.shape)


def _check_targets(logits: ndarray, targets: ndarray) -> None:
    _check_last_axis("logits", logits)
    wrong = targets[(targets != IGNORED) & ((targets < 0) | (targets >= logits.shape[-1]))]
    rule = f"must be at least 0 and below the {logits.shape[-1]} classes, or {IGNORED}"
    require(wrong.size == 0, "targets", rule, wrong[:1].tolist())
