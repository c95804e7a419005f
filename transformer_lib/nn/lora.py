"""LoRA: instead of a large matrix, train two thin ones whose product is added to it (Hu et al. 2021, arXiv:2106.09685).

    y = W x + scale B A x        A is rank x in, B is out x rank, scale = alpha / rank

W stays as it is. B starts at zero, so that training begins at the model as it was, and afterwards scale B A can be
added to W, so that the result costs nothing more to run. `to_qkv` is three maps one below the other: each that is
chosen has an A and a B of its own, as if it stood alone. Left out: dropout before A, and embeddings.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from transformer_lib.checks import require, require_numbers, require_sizes
from transformer_lib.contract import also, checked, checked_once
from transformer_lib.nn.fit import require_fit

ROWS = ("queries", "keys", "values")  # of `to_qkv`, in this order
WHOLE = "whole"  # a part that has all rows
MAPS = ("to_qkv", "to_out", "to_hidden", "to_gate")  # what can be a target, whole or, of the first, by rows
EVERYWHERE = (*ROWS, "to_out", "to_hidden", "to_gate")
MOST_ALPHA = 1e6


@checked
@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Which maps get how large an addition.

    `targets` are names of linear maps in the blocks, or ends of their names (`to_out`, `feedforward.to_out`); of a
    `to_qkv`, `queries`, `keys` and `values` are parts, and `to_qkv` itself is all three with one addition, as GPT-2's
    is one map. A name that no model of today's has at that place is for others: `to_gate` where nothing is gated.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = EVERYWHERE

    def __post_init__(self) -> None:
        require_sizes(rank=self.rank)
        require_numbers(alpha=self.alpha)
        require(0 < self.alpha <= MOST_ALPHA, "alpha", f"must be above 0 and at most {MOST_ALPHA:g}", self.alpha)
        require(len(self.targets) > 0, "targets", "must name at least one map", self.targets)
        for target in self.targets:
            known = target.rpartition(".")[2] in (*ROWS, *MAPS)
            require(known, "targets", f"must end in one of {(*ROWS, *MAPS)}", target)

    @property
    def scale(self) -> float:
        """What the product of the two thin matrices is multiplied by."""
        return self.alpha / self.rank


@checked
class Rows(NamedTuple):
    """The rows `start` to `stop - 1` of a map, under a name."""

    name: str
    start: int
    stop: int


@checked_once
class LoraLinear(nn.Linear):
    """A linear map with an addition for each of some of its parts; `weight` and `bias` are those of the map alone."""

    def __init__(self, base: nn.Linear, parts: tuple[Rows, ...], rank: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.parts, self.rank, self.scale = parts, rank, scale
        for part in parts:
            down = base.weight.new_empty(rank, self.in_features)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))  # uniform up to 1/sqrt(in), as a linear map's own weights
            up = base.weight.new_zeros(part.stop - part.start, rank)
            self.register_parameter(f"{part.name}_down", nn.Parameter(down))
            self.register_parameter(f"{part.name}_up", nn.Parameter(up))

    @also(lambda self, x: require_fit("x", x, self.weight))
    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        """W x + b + scale B A x."""
        return self.rows(x, slice(0, self.out_features))

    @also(lambda self, x: require_fit("x", x, self.weight))
    def rows(self, x: Float[Tensor, "*batch width"], rows: slice) -> Float[Tensor, "*batch out"]:
        """The outputs of these rows alone."""
        down, up = self._factors()
        bias = None if self.bias is None else self.bias[rows]
        return F.linear(x, self.weight[rows], bias) + self.scale * F.linear(F.linear(x, down), up[rows])

    def pair(self, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B of a part."""
        return self.get_parameter(f"{name}_down"), self.get_parameter(f"{name}_up")

    def merged(self) -> Float[Tensor, "out width"]:
        """W + scale B A."""
        down, up = self._factors()
        return self.weight + self.scale * (up @ down)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """All A one below the other, and all B as blocks along a diagonal, with zeros for rows that have no part."""
        blocks, end = [], 0
        for part in (*self.parts, Rows("", self.out_features, self.out_features)):
            if part.start > end:
                blocks.append(self.weight.new_zeros(part.start - end, 0))
            if part.name:
                blocks.append(self.pair(part.name)[1])
            end = part.stop
        return torch.cat([self.pair(part.name)[0] for part in self.parts]), torch.block_diag(*blocks)


