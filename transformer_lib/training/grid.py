"""How many GPUs share out one model, and the network between them, as data.

The GPUs form a grid whose sides are the ways of sharing: GPU number g has a place in a group of each kind (Narayanan et
al. 2021; Grattafiori et al. 2024, section 3.3.2). Neighbours in the grid come in the order tensor, context, shard,
replicate, pipeline: what talks most sits in one machine. Experts are spread over GPUs that also share out the texts.

Left out: networks of more than two levels, and links that several jobs share.
"""

from dataclasses import dataclass
from typing import Literal

from transformer_lib.checks import require, require_numbers, require_positive
from transformer_lib.contract import checked
from transformer_lib.training.config import Precision

Kept = Literal["pass", "micro-batch", "step"]


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """How many GPUs share in each way; 1 means not at all, and the product is the number of GPUs.

    `replicate` GPUs hold the same weights and read other texts (DDP). `shard` GPUs hold a part each of weights,
    gradients and moments and also read other texts (FSDP2); both together are hybrid sharding. `tensor` GPUs share each
    matrix, `pipeline` GPUs the layers, `context` GPUs the tokens of a text, and `expert` of the GPUs with other texts
    share the experts.

    Gathered weights travel in `numbers`. They are `kept` for one "pass" (forward and backward gather anew), for a
    "micro-batch" (both passes) or for the whole "step", which then gathers once and adds up its gradients whole
    (torch's `reshard_after_forward`, and the stages of ZeRO). Each GPU of a pipeline has `interleave` separate pieces.
    """

    replicate: int = 1
    shard: int = 1
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    expert: int = 1
    numbers: Precision = "float32"
    kept: Kept = "pass"
    interleave: int = 1

    def __post_init__(self) -> None:
        sides = ("replicate", "shard", "tensor", "pipeline", "context", "expert", "interleave")
        require_positive(**{side: getattr(self, side) for side in sides})
        require(
            self.data % self.expert == 0, "expert", f"must divide the {self.data} GPUs with other texts", self.expert
        )
        require(self.pipeline > 1 or self.interleave == 1, "interleave", "needs a pipeline", self.interleave)

    @property
    def gpus(self) -> int:
        """All of them."""
        return self.data * self.tensor * self.pipeline * self.context

    @property
    def data(self) -> int:
        """How many read other texts."""
        return self.replicate * self.shard

    @property
    def sharers(self) -> int:
        """Among how many a weight is cut up, with those that share a text, since they hold the same weights."""
        return self.shard * self.context if self.shard > 1 else 1

    @property
    def copies(self) -> int:
        """How many hold the same part of a weight, and must add up its gradients."""
        return self.data * self.context // self.sharers


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """What one GPU sends over: bytes per second, and the seconds that the smallest message takes."""

    bandwidth: float
    latency: float = 0.0

    def __post_init__(self) -> None:
        require_numbers(bandwidth=self.bandwidth, latency=self.latency)
        require(self.bandwidth > 0, "bandwidth", "must be positive", self.bandwidth)
        require(self.latency >= 0, "latency", "must not be negative", self.latency)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """Machines of `machine` GPUs with a fast link inside, and a link of each GPU's own to other machines.

    `way` is how a collective goes round n GPUs: a "ring" waits n - 1 times for the latency, a "tree" log2 n times.
    """

    machine: int
    inside: Link
    between: Link
    way: Literal["ring", "tree"] = "ring"

    def __post_init__(self) -> None:
        require_positive(machine=self.machine)

    def together(self, members: int, stride: int) -> int:
        """How many of a group's members sit in one machine, if neighbours in the group are `stride` GPUs apart."""
        require_positive(members=members, stride=stride)
        return max(1, min(members, self.machine // stride))
