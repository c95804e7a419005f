"""What a training run will need, before it is started: memory of each GPU, tokens per second, hours and cost.

Parameters and floating-point operations follow from the `ModelConfig` alone (`counts.py`), what is sent from them and
the `Grid` (`costs.py`). Model FLOPs utilisation (MFU, Chowdhery et al. 2022) is the share of a GPU's peak that these
FLOPs come to; it is measured (`bench/`), never computed, and recomputation does not count.

The tests hold this to published figures: GPT-3's 3.14e23 FLOPs (Brown et al. 2020, table D.1), Llama 3 405B's 3.8e25
(Grattafiori et al. 2024), LLaMA 65B's 21 days at 380 tokens per second and GPU on 2,048 A100s (Touvron et al. 2023),
PaLM's MFU of 46.2 % at 238,300 tokens a second (Chowdhery et al. 2022).

A utilisation that one GPU reached alone says nothing of what many lose to their exchange. Given the network, the plan
adds what is computed again, what is sent, and the bubble of a pipeline. Sending that computing can hide costs only what
it takes beyond it; sums within blocks, and tokens on their way to experts, nothing hides.

Left out: waiting for the slowest GPU, the memory that an allocator wastes, failures (`failures.py`), and evaluation. So
the days are a lower bound.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

from transformer_lib.checks import require_numbers
from transformer_lib.config import ModelConfig, require, require_positive
from transformer_lib.contract import checked
from transformer_lib.training.config import Precision
from transformer_lib.training.costs import (
    Behind,
    exchanges,
    experts_shared_among,
    parts_of_weights,
    require_fitting,
)
from transformer_lib.training.counts import BFLOAT16 as BFLOAT16
from transformer_lib.training.counts import FLOAT32 as FLOAT32
from transformer_lib.training.counts import Parameters as Parameters
from transformer_lib.training.counts import activations_per_token as activations_per_token
from transformer_lib.training.counts import flops_per_token as flops_per_token
from transformer_lib.training.counts import parameters as parameters
from transformer_lib.training.counts import recomputed_share as recomputed_share
from transformer_lib.training.grid import Grid, Network


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A kind of GPU: its peak in dense bfloat16 FLOPs per second, its memory in bytes, its price per hour."""

    name: str
    peak: float
    memory: float
    price: float

    def __post_init__(self) -> None:
        for name in ("peak", "memory"):
            require(getattr(self, name) > 0, name, "must be positive", getattr(self, name))
        require(self.price >= 0, "price", "must not be negative", self.price)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes on one GPU at the fullest moment of a step."""

    parameters: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All at once, which is a little more than the peak: the logits are gone before the gradient is whole."""
        return sum(getattr(self, field.name) for field in dataclasses.fields(self))


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One row of a table: a number of GPUs, and what a run on them needs and gives.

    The parts of a step, in seconds: `computing` with what is computed again; `waiting` for exchanges that nothing
    hides; `sending` that computing hides as far as it lasts; `bubble`, in which a pipeline fills and empties. `seconds`
    is the whole step. Without a network all but computing are 0.
    """

    gpus: int
    memory: Memory
    fits: bool
    computing: float
    waiting: float
    sending: float
    bubble: float
    seconds: float
    tokens_per_second: float
    tokens_per_step: int
    steps: int
    hours: float
    gpu_hours: float
    cost: float


@checked
def memory(
    config: ModelConfig,
    *,
    gpus: int,
    batch: int,
    context: int,
    parallel: Literal["ddp", "fsdp2"],
    precision: Precision = "bfloat16",
    recompute: bool = False,
    chunked_logits: bool = True,
) -> Memory:
    """On each of `gpus` with `batch` texts of `context` tokens at a time; AdamW, weights and moments in float32.

    "ddp" holds all of the weights, gradients and moments, and its buckets are views of the gradients; "fsdp2" holds
    1/gpus of each, and gathers in float32. `memory_of` takes every other grid, and says what the rest means.
    """
    require_positive(gpus=gpus)
    grid = Grid(replicate=gpus) if parallel == "ddp" else Grid(shard=gpus)
    return memory_of(
        config,
        grid,
        batch=batch,
        context=context,
        precision=precision,
        recompute=recompute,
        chunked_logits=chunked_logits,
    )


@checked
def memory_of(
    config: ModelConfig,
    grid: Grid,
    *,
    batch: int,
    context: int,
    micro_batches: int = 1,
    precision: Precision = "bfloat16",
    recompute: bool = False,
    chunked_logits: bool = True,
) -> Memory:
    """On the fullest GPU of a grid, with `batch` texts of `context` tokens in each micro-batch; AdamW in float32.

    Gathered are the embedding with the head, within a pass, and two blocks, the one that runs and the next; or all
    weights of the GPU's layers, where they are kept longer, and for a whole step also the gradient. Shared products
    divide the activations, too (sequence parallelism, Korthikanti et al. 2022). The first GPU of a pipeline holds those
    of as many micro-batches as there are stages. `recompute` keeps each block's input, and all activations of one block
    (`recompute.py`); `chunked_logits` keeps none of the logits but one chunk (`chunked.py`), which is left out here.
    """
    require_positive(batch=batch, context=context, micro_batches=micro_batches)
    require_fitting(config, grid)
    count = parameters(config)
    blocks, experts, ends = parts_of_weights(count, grid)
    cut, _ = experts_shared_among(grid)
    held = FLOAT32 * ((blocks + ends) / grid.sharers + experts / cut)
    size = BFLOAT16 if precision == "bfloat16" else FLOAT32
    tokens = batch * context / grid.context / grid.tensor
    stages = min(micro_batches, grid.pipeline) / grid.pipeline
    return Memory(
        parameters=held,
        gradients=FLOAT32 * (blocks + experts + ends) if grid.kept == "step" else held,
        optimizer=2 * held,
        gathered=_gathered(config, count, grid),
        activations=tokens * stages * activations_per_token(config, precision=precision, recompute=recompute),
        logits=0.0 if chunked_logits else tokens * config.vocab_size * (size + 2 * FLOAT32),
    )


def _gathered(config: ModelConfig, count: Parameters, grid: Grid) -> float:
    """Weights of others that are here at the fullest moment."""
    if grid.sharers == 1:
        return 0.0
    size = BFLOAT16 if grid.numbers == "bfloat16" else FLOAT32
    blocks, experts, ends = parts_of_weights(count, grid)
    if grid.kept == "pass":
        layers = -(-config.num_layers // grid.pipeline)
        expert_share = experts / (blocks + experts)
        block = count.largest_block / grid.tensor * (1 - expert_share + expert_share / grid.expert)
        return size * (ends + min(2, layers) * block)
    cut, _ = experts_shared_among(grid)
    return size * (blocks + ends + (experts if cut > 1 else 0))


class _How(TypedDict):
    batch: int
    context: int
    micro_batches: int
    recompute: bool


@checked
def plan(
    config: ModelConfig,
    gpu: Gpu,
    grid: Grid,
    *,
    tokens: float,
    batch: int,
    context: int,
    mfu: float,
    micro_batches: int = 1,
    recompute: bool = False,
    chunked_logits: bool = True,
    network: Network | None = None,
    overlap: bool = True,
) -> Plan:
    """A run over `tokens` tokens in bfloat16; in a step each GPU with texts of its own reads `micro_batches` * `batch`.

    Without `network`, `mfu` must come from a run like the planned one, and nothing is added to what it says. With it,
    `mfu` is what one GPU reaches alone, with nothing recomputed, and a step takes

        passes = max(micro_batches (computing + waiting), sending of every pass)
        seconds = passes + bubble + what the last pass does not hide,

    where the bubble is (p - 1) / (micro_batches interleave) of the passes for p stages (Narayanan et al. 2021). Without
    `overlap` everything is added up. The run `fits` if memory's sum is at most 90 % of the GPU's: the rest is the
    allocator's and the exchange's. Raises `ValueError` for an `mfu` outside (0, 1].
    """
    require_numbers(mfu=mfu, tokens=tokens)
    require(0 < mfu <= 1, "mfu", "must be above 0 and at most 1", mfu)
    require(tokens > 0, "tokens", "must be positive", tokens)
    how: _How = {"batch": batch, "context": context, "micro_batches": micro_batches, "recompute": recompute}
    need = memory_of(config, grid, **how, chunked_logits=chunked_logits)
    share = batch * context / (grid.tensor * grid.pipeline * grid.context)
    computing = micro_batches * share * flops_per_token(config, context=context) / (gpu.peak * mfu)
    spent: list[tuple[Behind, float]] = []
    if network is not None:
        computing *= 1 + recompute * recomputed_share(config, context=context)
        spent = [(one.behind, one.seconds(network)) for one in exchanges(config, grid, **how)]
    stages = grid.pipeline if network is not None else 1
    times = _times(computing, spent, (stages - 1) / (micro_batches * grid.interleave), micro_batches, overlap)
    step = grid.data * micro_batches * batch * context
    hours = tokens / step * times.seconds / 3600
    return Plan(
        gpus=grid.gpus,
        memory=need,
        fits=need.total <= 0.9 * gpu.memory,
        computing=computing,
        waiting=times.waiting,
        sending=times.sending,
        bubble=times.bubble,
        seconds=times.seconds,
        tokens_per_second=step / times.seconds,
        tokens_per_step=step,
        steps=-(-int(tokens) // step),
        hours=hours,
        gpu_hours=grid.gpus * hours,
        cost=grid.gpus * hours * gpu.price,
    )


class _Times(NamedTuple):
    waiting: float
    sending: float
    bubble: float
    seconds: float


def _times(
    computing: float, spent: list[tuple[Behind, float]], bubble: float, micro_batches: int, overlap: bool
) -> _Times:
    """The parts of a step, and the whole; `bubble` is a share of the passes."""
    nothing, every, last = (sum(t for b, t in spent if b == kind) for kind in ("nothing", "every pass", "last pass"))
    busy = computing + nothing
    passes = max(busy, every) if overlap else busy + every
    hidden = passes / micro_batches if overlap else 0.0
    return _Times(nothing, every + last, bubble * passes, passes * (1 + bubble) + max(0.0, last - hidden))
