"""What GPUs that share out a model send each other in a step, and how long that takes.

Each way of sharing has its exchanges (collectives of `torch.distributed`): the gradients of copies are added up, parts
of weights are gathered, shared products are added up within a block, and so on. The bytes that one GPU sends follow
from the shapes. A ring of n sends (n - 1)/n of what is gathered or scattered, and an all-reduce is a scattering and a
gathering (Patarasuk and Yuan 2009). The seconds are bytes over bandwidth plus rounds times latency.

A ring through machines of several GPUs leaves each machine by several cards at once, a part of the vector by each; so
the cards of a machine add up, up to the speed inside. An all-to-all does not gain by that: its bytes all differ.

Left out: collisions on the network, what a library needs to start a collective, the small exchanges of counts and
norms, exchanges of the vocabulary's parts (tensor parallelism), stages that send each other only a part of what all
GPUs of a matrix hold alike, and that a causal mask makes shares of a text unequal.
"""

import math
from dataclasses import dataclass
from typing import Literal

from transformer_lib.checks import require, require_numbers, require_positive
from transformer_lib.config import AttentionConfig, Experts, LatentAttention, ModelConfig
from transformer_lib.contract import checked
from transformer_lib.training.config import Precision
from transformer_lib.training.counts import BFLOAT16, FLOAT32, Parameters, parameters
from transformer_lib.training.grid import Grid, Network

