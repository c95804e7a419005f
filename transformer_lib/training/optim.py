"""AdamW (Loshchilov and Hutter 2019) with decay for matrices only, alone or beside Muon (Jordan et al. 2024).

Muon updates a matrix by its momentum with all singular values brought near 1, so that no direction of the gradient is
too weak to be learnt. That makes sense for a map between vectors, and for nothing else: embeddings and head, norms and
biases stay with AdamW, and so do the stacked matrices of experts, which torch's Muon does not take. Left out: Muon's
W_Q, W_K and W_V as three matrices; here they are one, as they are stored.
"""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.nn.block import Block
from transformer_lib.nn.grouped import StackedLinear


@checked
def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser: matrices (embeddings too) are decayed; biases and norm gains are not.

    Decay limits how large a map can grow; a norm's gain is meant to be near 1 and a bias is an offset, so pulling them
    to 0 has no such purpose. A tied parameter stands in its group once; a frozen one stands in none.
    """
    return _groups(_trained(model), weight_decay, _vectors(model))


@checked
def adamw(model: nn.Module, *, weight_decay: float = 0.1, betas: tuple[float, float] = (0.9, 0.95)) -> AdamW:
    """AdamW over `parameter_groups(model)`; the learning rate starts at 0 and is set before every step."""
    return _adamw(_trained(model), weight_decay, betas, _vectors(model))


@checked
def muon(model: nn.Module, *, weight_decay: float = 0.1, betas: tuple[float, float] = (0.9, 0.95)) -> "MuonAndAdamW":
    """Muon for the matrices of the model's blocks, AdamW as in `adamw` for all else; one learning rate serves both.

    Muon's rate is scaled by 0.2 sqrt(max(rows, columns)), which gives its update the size that AdamW's has (Liu et al.
    2025). Raises `ValueError` for a model without a `Block` to train.
    """
    trained = _trained(model)
    inside = {id(p) for block in model.modules() if isinstance(block, Block) for p in block.parameters()}
    vectors = _vectors(model)
    maps = [p for p in trained if id(p) in inside and p.dim() == 2 and id(p) not in vectors]
    require(bool(maps), "model", "must have a matrix in a Block for Muon to train", type(model).__name__)
    mapped = {id(p) for p in maps}
    rest = _adamw([p for p in trained if id(p) not in mapped], weight_decay, betas, vectors)
    return MuonAndAdamW(Muon(maps, lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"), rest)


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
        loss = muon.step(closure)
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


def _adamw(parameters: list[nn.Parameter], weight_decay: float, betas: tuple[float, float], vectors: set[int]) -> AdamW:
    """Torch's fused kernel where there is one."""
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return AdamW(_groups(parameters, weight_decay, vectors), lr=0.0, betas=betas, fused=fused)


def _groups(parameters: list[nn.Parameter], weight_decay: float, vectors: set[int]) -> list[dict[str, Any]]:
    require(weight_decay >= 0, "weight_decay", "must not be negative", weight_decay)
    return [
        {"params": [p for p in parameters if id(p) not in vectors], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) in vectors], "weight_decay": 0.0},
    ]
