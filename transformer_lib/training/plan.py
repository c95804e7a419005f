"""What a training run will need, before it is started: memory of each GPU, tokens per second, hours and cost.

Parameters and floating-point operations follow from the `ModelConfig` alone (`counts.py`). Model FLOPs utilisation
(MFU, Chowdhery et al. 2022) is the share of a GPU's peak that these FLOPs come to; it is measured (`bench/`), never
computed, and recomputation does not count.

The tests hold this to published figures: GPT-3's 3.14e23 FLOPs (Brown et al. 2020, table D.1), Llama 3 405B's 3.8e25
(Grattafiori et al. 2024), LLaMA 65B's 21 days at 380 tokens per second and GPU on 2,048 A100s (Touvron et al. 2023).

A utilisation that one GPU reached alone says nothing of what many lose to their exchange. Given the speed of the link,
the plan adds both what is computed again and what is sent: within a pass the two overlap, so the longer one counts.

Left out: the latency of an exchange, which grows with the number of GPUs, waiting for the slowest of them, the memory
that an allocator wastes, tensor and pipeline parallelism, failures, and evaluation. So the days are a lower bound.
"""

import dataclasses
from dataclasses import dataclass

from transformer_lib.config import ModelConfig, require, require_positive
from transformer_lib.contract import checked
from transformer_lib.training.config import Precision
from transformer_lib.training.counts import BFLOAT16 as BFLOAT16
from transformer_lib.training.counts import FLOAT32 as FLOAT32
from transformer_lib.training.counts import Parameters as Parameters
from transformer_lib.training.counts import activations_per_token as activations_per_token
from transformer_lib.training.counts import flops_per_token as flops_per_token
from transformer_lib.training.counts import parameters as parameters
from transformer_lib.training.counts import recomputed_share as recomputed_share
from transformer_lib.training.parallel import Parallel


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

    `computing` and `sending` are the seconds that a step's passes compute and that its exchanges take; they overlap.
    `sending` is 0 where no link was given.
    """

    gpus: int
    memory: Memory
    fits: bool
    computing: float
    sending: float
    tokens_per_second: float
    tokens_per_step: int
    steps: int
    hours: float
    gpu_hours: float
    cost: float


@checked
def bytes_sent(config: ModelConfig, *, gpus: int, parallel: Parallel) -> float:
    """What each GPU sends: for "ddp" once a step, for "fsdp2" with every pass, at 4 bytes a number.

    "ddp" sums the gradients, which a ring does in two rounds of the vector (`all-reduce`), each of which sends
    (n - 1) / n of it. "fsdp2" gathers a block's weights forward and backward and scatters the sum of its gradients;
    embedding and head stay gathered within a pass.
    """
    require_positive(gpus=gpus)
    require(parallel in ("ddp", "fsdp2"), "parallel", "must be 'ddp' or 'fsdp2'", parallel)
    count = parameters(config)
    rounds = 2 * count.total if parallel == "ddp" else 3 * count.blocks + 2 * (count.embedding + count.rest)
    return FLOAT32 * rounds * (gpus - 1) / gpus


@checked
def memory(
    config: ModelConfig,
    *,
    gpus: int,
    batch: int,
    context: int,
    parallel: Parallel,
    precision: Precision = "bfloat16",
    recompute: bool = False,
    chunked_logits: bool = True,
) -> Memory:
    """On each of `gpus` with `batch` texts of `context` tokens at a time; AdamW, weights and moments in float32.

    "ddp" holds all of the weights, gradients and moments, and its buckets are views of the gradients. "fsdp2" holds
    1/gpus of each, and gathered are the embedding with the head, for the whole step, and two blocks: the one that runs
    and the next. `recompute` keeps each block's input, and all activations of one block (`recompute.py`);
    `chunked_logits` keeps none of the logits but one chunk (`chunked.py`), which is left out here.
    """
    require_positive(gpus=gpus, batch=batch, context=context)
    require(parallel in ("ddp", "fsdp2"), "parallel", "must be 'ddp' or 'fsdp2'", parallel)
    count = parameters(config)
    share = 1 if parallel == "ddp" else gpus
    held = count.total / share * FLOAT32
    outside = count.embedding + count.rest
    gathered = 0.0 if share == 1 else float((outside + min(2, config.num_layers) * count.largest_block) * FLOAT32)
    size = BFLOAT16 if precision == "bfloat16" else FLOAT32
    tokens = batch * context
    return Memory(
        parameters=held,
        gradients=held,
        optimizer=2 * held,
        gathered=gathered,
        activations=float(tokens * activations_per_token(config, precision=precision, recompute=recompute)),
        logits=0.0 if chunked_logits else float(tokens * config.vocab_size * (size + 2 * FLOAT32)),
    )


@checked
def plan(
    config: ModelConfig,
    gpu: Gpu,
    *,
    gpus: int,
    tokens: float,
    batch: int,
    context: int,
    mfu: float,
    parallel: Parallel = "fsdp2",
    accumulate: int = 1,
    recompute: bool = False,
    chunked_logits: bool = True,
    link: float | None = None,
) -> Plan:
    """A run over `tokens` tokens in bfloat16 on `gpus` GPUs, each with `accumulate` times `batch` texts a step.

    Without `link`, `mfu` must come from a run like the planned one, and nothing is added to what it says. With `link`,
    the bytes that a GPU sends in a second, `mfu` is what one GPU reaches alone, with nothing recomputed. Then a pass
    takes the longer of computing, recomputation included, and sending; "ddp" sends in the last pass of a step alone.
    The run `fits` if memory's sum is at most 90 % of the GPU's: the rest is the allocator's and the exchange's. Raises
    `ValueError` for an `mfu` outside (0, 1].
    """
    require(0 < mfu <= 1, "mfu", "must be above 0 and at most 1", mfu)
    require(tokens > 0, "tokens", "must be positive", tokens)
    require(link is None or link > 0, "link", "must be positive", link)
    require_positive(accumulate=accumulate)
    need = memory(
        config,
        gpus=gpus,
        batch=batch,
        context=context,
        parallel=parallel,
        recompute=recompute,
        chunked_logits=chunked_logits,
    )
    computing = batch * context * flops_per_token(config, context=context) / (gpu.peak * mfu)
    sending = 0.0
    if link is not None:
        computing *= 1 + recompute * recomputed_share(config, context=context)
        sending = bytes_sent(config, gpus=gpus, parallel=parallel) / link
    exchanges = accumulate if parallel == "fsdp2" else 1
    seconds = (accumulate - exchanges) * computing + exchanges * max(computing, sending)
    step = gpus * accumulate * batch * context
    speed = step / seconds
    hours = tokens / speed / 3600
    return Plan(
        gpus=gpus,
        memory=need,
        fits=need.total <= 0.9 * gpu.memory,
        computing=accumulate * computing,
        sending=exchanges * sending,
        tokens_per_second=speed,
        tokens_per_step=step,
        steps=-(-int(tokens) // step),
        hours=hours,
        gpu_hours=gpus * hours,
        cost=gpus * hours * gpu.price,
    )
