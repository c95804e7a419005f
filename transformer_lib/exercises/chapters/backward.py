"""What `book.check` knows of the exercises of `chapters/backward.ipynb`."""

from dataclasses import replace
from typing import Any

import numpy as np

from transformer_lib.config import Mlp, Norm
from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.models import DecoderLM
from transformer_lib.scratch import backward, cross_entropy, cross_entropy_backward, forward
from transformer_lib.scratch.pencil import CONFIG

# Norms and lengths ---------------------------------------------------------------------------------------------------


def _norm_back(dy: Any, x: Any, g: Any, eps: float, *, inner: Any = None, outer: Any = 1, total: bool = False) -> Any:
    """Back through RMSNorm; `inner` stands in the mean in place of `g`, and `outer` multiplies the whole."""
    r = np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
    n = x / r
    part = (g if inner is None else inner) * dy * n
    mean = part.sum(axis=-1, keepdims=True) if total else part.mean(axis=-1, keepdims=True)
    return outer * (g * dy - n * mean) / r, (dy * n).sum(axis=0)


def _norm_cases() -> list[list[Any]]:
    random = np.random.default_rng(0)
    return [
        [random.normal(size=(rows, 4)), random.normal(size=(rows, 4)), np.array([2.0, 0.5, -1.0, 3.0]), 0.1]
        for rows in (1, 3)
    ]


def _length_back(dy: Any, x: Any, *, mean: bool = False, power: int = 1, sign: int = 1, second: bool = True) -> Any:
    length = np.sqrt((x**2).sum(axis=-1, keepdims=True))
    y = x / length
    along = (dy * y).mean(axis=-1, keepdims=True) if mean else (dy * y).sum(axis=-1, keepdims=True)
    return (dy - sign * second * y * along) / length**power


def _length_cases() -> list[list[Any]]:
    random = np.random.default_rng(0)
    return [[random.normal(size=shape), random.normal(size=shape)] for shape in ((1, 2), (3, 4), (2, 3, 2))]


# A walk through a model of one's own ---------------------------------------------------------------------------------

_E, _ATT, _FFN = "embedding.tokens.weight", "blocks.0.attention", "blocks.0.feedforward"
_TOKENS, _TARGETS = np.array([1, 3, 3]), np.array([3, 3, 0])
_NORM = Norm(kind="layer", eps=0.01)
_MINE = replace(CONFIG, vocab_size=5, norm=_NORM, feedforward=Mlp(d_ff=8, activation="relu", bias=False))


def _walk() -> tuple[Any, dict[str, Any]]:
    """Loss and gradients of the model of the exercise, whose weights are drawn as in the chapter."""
    random = np.random.default_rng(5)
    shapes = {name: tuple(parameter.shape) for name, parameter in DecoderLM(_MINE).named_parameters()}
    weights = {name: random.integers(-4, 5, shape) / 4 + ("norm.weight" in name) for name, shape in shapes.items()}
    stages = forward(_MINE, weights, _TOKENS)
    total, count = cross_entropy(stages["logits"], _TARGETS)
    d_logits = cross_entropy_backward(stages["logits"], _TARGETS) / count
    return total / count, backward(_MINE, weights, _TOKENS, stages, d_logits)[0]


def _agree(*names: str) -> Any:
    return lambda answer: all(np.allclose(answer[1][name], _walk()[1][name], rtol=0, atol=1e-8) for name in names)


def _unread(answer: Any) -> bool:
    return np.allclose(np.delete(answer[1][_E], _TOKENS, axis=0), np.delete(_walk()[1][_E], _TOKENS, axis=0))


def _wrong_walks() -> list[Any]:
    loss, right = _walk()
    first = "final_norm.weight"
    spoiled = (f"{_FFN}.to_out.weight", f"{_FFN}.to_hidden.weight", f"{_ATT}.to_out.weight", f"{_ATT}.to_qkv.weight")
    read = right[_E].copy()
    read[3] /= 2
    return [
        (3 * loss, right),
        (loss, {name: 3 * array for name, array in right.items()}),
        (loss, right | {first: 2 * right[first]}),
        *((loss, right | {name: 2 * right[name]}) for name in spoiled),
        (loss, right | {_E: read}),
    ]


