"""How each public callable of the mixers and the experts of `transformer_lib.nn` is called validly."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from transformer_lib.config import experts
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.grouped import StackedLinear
from transformer_lib.nn.router import Load, Router, Routing

HERE = "transformer_lib.nn."
EXPERTS = experts.Experts(
    **{"num_experts": 4, "top_k": 2, "d_ff": 6, "router": "sigmoid", "correction": True},
    **{"groups": experts.Groups(number=2, top=1), "shared": experts.SharedExpert(d_ff=3, gated=True)},
)


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

CALLS: dict[str, Callable[[], dict[str, Any]]] = OF_EXPERTS

CONFIGS: dict[str, Callable[[], dict[str, Any]]] = {
    "transformer_lib.config.experts.ClampedSwish": lambda: {"limit": 7.0, "slope": 1.7},
    "transformer_lib.config.experts.SharedExpert": lambda: {"d_ff": 6, "gated": True},
    "transformer_lib.config.experts.Groups": lambda: {"number": 4, "top": 2, "best": 1},
    "transformer_lib.config.experts.Experts": lambda: {
        **{"num_experts": 4, "top_k": 2, "d_ff": 6, "activation": "silu", "bias": True, "router": "sigmoid"},
        **{"router_bias": True, "normalised": False, "scale": 2.0, "correction": True},
        **{"groups": EXPERTS.groups, "shared": EXPERTS.shared},
    },
}
