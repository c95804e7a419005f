"""The state of a run between two steps, and all of it as named tensors.

What a run draws at random must come from torch's global generators, which are part of the state here, or be part of the
batches' own state.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.tensor_files import Named, check_finite
from transformer_lib.training.optim import MuonAndAdamW
from transformer_lib.training.parallel import orders_of, place_of, unwrapped
from transformer_lib.training.parts import share_like, with_rows

SLOTS: dict[type[Optimizer], set[str]] = {AdamW: {"step", "exp_avg", "exp_avg_sq"}, Muon: {"momentum_buffer"}}


@runtime_checkable
class Batches(Protocol):
    """Training data that can be left and taken up again.

    Iterating goes on from the position, endlessly or to the end of a pass; the next iteration then begins another.
    `state_dict()` is made of JSON values and says what has been handed out so far, the latest batch included.
    `load_state_dict` raises `ValueError`, and changes nothing, for a state that is not of these batches.
    """

    def __iter__(self) -> Iterator[Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@checked
@dataclass
class TrainState:
    """Everything that decides how a run goes on. `settings` are JSON values that must agree to resume it.

    `batches` may be None where the steps are taken by hand; such a state can be neither saved nor taken up. `changes`
    are those that were changed on purpose, each with the step, its name, what it was and what it became.
    """

    model: nn.Module
    optimizer: Optimizer
    batches: Batches | None
    settings: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)


# The model ------------------------------------------------------------------------------------------------------------


@checked
def model_tensors(model: nn.Module) -> Named:
    """Every tensor of the state dict under its first name: a tied weight is one object with several names.

    If several processes train the model, the names and the order of rows are those of the model alone, and a sharded
    tensor is a `DTensor`; all of them call this together.
    """
    orders = orders_of(model)
    first = {
        id(tensor): (name, tensor) for name, tensor in reversed(unwrapped(model).state_dict(keep_vars=True).items())
    }
    return {name: _as_saved(name, tensor.detach().contiguous(), orders) for name, tensor in first.values()}


@checked
def check_model_tensors(tensors: Named, model: nn.Module, source: str) -> None:
    """Raise `ValueError` unless the tensors are the model's: the same names, shapes and types, and finite."""
    check_same(tensors, model_tensors(model), source)
    check_finite(tensors, source)


@checked
def check_same(tensors: Named, own: Named, source: str) -> None:
    """Raise `ValueError` unless the tensors have the names, shapes and types of a model's own."""
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    require(not missing, source, "must hold every weight of the model; missing are some", missing)
    require(not unknown, source, "must hold no weight that the model lacks", unknown)
    for name, tensor in own.items():
        _require_like(tensors[name], tensor, f"{source}: {name}")


@checked
def set_model_tensors(tensors: Named, model: nn.Module) -> None:
    """Copy checked tensors into the model's own."""
    own, orders = unwrapped(model).state_dict(), orders_of(model)
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(share_like(with_rows(tensor, orders.get(name)), own[name]))


def _as_saved(name: str, tensor: Tensor, orders: Named) -> Tensor:
    """The rows in the order that they have in the model alone."""
    return with_rows(tensor, orders[name].argsort()) if name in orders else tensor


# The optimiser and the random generators ------------------------------------------------------------------------------


@checked
def training_tensors(state: TrainState) -> Named:
    """`optimizer/<parameter>/<slot>` for each of the optimiser's, `generator/<device>` for each random generator's.

    The generators of rank 1 and on are `generator/<device>/<rank>`.
    """
    orders = orders_of(state.model)
    tensors = {
        f"optimizer/{name}/{slot}": _as_saved(name, tensor.contiguous(), orders)
        for name, parameter in unwrapped(state.model).named_parameters()
        for slot, tensor in state.optimizer.state.get(parameter, {}).items()
    }
    return tensors | generator_tensors(state.model)


@checked
def generator_tensors(model: nn.Module) -> Named:
    """The state of each random generator that this process draws from."""
    return {name: _get_generator(device) for name, device in _generators(model).items()}


@checked
def is_of_training(name: str) -> bool:
    """Whether a tensor of this name is the optimiser's or a generator's; the model's have no slash in their names."""
    return "/" in name


@checked
def empty_training_tensors(stored: Named, state: TrainState) -> Named:
    """Room for the stored tensors that this process needs: a moment in parts if its parameter is."""
    own = {name: torch.empty_like(tensor) for name, tensor in generator_tensors(state.model).items() if name in stored}
    for key, tensor in stored.items():
        if not key.startswith("generator/"):
            parameter = unwrapped(state.model).get_parameter(_split(key)[0])
            own[key] = torch.empty_like(parameter.detach() if tensor.dim() else tensor, device=parameter.device)
    return own


