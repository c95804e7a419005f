"""How the processes of a job are arranged around one model, as data: whole copies of it, or parts.

The processes stand in a grid of `replicas` x shards x `tensor`. Ranks of one `tensor` row share each matrix product
(Shoeybi et al. 2019), shards cut what is left of every weight between them (Rajbhandari et al. 2019), and replicas of
such groups average their gradients (hybrid sharding, Zhao et al. 2023). Left out: pipelines, which share out layers,
and sequences or experts that are shared out.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked

Parallel = Literal["ddp", "fsdp2"]
GatheredIn = Literal["float32", "bfloat16"]
GRID = ("replicas", "shards", "tensor")


@checked
@dataclass(frozen=True, slots=True)
class Copies:
    """Every rank keeps the whole model, and gradients are averaged once a step (DDP, Li et al. 2020)."""


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Shards:
    """Each rank keeps a part of every weight, with its gradient and moments (FSDP2, Zhao et al. 2023).

    The weights of a block are gathered before it runs. `after_forward` says what becomes of them then: "release" frees
    them and gathers again on the way back, "keep" holds them until they have been used there, too (the exchange of
    ZeRO-2, a third less, for the memory of all gathered weights). `replicas` groups each hold all parts: with one
    group for each machine, weights are gathered within a machine, and only gradients go between machines. `tensor`
    ranks that stand next to each other share the matrix products of each block; they read the same batches.

    `gather` is what weights are gathered and multiplied in, `reduce` what gradients are summed over ranks in;
    "float32" stands for the weights' own type, which their parts and moments keep in any case. Each rank's gradient is
    already rounded to `gather` when `reduce` begins.
    """

    replicas: int = 1
    tensor: int = 1
    after_forward: Literal["release", "keep"] = "release"
    gather: GatheredIn = "float32"
    reduce: GatheredIn = "float32"

    def __post_init__(self) -> None:
        require_positive(replicas=self.replicas, tensor=self.tensor)

    def grid(self, ranks: int) -> tuple[int, int, int]:
        """Replicas, shards and tensor ranks, which multiply to `ranks`; `ValueError` if they cannot."""
        require_positive(ranks=ranks)
        group = self.replicas * self.tensor
        rule = f"must have replicas * tensor, {self.replicas} * {self.tensor}, divide the {ranks} processes"
        require(ranks % group == 0, "parallel", rule, self)
        return self.replicas, ranks // group, self.tensor

    def rounding(self) -> dict[str, str]:
        """What of the layout decides a run's numbers beyond the order of additions; nothing if all is float32."""
        lower = {"gather": self.gather, "reduce": self.reduce}
        return {name: value for name, value in lower.items() if value != "float32"}


Layout = Copies | Shards


@checked
def layout_from(words: str) -> Layout:
    """The layout that a command names: "ddp", "fsdp2", or "fsdp2:replicas=2,after_forward=keep" with its fields.

    Raises `ValueError` for another word, another field, or a value that the field cannot have.
    """
    name, _, rest = words.partition(":")
    require(name in get_args(Parallel), "parallel", f"must be one of {get_args(Parallel)}", words)
    if name == "ddp":
        require(not rest, "parallel", "must have no fields after ddp", words)
        return Copies()
    return Shards(**dict(_field(part) for part in rest.split(",") if rest))


def _field(part: str) -> tuple[str, Any]:
    name, _, value = part.partition("=")
    values: dict[str, Sequence[str] | None] = {
        "replicas": None,
        "tensor": None,
        "after_forward": ("release", "keep"),
        "gather": get_args(GatheredIn),
        "reduce": get_args(GatheredIn),
    }
    require(name in values, "parallel", f"must have fields among {tuple(values)}", part)
    allowed = values[name]
    if allowed is not None:
        require(value in allowed, f"parallel: {name}", f"must be one of {allowed}", value)
        return name, value
    require(value.isascii() and value.isdigit(), f"parallel: {name}", "must be a whole number of at least 1", value)
    return name, int(value)


@checked
def layout_words(layout: Layout) -> str:
    """What `layout_from` reads as this layout, for a record."""
    match layout:
        case Copies():
            return "ddp"
        case Shards():
            usual = Shards()
            fields = (field.name for field in dataclasses.fields(layout))
            said = [f"{f}={getattr(layout, f)}" for f in fields if getattr(layout, f) != getattr(usual, f)]
            return "fsdp2" + (":" + ",".join(said) if said else "")


@checked
def grid_of_ranks(layout: Shards, device: str) -> DeviceMesh:
    """The job's ranks as a mesh of `GRID`; all ranks call this together. `device` is the kind that they compute on."""
    return init_device_mesh(device, layout.grid(distributed.get_world_size()), mesh_dim_names=GRID)