EXERCISES: dict[str, Exercise] = {
    "ex-back-engine": Numbers(
        right={"u": 4, "w": 33, "u, second call": 4, "w, second call": 66},
        wrong={
            "$u = w\\cdot w$ uses $w$ twice, so two edges lead from $w$ to $u$, each with $4\\cdot 3 = 12$.": {"w": 21},
            "$u$ leaves by two edges: $u\\cdot w$ with the local derivative 3, and the plain $+ u$ with 1.": {"u": 3},
            "$w$ also stands in $u\\cdot w$ directly, with the local derivative $u = 9$.": {"w": 24},
            "$w$ is a leaf, and leaves add up from call to call.": {"w, second call": 33},
            "$u$ was made by an operation, so it begins at 0 in each call. Only leaves keep their sums.": {
                "u, second call": 8
            },
        },
        why="Three edges leave $w$: $12 + 12 + 9$. The second call adds as much again, to leaves only.",
    ),
    "ex-back-logits": Numbers(
        right={"first": -0.3, "second": 0.2, "third": 0.1, "class with the largest norm": 2},
        wrong={
            "The sign: $Y - P$ is where the logits should go. The gradient is $P - Y$.": {
                "first": 0.3,
                "second": -0.2,
                "third": -0.1,
            },
            "The 1 at the target is still to be taken off.": {"first": 0.7, "second": 0.2, "third": 0.1},
            "That is the gradient with respect to the *probability*, $-1/p$. The softmax lies in between.": {
                "first": -1 / 0.7,
                "second": 0,
                "third": 0,
            },
            "The norm is largest where the model is most wrong: if the least probable class is right.": {
                "class with the largest norm": 0
            },
            "Classes are counted from 0.": {"class with the largest norm": 3},
        },
        tolerance=0.001,
        why="Probabilities less a 1 at the target; the gradient needs no logits.",
    ),
    "ex-back-first-step": Numbers(
        right={
            "first weight, first step": 0.01,
            "second weight, first step": 0.01,
            "first weight, second step": 0.0067008,
            "second weight, second step": 0.0067008,
        },
        wrong={
            "That is SGD, $\\eta g$. Adam divides by the size of the gradient.": {
                "first weight, first step": 0.05,
                "second weight, first step": 0.00002,
            },
            "You left the correction out in the first step: $m = 0.1\\,g$ and $\\sqrt v = 0.0316\\,|g|$ are both too "
            "small, and $m$ the less so.": {"first weight, first step": 0.0316228},
            "The running mean goes on after the gradient has gone: $m = 0.9\\cdot 0.1\\,g$, and not 0.": {
                "first weight, second step": 0,
                "second weight, second step": 0,
            },
            "In the second step the correction is missing: divide $m$ by $1 - 0.9^2$ and $v$ by $1 - 0.999^2$.": {
                "first weight, second step": 0.0284747
            },
            "You corrected the second step with $n = 1$. Its powers are squares.": {
                "first weight, second step": 0.0090045
            },
            "$m$ has shrunk by 0.9 only, and is then divided by $1 - 0.9^2 = 0.19$.": {
                "first weight, second step": 0.009
            },
        },
        tolerance=0.000002,
        why="Both weights move alike, and they still move when the gradient has gone.",
    ),
    "ex-back-trace": Numbers(
        right={"64 equal scores": 63 / 64, "one weight of 1": 0},
        wrong={
            "That is $\\sum a_i^2$. The diagonal is $a_i - a_i^2$.": {"64 equal scores": 1 / 64},
            "That is $\\sum a_i$. The second term of the diagonal, $-a_i a_i$, is missing.": {"64 equal scores": 1},
            "You added $1 - a_i$ without the factor $a_i$.": {"64 equal scores": 63},
            "$1\\cdot(1 - 1) = 0$ stands on the diagonal, and 0 for all others: nothing comes through.": {
                "one weight of 1": 1
            },
        },
        tolerance=0.0005,
        why="$1 - \\sum a_i^2$: the sharper the attention, the less comes back to its scores.",
    ),
    "ex-back-fault": Function(
        right=_norm_back,
        wrong={
            "That is still the colleague's: the mean is taken of $dy\\odot n$ in place of $dn\\odot n$, and with gains "
            "of 1 nobody sees it.": lambda dy, x, g, eps: _norm_back(dy, x, g, eps, inner=1.0),
            "Now the gain is missing from both terms.": lambda dy, x, g, eps: _norm_back(dy, x, 1.0, eps),
            "The gain belongs to $dy$ before the mean is taken, and not to the result.": lambda dy, x, g, eps: (
                _norm_back(dy, x, 1.0, eps, outer=g)
            ),
            "You summed over the channels where the mean belongs.": lambda dy, x, g, eps: _norm_back(
                dy, x, g, eps, total=True
            ),
            "$dg$ was right: it is $\\sum_t dy\\odot n$, without the gain.": lambda dy, x, g, eps: (
                _norm_back(dy, x, g, eps)[0],
                g * _norm_back(dy, x, g, eps)[1],
            ),
            "You lost the $\\epsilon$.": lambda dy, x, g, eps: _norm_back(dy, x, g, 0.0),
        },
        cases=_norm_cases,
        properties={
            "$dx$ must have the shape of $x$.": lambda f, dy, x, g, eps: f(dy, x, g, eps)[0].shape == x.shape,
        },
        tolerance=1e-8,
        why="$dn = g\\odot dy$ stands in both terms. Test with gains that are not 1.",
    ),
    "ex-back-step": Made(
        laws={
            "So small a step is right in float64. In float32 the two losses hardly differ.": lambda pair: (
                float(pair[0]) > 1.5e-5
            ),
            "With so large a step the error is that of the formula, $h^2$, in any format.": lambda pair: (
                float(pair[0]) < 0.2
            ),
            "Seven digits do not allow so small an error: it is about $\\epsilon^{2/3}$.": lambda pair: (
                float(pair[1]) > 1e-9
            ),
            "The rule promises more: $\\epsilon^{2/3}$ with $\\epsilon = 10^{-7}$.": lambda pair: float(pair[1]) < 1e-3,
        },
        example=lambda: (1e-2, 1e-5),
        wrong=lambda: [(1e-5, 1e-2), (1.0, 1.0), (1e-2, 1e-11), (1e-2, 1e-2)],
        why="$h$ near $(\\epsilon/2)^{1/3}$. What you measure may be a little better than the rule.",
    ),
    "ex-back-length": Function(
        right=_length_back,
        wrong={
            "$x_j$ acts in two ways: it also stands in the length. The second term is missing.": (
                lambda dy, x: _length_back(dy, x, second=False)
            ),
            "The length is the root of a *sum*, so a sum stands here, and not the mean of RMSNorm.": lambda dy, x: (
                _length_back(dy, x, mean=True)
            ),
            "The part along $y$ comes *off*: a longer $x$ does not change $y$.": lambda dy, x: _length_back(
                dy, x, sign=-1
            ),
            "You divided by the length twice. If $y$ stands in the bracket, once is enough.": lambda dy, x: (
                _length_back(dy, x, power=2)
            ),
        },
        cases=_length_cases,
        properties={
            "$dx$ must have the shape of $x$.": lambda f, dy, x: f(dy, x).shape == x.shape,
            "Nothing may be left along $x$: stretching $x$ does not change $y$.": lambda f, dy, x: np.allclose(
                (f(dy, x) * x).sum(axis=-1), 0
            ),
        },
        tolerance=1e-8,
        why="It is RMSNorm with the length in place of the root mean square, and a sum in place of the mean.",
    ),
    "ex-back-variant": Made(
        laws={
            "The loss is wrong, so the forward pass is; or the sum was not divided by 3.": lambda answer: np.allclose(
                answer[0], _walk()[0]
            ),
            "The rows of $E$ that no position reads are wrong: the loss is a mean, so $dZ$ is divided by 3.": _unread,
            "The final norm: its gradients are sums over positions, of $dy\\odot n$ and of $dy$.": _agree(
                "final_norm.weight", "final_norm.bias"
            ),
            "`feedforward.to_out`: was the gain forgotten in $dn$, or was the mean not taken off?": _agree(
                f"{_FFN}.to_out.weight"
            ),
            "`feedforward.to_hidden`: the slope of ReLU is 1 or 0.": _agree(f"{_FFN}.to_hidden.weight"),
            "`attention.to_out`: two ways add here, past the feed-forward network and through it.": _agree(
                f"{_FFN}_norm.weight", f"{_FFN}_norm.bias", f"{_ATT}.to_out.weight"
            ),
            "`attention.to_qkv`: divide by $\\sqrt{d_k}$, and turn back queries and keys, but not values.": _agree(
                f"{_ATT}.to_qkv.weight", f"{_ATT}_norm.weight", f"{_ATT}_norm.bias"
            ),
            "The embedding: two positions read token 3, and both count; and there is the way past attention.": _agree(
                _E
            ),
        },
        example=_walk,
        wrong=_wrong_walks,
        why="A loss and eleven gradients, down a whole model.",
    ),
}
NOT_CHECKED: dict[str, str] = {"ex-back-half": "it asks for a proof"}
