"""One step of SGD, of Adam and of AdamW, in NumPy: each changes the weights in place.

Left out: learning-rate schedules, and groups of weights without decay.
"""

from dataclasses import dataclass

import numpy as np

from transformer_lib.checks import require, require_between, require_eps
from transformer_lib.contract import checked_once
from transformer_lib.scratch.functions import Arrays

MOST_RATE = 1e6  # of learning and of decay: far more than any makes sense, and a finite step from finite weights


@checked_once
@dataclass
class Moments:
    """What Adam remembers: the number of steps, and running means of each gradient and of its square."""

    step: int
    first: Arrays
    second: Arrays

    def __post_init__(self) -> None:
        require(self.step >= 0, "step", "must not be negative", self.step)
        _check("second", self.second, "first", self.first)

    @classmethod
    def zeros(cls, weights: Arrays) -> "Moments":
        """The state before the first step."""
        return cls(0, *({name: np.zeros_like(weight) for name, weight in weights.items()} for _ in range(2)))


@checked_once
def sgd_step(weights: Arrays, gradients: Arrays, *, lr: float) -> None:
    """w := w - lr g."""
    require_between(0, MOST_RATE, lr=lr)
    _check("gradients", gradients, "weights", weights)
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
    _check_adam(weights, gradients, moments, lr=lr, betas=betas, eps=eps)
    require_between(0, MOST_RATE, penalty=penalty)
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
    _check_adam(weights, gradients, moments, lr=lr, betas=betas, eps=eps)
    require_between(0, MOST_RATE, weight_decay=weight_decay)
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


def _check_adam(
    weights: Arrays, gradients: Arrays, moments: Moments, *, lr: float, betas: tuple[float, float], eps: float
) -> None:
    _check("gradients", gradients, "weights", weights)
    _check("moments", moments.first, "weights", weights)
    require_between(0, MOST_RATE, lr=lr)
    require(all(0 <= beta < 1 for beta in betas), "betas", "must be at least 0 and below 1", betas)
    require_eps(eps)


def _check(field: str, arrays: Arrays, other: str, others: Arrays) -> None:
    found, expected = ({name: a.shape for name, a in part.items()} for part in (arrays, others))
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    require(not wrong, field, f"must have the names and shapes of the {other}", wrong)