@checked
def check_training_tensors(tensors: Named, state: TrainState, source: str) -> None:
    """Raise `ValueError` unless each tensor is a slot of a parameter, and every generator is there with a state it had.

    A slot must be one that the optimiser has, of fitting shape and finite.
    """
    orders = _orders(state)
    check_finite(tensors, source)
    parameters = {name: unwrapped(state.model).get_parameter(name) for order in orders for name in order}
    slots: dict[str, set[str]] = {}
    for key, tensor in tensors.items():
        if key.startswith("generator/"):
            continue
        name, slot = _split(key)
        require(name in parameters, f"{source}: {key}", "must belong to a parameter that is trained", name)
        if tensor.dim():  # AdamW's count of steps has no axes
            _require_like(tensor, parameters[name], f"{source}: {key}")
        slots.setdefault(name, set()).add(slot)
    for part, order in zip(_parts(state.optimizer), orders, strict=True):
        kinds = sorted({tuple(sorted(slots[name])) for name in order if name in slots})
        require(len(kinds) <= 1, f"{source}: optimizer", "must hold the same slots for every parameter", kinds)
        own = SLOTS.get(type(part))
        known = own is None or not kinds or set(kinds[0]) == own
        require(known, f"{source}: optimizer", f"must hold the slots {sorted(own or ())}", kinds)
    for name, device in _generators(state.model).items():
        require(name in tensors, f"{source}: {name}", "must be there, among", sorted(tensors)[:3])
        _require_like(tensors[name], _get_generator(device), f"{source}: {name}")
    check_generators(tensors, state, source)


@checked
def check_generators(tensors: Named, state: TrainState, source: str) -> None:
    """Raise `ValueError` unless each state of a random generator is one, tried on a generator of its own."""
    for name, device in _generators(state.model).items():
        if tensors[name].device.type == "meta":
            continue  # not read yet
        try:
            torch.Generator(device).set_state(tensors[name])
        except RuntimeError as error:
            raise ValueError(f"{source}: {name} must be the state of a random generator: {error}") from error


@checked
def slots_of(tensors: Named) -> list[str]:
    """The names of the optimiser's tensors, in order: a checkpoint lists them, so that a missing one is noticed."""
    return sorted(name for name in tensors if name.startswith("optimizer/"))


@checked
def set_training_tensors(tensors: Named, state: TrainState) -> None:
    """Hand checked tensors to the optimiser (it numbers parameters in the order of its groups) and the generators."""
    generators, orders = _generators(state.model), orders_of(state.model)
    moments: dict[str, Named] = {}
    for key in sorted(tensors.keys() - generators.keys()):  # ranks may have to exchange rows, in the same order
        name, slot = _split(key)
        moments.setdefault(name, {})[slot] = with_rows(tensors[key].clone(), orders.get(name))
    order = [name for part in _orders(state) for name in part]
    numbered = {index: moments[name] for index, name in enumerate(order) if name in moments}
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": numbered, "param_groups": groups})
    for name, device in generators.items():
        _set_generator(device, tensors[name])


def _orders(state: TrainState) -> list[list[str]]:
    """For each optimiser that the run's consists of, the names of its parameters in the order of its groups."""
    names = {id(parameter): name for name, parameter in unwrapped(state.model).named_parameters()}
    return [
        [names[id(parameter)] for group in part.param_groups for parameter in group["params"]]
        for part in _parts(state.optimizer)
    ]


def _parts(optimizer: Optimizer) -> tuple[Optimizer, ...]:
    return optimizer.parts if isinstance(optimizer, MuonAndAdamW) else (optimizer,)


def _split(key: str) -> tuple[str, str]:
    name, _, slot = key.removeprefix("optimizer/").rpartition("/")
    return name, slot


def _generators(model: nn.Module) -> dict[str, torch.device]:
    """The devices whose random generator this process draws from: always the CPU, and the model's own."""
    devices = {parameter.device for parameter in model.parameters()} | {torch.device("cpu")}
    rank, _ = place_of(model)
    return {f"generator/{device.type}" + (f"/{rank}" if rank else ""): device for device in devices}


def _get_generator(device: torch.device) -> Tensor:
    return torch.get_rng_state() if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)


def _set_generator(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)


def _require_like(tensor: Tensor, own: Tensor, name: str) -> None:
    require(tensor.shape == own.shape, name, f"must have the shape {tuple(own.shape)}", tuple(tensor.shape))
    require(tensor.dtype == own.dtype, name, f"must have the type {own.dtype}", tensor.dtype)
