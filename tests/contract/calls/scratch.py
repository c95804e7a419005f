"""How each public callable of `transformer_lib.scratch` is called validly."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from transformer_lib.scratch import decoder, functions, optim, pencil
from transformer_lib.scratch.attention import attention
from transformer_lib.scratch.autograd import Value

TOKENS = np.array([[0, 2, 0, 1]])
ATTENTION = "blocks.0.attention."


def _array(*shape: int) -> ndarray:
    return np.random.default_rng(0).normal(size=shape)


def _weights() -> dict[str, ndarray]:
    return {name: weight.copy() for name, weight in pencil.pencil_weights().items()}


def _of_attention() -> dict[str, ndarray]:
    weights = _weights()
    return {name.removeprefix(ATTENTION): weights[name] for name in weights if name.startswith(ATTENTION)}


def _attention_backward() -> dict[str, Any]:
    x = _array(1, 4, 4)
    arguments = {"config": pencil.CONFIG, "weights": _of_attention(), "x": x}
    return {**arguments, "stages": attention(**arguments), "d_out": _array(1, 4, 4)}


def _backward() -> dict[str, Any]:
    arguments = {"config": pencil.CONFIG, "weights": _weights(), "tokens": TOKENS.copy()}
    return {**arguments, "stages": decoder.forward(**arguments), "d_logits": _array(1, 4, 4)}


def _step() -> dict[str, Any]:
    weights = {"w": _array(2, 3), "b": _array(3)}
    return {"weights": weights, "gradients": {"w": _array(2, 3), "b": _array(3)}, "lr": 0.1}


def _adam(**others: Any) -> dict[str, Any]:
    arguments = _step()
    moments = optim.Moments.zeros(arguments["weights"])
    return {**arguments, "moments": moments, "betas": (0.9, 0.99), "eps": 1e-8, **others}


HERE = "transformer_lib.scratch."
FUNCTIONS = f"{HERE}functions."
CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}autograd.Value": lambda: {"data": 2.0, "made_from": ((Value(1), 2.0),)},
    f"{HERE}autograd.Value.exp": lambda: {"self": Value(2)},
    f"{HERE}autograd.Value.log": lambda: {"self": Value(2)},
    f"{HERE}autograd.Value.erf": lambda: {"self": Value(2)},
    f"{HERE}autograd.Value.backward": lambda: {"self": Value(2)},
    f"{HERE}attention.attention": lambda: {
        **{"config": pencil.CONFIG, "weights": _of_attention(), "x": _array(1, 4, 4)}
    },
    f"{HERE}attention.attention_backward": _attention_backward,
    f"{HERE}attention.weight_shapes": lambda: {"config": pencil.CONFIG},
    f"{HERE}attention.stage_shapes": lambda: {"config": pencil.CONFIG, "rows": (1, 4)},
    f"{HERE}decoder.initial_weights": lambda: {"config": pencil.CONFIG, "seed": 1, "std": 0.1},
    f"{HERE}decoder.forward": lambda: {"config": pencil.CONFIG, "weights": _weights(), "tokens": TOKENS.copy()},
    f"{HERE}decoder.backward": _backward,
    f"{FUNCTIONS}linear": lambda: {"x": _array(2, 3), "weight": _array(4, 3), "bias": _array(4)},
    f"{FUNCTIONS}linear_backward": lambda: {"dy": _array(2, 4), "x": _array(2, 3), "weight": _array(4, 3)},
    f"{FUNCTIONS}softmax": lambda: {"scores": _array(2, 3)},
    f"{FUNCTIONS}softmax_backward": lambda: {"da": _array(2, 3), "a": functions.softmax(_array(2, 3))},
    f"{FUNCTIONS}cross_entropy": lambda: {"logits": _array(2, 3), "targets": np.array([0, -100])},
    f"{FUNCTIONS}cross_entropy_backward": lambda: {"logits": _array(2, 3), "targets": np.array([0, 2])},
    f"{FUNCTIONS}layer_norm": lambda: {"x": _array(2, 3), "gain": _array(3), "bias": _array(3), "eps": 1e-5},
    f"{FUNCTIONS}layer_norm_backward": lambda: {"dy": _array(2, 3), "x": _array(2, 3), "gain": _array(3), "eps": 1e-5},
    f"{FUNCTIONS}rms_norm": lambda: {"x": _array(2, 3), "gain": _array(3), "eps": 1e-5},
    f"{FUNCTIONS}rms_norm_backward": lambda: {"dy": _array(2, 3), "x": _array(2, 3), "gain": _array(3), "eps": 1e-5},
    f"{FUNCTIONS}activate": lambda: {"x": _array(2, 3), "kind": "gelu"},
    f"{FUNCTIONS}activate_backward": lambda: {"dy": _array(2, 3), "x": _array(2, 3), "kind": "silu"},
    f"{FUNCTIONS}check_shapes": lambda: {"field": "weights", "arrays": {"w": _array(2)}, "expected": {"w": (2,)}},
    f"{FUNCTIONS}rotate": lambda: {"x": _array(2, 4), "theta": 100.0, "turn": -1},
    f"{HERE}optim.Moments": lambda: {"step": 0, "first": {"w": _array(3)}, "second": {"w": _array(3) ** 2}},
    f"{HERE}optim.Moments.zeros": lambda: {"weights": {"w": _array(3)}},
    f"{HERE}optim.sgd_step": _step,
    f"{HERE}optim.adam_step": lambda: _adam(penalty=0.1),
    f"{HERE}optim.adamw_step": lambda: _adam(weight_decay=0.1),
    f"{HERE}optim.clip": lambda: {"gradients": {"w": _array(2, 3)}, "max_norm": 1.0},
    f"{HERE}pencil.pencil_weights": dict,
}

EXCUSED: dict[str, str] = {}
