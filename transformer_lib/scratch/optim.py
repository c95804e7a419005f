"""One step of SGD, of Adam and of AdamW, in NumPy: each changes the weights in place.

Left out: learning-rate schedules, and groups of weights without decay.
"""

from dataclasses import dataclass

import numpy as np

from transformer_lib.config import require
from transformer_lib.contract import checked_once
from transformer_lib.scratch.functions import Arrays


@checked_once
@dataclass
class Moments:
    """What Adam remembers: the number of steps, and running means of each gradient and of its square."""

    step: int
    first: Arrays
    second: Arrays

    @classmethod
    def zeros(cls, weights: Arrays) -> "Moments":
        """The state before the first step."""
        return cls(0, *({name: np.zeros_like(weight) for name, weight in weights.items()} for _ in range(2)))


@checked_once
def sgd_step(weights: Arrays, gradients: Arrays, *, lr: float) -> None:
    """w := w - lr g."""
    _check(weights, gradients)
    for name, g in gradients.items():
        weights[name] -= lr * g


@checked_once
def adam_step(
    weights: Arrays,
    gradients: Arrays,
    moments: Moments,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    penalty: float = 0.0,
) -> None:
    """w := w - lr m / (sqrt(v) + eps), where m and v are the bias-corrected means of g and g^2 (Kingma and Ba 2014).

    `penalty` adds penalty * w to the gradient, which is the derivative of penalty / 2 * |w|^2; Adam then rescales it
    like the rest, so it is not weight decay (see `adamw_step`).
    """
    _check(weights, gradients)
    moments.step += 1
    for name, gradient in gradients.items():
        g = gradient + penalty * weights[name]
        m = moments.first[name] = betas[0] * moments.first[name] + (1 - betas[0]) * g
        v = moments.second[name] = betas[1] * moments.second[name] + (1 - betas[1]) * g**2
        m, v = m / (1 - betas[0] ** moments.step), v / (1 - betas[1] ** moments.step)
        weights[name] -= lr * m / (np.sqrt(v) + eps)


@checked_once
def adamw_step(
    weights: Arrays,
    gradients: Arrays,
    moments: Moments,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> None:
    """Shrink w by lr * weight_decay, then take Adam's step on the loss alone (Loshchilov and Hutter 2017)."""
    _check(weights, gradients)
    for weight in weights.values():
        weight *= 1 - lr * weight_decay
    adam_step(weights, gradients, moments, lr=lr, betas=betas, eps=eps)


@checked_once
def clip(gradients: Arrays, max_norm: float) -> float:
    """Shrink all gradients together, in place, to a joint norm of at most `max_norm`; returns the norm before."""
    require(max_norm > 0, "max_norm", "must be positive", max_norm)
    norm = float(np.sqrt(sum((g**2).sum() for g in gradients.values())))
    for g in gradients.values():
        g *= min(1.0, max_norm / (norm + 1e-6))
    return norm


def _check(weights: Arrays, gradients: Arrays) -> None:
    same = weights.keys() == gradients.keys()
    require(same, "gradients", "must name the same arrays as the weights", sorted(weights.keys() ^ gradients.keys()))
