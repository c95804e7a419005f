"""AdamW (Loshchilov and Hutter 2019) with decay for matrices only, alone or beside Muon (Jordan et al. 2024).

Muon updates a matrix by its momentum with all singular values brought near 1, so that no direction of the gradient is
too weak to be learnt. That makes sense for a map between vectors, and for nothing else: embeddings and head, norms and
biases stay with AdamW, and so do the stacked matrices of experts, which Muon does not take. Left out: Muon's
W_Q, W_K and W_V as three matrices; here they are one, as they are stored.
"""

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.nn.block import Block
from transformer_lib.nn.grouped import StackedLinear
from transformer_lib.training.newton_schulz import step_muon
from transformer_lib.training.parallel import unwrapped
from transformer_lib.training.parts import by_grid

Rates = Mapping[str, float]
NO_RATES: Rates = {}
RATE = "rate"  # of a group of parameters: what the learning rate is multiplied by for it


@checked
def check_rates(rates: Rates) -> None:
    """`ValueError` unless every factor of the learning rate is above 0 and at most 1: 0 would be a frozen parameter."""
    for pattern, factor in rates.items():
        require(0 < factor <= 1, f"rates[{pattern!r}]", "must be above 0 and at most 1", factor)


@checked
def parameter_groups(model: nn.Module, *, weight_decay: float, rates: Rates = NO_RATES) -> list[dict[str, Any]]:
    """Two groups for an optimiser: matrices (embeddings too) are decayed; biases and norm gains are not.

    Decay limits how large a map can grow; a norm's gain is meant to be near 1 and a bias is an offset, so pulling them
    to 0 has no such purpose. A tied parameter stands in its group once; a frozen one stands in none.

    `rates` maps patterns of names (`encoder.*`) to factors of the learning rate, of which the first that fits counts,
    and 1 where none does. There are then two groups for each factor, which carry it as `rate`. Parts that stand on
    different grids of ranks have groups of their own, too: torch updates a whole group at once. A pattern that no
    trained parameter has is a `ValueError`.
    """
    return _groups(_trained(model), weight_decay, _vectors(model), factors_of(model, rates))


@checked
def factors_of(model: nn.Module, rates: Rates) -> dict[int, float]:
    """The factor of each trained parameter by its `id`; nothing if there are no patterns."""
    check_rates(rates)
    if not rates:
        return {}
    factors, unused = {}, set(rates)
    for name, parameter in unwrapped(model).named_parameters():
        if parameter.requires_grad:
            found = next((pattern for pattern in rates if fnmatch.fnmatchcase(name, pattern)), None)
            factors[id(parameter)] = 1.0 if found is None else float(rates[found])
            unused -= {found}
    require(not unused, "rates", "must be patterns of the names of trained parameters", sorted(unused))
    return factors


@checked
def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group its learning rate: `rate`, times the group's own factor where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(RATE, 1.0)


@checked
def adamw(
    model: nn.Module,
    *,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    rates: Rates = NO_RATES,
) -> AdamW:
    """AdamW over `parameter_groups(model)`; the learning rate starts at 0 and is set before every step."""
    return _adamw(_trained(model), weight_decay, betas, _vectors(model), factors_of(model, rates))


@checked
def muon(
    model: nn.Module,
    *,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    rates: Rates = NO_RATES,
) -> "MuonAndAdamW":
    """Muon for the matrices of the model's blocks, AdamW as in `adamw` for all else; one learning rate serves both.

    Muon's update has the size of AdamW's (see `newton_schulz`). Raises `ValueError` for a model without a `Block`
    to train.
    """
    trained, factors = _trained(model), factors_of(model, rates)
    inside = {id(p) for block in model.modules() if isinstance(block, Block) for p in block.parameters()}
    vectors = _vectors(model)
    maps = [p for p in trained if id(p) in inside and p.dim() == 2 and id(p) not in vectors]
    require(bool(maps), "model", "must have a matrix in a Block for Muon to train", type(model).__name__)
    mapped = {id(p) for p in maps}
    rest = _adamw([p for p in trained if id(p) not in mapped], weight_decay, betas, vectors, factors)
    groups = [{"params": some} | extra for some, extra in _by_factor(maps, factors)]
    return MuonAndAdamW(Muon(groups, lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"), rest)


@checked
class MuonAndAdamW(Optimizer):
    """Two optimisers as one: `param_groups` and `state` are those of both."""

    def __init__(self, muon: Muon, adamw: AdamW) -> None:
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self.parts = (muon, adamw)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each."""
        muon, adamw = self.parts
        with torch.enable_grad():
            loss = None if closure is None else closure()
        step_muon(muon)
        adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of both, as `state_dict` gave it."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let both work on this optimiser's own groups and state, so that there is nothing to keep equal."""
        muon, adamw = self.parts
        count = len(muon.param_groups)
        muon.param_groups, adamw.param_groups = self.param_groups[:count], self.param_groups[count:]
        muon.state = adamw.state = self.state


def _trained(model: nn.Module) -> list[nn.Parameter]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    require(bool(trained), "model", "must have a parameter to train", type(model).__name__)
    return trained


def _vectors(model: nn.Module) -> set[int]:
    """The ids of the parameters that are vectors, those that hold one for each expert among them."""
    stacked = {id(module.bias) for module in model.modules() if isinstance(module, StackedLinear)}
    return stacked | {id(p) for p in model.parameters() if p.dim() < 2}


def _adamw(
    parameters: list[nn.Parameter],
    weight_decay: float,
    betas: tuple[float, float],
    vectors: set[int],
    factors: Mapping[int, float],
) -> AdamW:
    """Torch's fused kernel where there is one."""
    require(all(0 <= beta < 1 for beta in betas), "betas", "must be at least 0 and below 1", betas)
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return AdamW(_groups(parameters, weight_decay, vectors, factors), lr=0.0, betas=betas, fused=fused)


def _groups(
    parameters: list[nn.Parameter], weight_decay: float, vectors: set[int], factors: Mapping[int, float]
) -> list[dict[str, Any]]:
    require(weight_decay >= 0, "weight_decay", "must not be negative", weight_decay)
    groups: list[dict[str, Any]] = []
    for factored, extra in _by_factor(parameters, factors):
        for some in by_grid(factored):
            groups.append({"params": [p for p in some if id(p) not in vectors], "weight_decay": weight_decay} | extra)
            groups.append({"params": [p for p in some if id(p) in vectors], "weight_decay": 0.0} | extra)
    return groups


def _by_factor(
    parameters: list[nn.Parameter], factors: Mapping[int, float]
) -> Iterable[tuple[list[nn.Parameter], dict[str, float]]]:
    """The parameters of each factor, the largest first, and what their groups carry; all at once without factors."""
    if not factors:
        yield parameters, {}
        return
    for factor in sorted({factors[id(p)] for p in parameters}, reverse=True):
        yield [p for p in parameters if factors[id(p)] == factor], {RATE: factor}
