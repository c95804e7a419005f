"""How each public callable of the mixers and the experts of `transformer_lib.nn` is called validly."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.contract.calls.config import DELTA, EXPERTS, LATENT, LINEAR
from transformer_lib.nn.delta_mixer import GatedDeltaMixer
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.grouped import StackedLinear
from transformer_lib.nn.latent import LatentMixer
from transformer_lib.nn.linear_attention import LinearMixer, features
from transformer_lib.nn.positions import rope_rotation
from transformer_lib.nn.router import Load, Router, Routing
from transformer_lib.nn.state import LatentState, RecurrentState

HERE = "transformer_lib.nn."


def _x(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 3, 8)), generator=torch.Generator().manual_seed(0))


def _valid() -> Tensor:
    return torch.tensor([[False, True, True], [True, True, True]])


def _routing() -> Routing:
    return Routing(torch.tensor([[0, 1], [2, 3], [1, 0]]), torch.full((3, 2), 0.5), torch.full((3, 4), 0.25))


def _load() -> Load:
    load = Load(4)
    load.add(_routing())
    return load


def _moe() -> MixtureOfExperts:
    return MixtureOfExperts(8, EXPERTS)


def _latents() -> LatentState:
    state = LatentState(_x(2, 6, 5))
    state.write(_x(2, 2, 5))
    return state


def _latent() -> dict[str, Any]:
    mixer = LatentMixer(8, LATENT)
    mask = torch.ones(2, 1, 3, 3, dtype=torch.bool).tril()
    rotation = rope_rotation(torch.arange(3)[None], 2)
    arguments = {"self": mixer, "x": _x(), "mask": mask, "rotation": rotation}
    return {**arguments, "state": mixer.eval().requires_grad_(False).new_state(2, 4), "form": "absorbed"}


def _linear(**others: Any) -> dict[str, Any]:
    q, k = features(_x(2, 2, 4, 3)), features(_x(2, 2, 4, 3))
    return {"q": q, "k": k, "v": _x(2, 2, 4, 2), "memory": _x(2, 2, 3, 3).abs(), **others}


def _state() -> RecurrentState:
    return RecurrentState(_x(2, 2, 3, 2), _x(2, 5, 3))


def _delta(**others: Any) -> dict[str, Any]:
    rates = {"log_decay": -_x(2, 2, 4).abs(), "beta": _x(2, 2, 4).sigmoid(), "memory": _x(2, 2, 3, 2)}
    return {"q": _x(2, 2, 4, 3), "k": _x(2, 2, 4, 3), "v": _x(2, 2, 4, 2), **rates, **others}


def _mixing(mixer: Any) -> dict[str, Any]:
    return {"self": mixer, "x": _x(), "valid": _valid(), "state": mixer.new_state(2)}


OF_EXPERTS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}grouped.StackedLinear": lambda: {"num_experts": 2, "width_in": 3, "width_out": 4, "bias": True},
    f"{HERE}grouped.StackedLinear.forward": lambda: {
        **{"self": StackedLinear(2, 3, 4, bias=True), "x": _x(3, 3), "expert": torch.tensor([0, 1, 1])}
    },
    f"{HERE}router.Routing": lambda: _routing()._asdict(),
    f"{HERE}router.Load": lambda: {"num_experts": 4, "device": "cpu"},
    f"{HERE}router.Load.add": lambda: {"self": _load(), "routing": _routing(), "valid": _valid()[0]},
    f"{HERE}router.Load.balancing_loss": lambda: {"self": _load()},
    f"{HERE}router.Load.violation": lambda: {"self": _load()},
    f"{HERE}router.Router": lambda: {"d_model": 8, "config": EXPERTS},
    f"{HERE}router.Router.forward": lambda: {"self": Router(8, EXPERTS), "x": _x(3, 8)},
    f"{HERE}router.Router.rebalance": lambda: {"self": Router(8, EXPERTS), "load": _load(), "rate": 0.01},
    f"{HERE}experts.MixtureOfExperts": lambda: {"d_model": 8, "config": EXPERTS},
    f"{HERE}experts.MixtureOfExperts.forward": lambda: {"self": _moe(), "x": _x(), "load": _load(), "valid": _valid()},
    f"{HERE}experts.MixtureOfExperts.explicit": lambda: {"self": _moe(), "x": _x()},
}

OF_STATES: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}state.RecurrentState": lambda: {"memory": _x(2, 2, 3, 2), "recent": _x(2, 5, 3)},
    f"{HERE}state.RecurrentState.check_fits": lambda: {
        **{"self": _state(), "memory": (2, 2, 3, 2), "recent": (2, 5, 3), "weight": _x()}
    },
    f"{HERE}state.RecurrentState.write": lambda: {
        **{"self": _state(), "memory": _x(2, 2, 3, 2), "recent": _x(2, 5, 3), "new": 1}
    },
    f"{HERE}state.RecurrentState.select": lambda: {"self": _state(), "rows": torch.tensor([1, 0, 0])},
    f"{HERE}state.RecurrentState.copy": lambda: {"self": _state()},
    f"{HERE}state.RecurrentState.mark": lambda: {"self": _state()},
    f"{HERE}state.RecurrentState.rewind": lambda: {"self": _state(), "length": 0},
    f"{HERE}state.latent_state": lambda: {
        **{"config": LATENT, "batch": 2, "max_length": 4, "dtype": torch.float32, "device": "cpu"}
    },
    f"{HERE}state.recurrent_state": lambda: {
        **{"config": DELTA, "d_model": 8, "batch": 2, "dtype": torch.float32, "device": "cpu"}
    },
    f"{HERE}state.state_shapes": lambda: {"config": LINEAR, "d_model": 8, "batch": 2},
}

OF_DELTA: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}delta.delta_recurrent": _delta,
    f"{HERE}delta.delta_parallel": _delta,
    f"{HERE}delta.delta_chunked": lambda: _delta(chunk=3),
    f"{HERE}delta_mixer.GatedDeltaMixer": lambda: {"d_model": 8, "config": DELTA, "norm_eps": 1e-5},
    f"{HERE}delta_mixer.GatedDeltaMixer.new_state": lambda: {"self": GatedDeltaMixer(8, DELTA), "batch": 2},
    f"{HERE}delta_mixer.GatedDeltaMixer.forward": lambda: _mixing(GatedDeltaMixer(8, DELTA)),
}

OF_LATENT: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}state.LatentState": lambda: {"entries": _x(2, 6, 5)},
    f"{HERE}state.LatentState.write": lambda: {"self": _latents(), "new": _x(2, 3, 5)},
    f"{HERE}state.LatentState.select": lambda: {"self": _latents(), "rows": torch.tensor([1, 0, 0])},
    f"{HERE}state.LatentState.rewind": lambda: {"self": _latents(), "length": 1},
    f"{HERE}latent.LatentMixer": lambda: {"d_model": 8, "config": LATENT, "dropout": 0.1, "norm_eps": 1e-5},
    f"{HERE}latent.LatentMixer.new_state": lambda: {"self": LatentMixer(8, LATENT), "batch": 2, "max_length": 4},
    f"{HERE}latent.LatentMixer.forward": _latent,
}

OF_LINEAR: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}linear_attention.features": lambda: {"x": _x()},
    f"{HERE}linear_attention.linear_recurrent": _linear,
    f"{HERE}linear_attention.linear_parallel": _linear,
    f"{HERE}linear_attention.linear_chunked": lambda: _linear(chunk=3),
    f"{HERE}linear_attention.LinearMixer": lambda: {"d_model": 8, "config": LINEAR},
    f"{HERE}linear_attention.LinearMixer.new_state": lambda: {"self": LinearMixer(8, LINEAR), "batch": 2},
    f"{HERE}linear_attention.LinearMixer.forward": lambda: _mixing(LinearMixer(8, LINEAR)),
}

CALLS: dict[str, Callable[[], dict[str, Any]]] = {**OF_EXPERTS, **OF_STATES, **OF_DELTA, **OF_LATENT, **OF_LINEAR}