Collective = Literal["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "send"]
Behind = Literal["every pass", "last pass", "nothing"]


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """All exchanges of one sort in a step: `size` bytes in all, in so many `calls`, among `members`.

    `size` is the whole tensor that is added up, gathered or scattered; of "all-to-all" and "send" what one GPU holds.
    Members are `stride` GPUs apart. Computing may hide it: that of "every pass", or of the "last pass" alone.
    """

    name: str
    collective: Collective
    size: float
    calls: int
    members: int
    stride: int = 1
    behind: Behind = "nothing"

    def __post_init__(self) -> None:
        require_numbers(size=self.size)
        require(self.size >= 0, "size", "must not be negative", self.size)
        require_positive(calls=self.calls, members=self.members, stride=self.stride)

    @property
    def sent(self) -> float:
        """Bytes that each member sends."""
        if self.collective == "send":
            return self.size
        part = (self.members - 1) / self.members
        return self.size * (2 * part if self.collective == "all-reduce" else part)

    @checked
    def rounds(self, way: Literal["ring", "tree"]) -> int:
        """How often one call waits for the latency."""
        if self.collective == "send":
            return 1
        once = self.members - 1
        if way == "tree" and self.collective != "all-to-all":
            once = math.ceil(math.log2(self.members))
        return 2 * once if self.collective == "all-reduce" else once

    @checked
    def seconds(self, network: Network) -> float:
        """How long all calls take, one after another."""
        together = network.together(self.members, self.stride)
        rounds = self.calls * self.rounds(network.way)
        if together == self.members and self.members > 1:
            return self.sent / network.inside.bandwidth + rounds * network.inside.latency
        wait = rounds * network.between.latency
        if self.collective in ("all-to-all", "send"):
            leaving = (self.members - together) / max(1, self.members - 1)  # the rest stays in the machine
            return self.sent * leaving / network.between.bandwidth + wait
        return self.sent / min(network.inside.bandwidth, together * network.between.bandwidth) + wait


@checked
def exchanges(
    config: ModelConfig,
    grid: Grid,
    *,
    batch: int,
    context: int,
    micro_batches: int = 1,
    precision: Precision = "bfloat16",
    recompute: bool = False,
) -> tuple[Exchange, ...]:
    """What each GPU takes part in during a step of `micro_batches` times `batch` texts of `context` tokens.

    Gradients travel in float32, activations as the matrices read them; what is computed again is sent again. Raises
    `ValueError` if a layer cannot share its text (`context` above 1 for layers without keys), or a GPU has no layer.
    """
    require_positive(batch=batch, context=context, micro_batches=micro_batches)
    require_fitting(config, grid)
    size = BFLOAT16 if precision == "bfloat16" else FLOAT32
    numbers = batch * context // grid.context * config.d_model * size
    found = [*_of_weights(parameters(config), grid, config.num_layers, micro_batches)]
    found += _within_blocks(config, grid, numbers, micro_batches, 3 if recompute else 2)
    if grid.context > 1:
        found.append(_of_a_text(config, grid, batch * context // grid.context * size, micro_batches, recompute))
    if grid.pipeline > 1:
        pieces = 2 * micro_batches * grid.interleave  # activations forward, their gradients backward
        stride = grid.gpus // grid.pipeline
        sent = float(numbers * pieces)
        found.append(_exchange("pipeline", "send", sent, pieces, grid.pipeline, stride, "every pass"))
    return tuple(found)


@checked
def require_fitting(config: ModelConfig, grid: Grid) -> None:
    """Refuse a grid that the model cannot be shared out by."""
    most = config.num_layers
    require(grid.pipeline <= most, "pipeline", f"must be at most the {most} layers", grid.pipeline)
    parts = [layer.feedforward.num_experts for layer, _ in config.tally if isinstance(layer.feedforward, Experts)]
    fewest = min(parts, default=1)
    require(grid.expert <= fewest, "expert", f"must be at most the {fewest} experts of a layer", grid.expert)


@checked
def parts_of_weights(count: Parameters, grid: Grid) -> tuple[float, float, float]:
    """The weights of one GPU before any sharding: of its blocks without experts, of its experts, outside the blocks."""
    stage = grid.tensor * grid.pipeline
    ends = count.embedding + count.rest if grid.pipeline == 1 else max(count.embedding, count.rest)
    experts = count.experts / stage / grid.expert
    return (count.blocks - count.experts) / stage, experts, ends / grid.tensor


@checked
def experts_shared_among(grid: Grid) -> tuple[int, int]:
    """Among how many GPUs one of the `expert` parts of the experts is cut up, and how many hold the same cut."""
    holders = grid.sharers * grid.copies // grid.expert
    sharers = max(1, grid.sharers // grid.expert)
    return sharers, holders // sharers


def _of_weights(count: Parameters, grid: Grid, layers: int, micro_batches: int) -> list[Exchange]:
    """Gathering weights, scattering and adding up gradients."""
    blocks, experts, ends = parts_of_weights(count, grid)
    once = grid.kept == "step"
    times = 1 if once else micro_batches
    calls = times * (-(-layers // grid.pipeline) + 1)
    gathered = BFLOAT16 if grid.numbers == "bfloat16" else FLOAT32
    passes = 2 if grid.kept == "pass" else 1  # embedding and head stay gathered between them
    behind: Behind = "last pass" if once else "every pass"
    found = []
    parts = (
        ("weights", blocks, ends, grid.sharers, grid.copies, grid.tensor),
        ("experts", experts, 0.0, *experts_shared_among(grid), grid.tensor * grid.expert),
    )
    for what, inner, outer, sharers, copies, stride in parts:
        if not inner + outer:
            continue
        if sharers > 1:
            sent = times * gathered * (passes * inner + outer)
            found.append(_exchange(f"{what} gathered", "all-gather", sent, passes * calls, sharers, stride, behind))
            back = times * FLOAT32 * (inner + outer)
            found.append(_exchange(f"{what}: gradients", "reduce-scatter", back, calls, sharers, stride, behind))
        if copies > 1:
            whole = FLOAT32 * (inner + outer) / sharers
            found.append(_exchange(f"{what}: sums", "all-reduce", whole, 1, copies, stride * sharers, "last pass"))
    return found


def _within_blocks(config: ModelConfig, grid: Grid, numbers: int, micro_batches: int, passes: int) -> list[Exchange]:
    """Sums of shared products, two in a block and pass; tokens on their way to experts and back, two in a pass."""
    found = []
    mine = micro_batches * passes / grid.pipeline
    if grid.tensor > 1:
        calls = math.ceil(mine * 2 * config.num_layers)
        size = mine * 2 * config.num_layers * numbers
        found.append(_exchange("sums within blocks", "all-reduce", size, calls, grid.tensor, 1, "nothing"))
    if grid.expert > 1:
        kinds = [(layer.feedforward, count) for layer, count in config.tally]
        chosen = sum(count * part.top_k for part, count in kinds if isinstance(part, Experts))
        layers = sum(count for part, count in kinds if isinstance(part, Experts))
        stride = grid.tensor * grid.context
        size = mine * 2 * chosen * numbers / grid.tensor
        calls = math.ceil(mine * 2 * layers)
        found.append(_exchange("tokens to experts", "all-to-all", size, calls, grid.expert, stride, "nothing"))
    return found


def _of_a_text(config: ModelConfig, grid: Grid, scale: int, micro_batches: int, recompute: bool) -> Exchange:
    """Keys and values that go round the ring, forward and (as gradients) backward: n - 1 of n parts, every layer."""
    numbers = sum(count * _keys_and_values(layer) for layer, count in config.tally)
    passes = 3 if recompute else 2
    share = micro_batches * passes / grid.pipeline / grid.tensor
    hops = grid.context - 1
    calls = math.ceil(share * grid.tensor * config.num_layers * hops)
    size = share * numbers * scale * hops
    return _exchange("keys and values", "send", size, calls, grid.context, grid.tensor, "every pass")


def _keys_and_values(layer: ModelConfig) -> int:
    """Numbers of a token that other tokens look at."""
    match layer.attention:
        case AttentionConfig(kv_heads=heads):
            return 2 * heads * layer.head_dim
        case LatentAttention() as latent:
            return latent.kv_rank + latent.rope_dim
        case other:
            raise ValueError(f"context must be 1 for layers without keys, got one with {type(other).__name__}")


def _exchange(
    name: str, collective: Collective, size: float, calls: int, members: int, stride: int, behind: Behind
) -> Exchange:
    return Exchange(
        name=name, collective=collective, size=size, calls=calls, members=members, stride=stride, behind=behind
    )