@checked_once
@also(lambda layer, x: require_fit("x", x, layer.weight))
def project_rows(layer: nn.Linear, x: Float[Tensor, "*batch width"], rows: slice) -> Float[Tensor, "*batch out"]:
    """The outputs of some rows of a map, with what LoRA adds to them."""
    if isinstance(layer, LoraLinear):
        return layer.rows(x, rows)
    return F.linear(x, layer.weight[rows], None if layer.bias is None else layer.bias[rows])


@checked
def add_lora(model: nn.Module, config: LoraConfig) -> list[str]:
    """Freeze the model, and add to the maps that the config names; their names, in order.

    Whatever else is to be trained is unfrozen afterwards. `ValueError` for a target that the model has not, a rank that
    is not below both sides of a map, or a model that has additions already.
    """
    require(not any(_additions(model)), "model", "must have no additions yet", type(model).__name__)
    chosen: dict[str, tuple[Rows, ...]] = {}
    unknown = set(config.targets)
    for name, layer in maps_of(model):
        parts = []
        for part in row_parts(model, name):
            full = f"{name.rpartition('.')[0]}.{part.name}" if part.name in ROWS else name
            found = {target for target in config.targets if f".{full}".endswith(f".{target}")}
            unknown -= found
            parts += [part] if found else []
        if len(parts) > 1 and parts[0].name == WHOLE:
            require(False, "targets", f"must name {name} or parts of it, not both", config.targets)
        for part in parts:
            least = min(layer.in_features, part.stop - part.start)
            require(config.rank < least, "rank", f"must be below {least}, the smaller side of {name}", config.rank)
        if parts:
            chosen[name] = tuple(parts)
    unknown -= set(EVERYWHERE) if chosen else set()
    require(not unknown, "targets", f"must be maps of the model, such as {_some(model)}", sorted(unknown))
    put_lora(model, chosen, config.rank, config.scale)
    return list(chosen)


@checked
def put_lora(model: nn.Module, parts: Mapping[str, tuple[Rows, ...]], rank: int, scale: float) -> None:
    """Freeze the model, and add to just these parts of the maps of these names."""
    model.requires_grad_(False)
    for name, rows in parts.items():
        parent, _, last = name.rpartition(".")
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        setattr(model.get_submodule(parent), last, LoraLinear(layer, rows, rank, scale).train(layer.training))


@checked
@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Add what LoRA learnt to the weights themselves, so that the model is one as before, of the same outputs.

    `ValueError` if it has no additions.
    """
    found = list(_additions(model))
    require(len(found) > 0, "model", "must have additions of LoRA", type(model).__name__)
    for name, layer in found:
        parent, _, last = name.rpartition(".")
        plain = nn.Linear(1, 1, bias=False, device="meta")
        plain.in_features, plain.out_features, plain.training = layer.in_features, layer.out_features, layer.training
        plain.weight, plain.bias = layer.weight, layer.bias
        plain.weight.copy_(layer.merged())
        setattr(model.get_submodule(parent), last, plain)


@checked
def additions_of(model: nn.Module) -> dict[str, LoraLinear]:
    """The maps with additions, by name."""
    return dict(_additions(model))


@checked
def maps_of(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear maps that can be targets, with their names: those of the blocks, not a head."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in MAPS and "blocks." in name:
            yield name, layer


@checked
def row_parts(model: nn.Module, name: str) -> tuple[Rows, ...]:
    """The map as a whole and, of a `to_qkv`, its three parts."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    whole = Rows(WHOLE, 0, layer.out_features)
    if not name.endswith("to_qkv"):
        return (whole,)
    attention = model.get_submodule(name.rpartition(".")[0])
    ends = [0]
    for heads in attention.heads:  # type: ignore[union-attr]
        ends.append(ends[-1] + heads * attention.head_dim)
    return (whole, *(Rows(part, ends[i], ends[i + 1]) for i, part in enumerate(ROWS)))


def _additions(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLinear))


def _some(model: nn.Module) -> Collection[str]:
    return sorted({name.rpartition(".")[2] for name, _ in maps_of(model)})
