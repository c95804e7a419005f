"""What follows from a config by counting: weights, floating-point operations of a token, bytes kept for the way back.

A trained weight takes part in one multiplication and addition per token forward, and in two backward, so a token costs
6 FLOPs for each weight of a matrix (Kaplan et al. 2020), the head's included and a table's lookup not, and 12 w h d_k
for the scores and sums of a layer's h heads over the w keys that a query sees on average. Of experts, those count that
a token chooses.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import torch

from transformer_lib.config import (
    AttentionConfig,
    Experts,
    GatedDelta,
    LatentAttention,
    Learned,
    LinearAttention,
    Mlp,
    ModelConfig,
    require_positive,
)
from transformer_lib.contract import checked
from transformer_lib.nn.block import Block
from transformer_lib.training.config import Precision

FLOAT32, BFLOAT16 = 4, 2  # bytes


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """How many weights a decoder has, by place; `matmul` are those that every token is multiplied with.

    `experts` are those of the blocks that only some tokens meet.
    """

    embedding: int
    blocks: int
    experts: int
    largest_block: int
    rest: int
    matmul: int

    @property
    def total(self) -> int:
        """All of them, a tied one once."""
        return self.embedding + self.blocks + self.rest


@checked
def parameters(config: ModelConfig) -> Parameters:
    """The weights of a `DecoderLM` of this config."""
    width = config.d_model
    blocks = [(_weights(layer), count) for layer, count in config.tally]
    table = config.vocab_size * width
    positions = config.max_length * width * isinstance(config.positions, Learned)
    norm = width * (2 if config.norm.kind == "layer" and config.norm.bias else 1)
    norms = norm * ((not config.ends_normed) + config.embedding_norm)
    return Parameters(
        embedding=table + positions + config.segments * width,
        blocks=sum(count * sum(map(math.prod, shapes)) for shapes, count in blocks),
        experts=sum(count * math.prod(shape) for shapes, count in blocks for shape in shapes if _of_experts(shape)),
        largest_block=max(sum(map(math.prod, shapes)) for shapes, _ in blocks),
        rest=norms + table * (not config.tie_embeddings) + config.vocab_size * config.head_bias,
        matmul=sum(count * _active(layer) for layer, count in config.tally) + table,
    )


def _weights(layer: ModelConfig) -> list[tuple[int, ...]]:
    """The shapes of a block's weights, read off a block without memory."""
    with torch.device("meta"):
        return [tuple(weight.shape) for weight in Block(layer).parameters()]


def _of_experts(shape: tuple[int, ...]) -> bool:
    """The matrices of a layer's experts are stacked."""
    return len(shape) == 3


def _active(layer: ModelConfig) -> int:
    """Those of its matrices that a token meets: of the experts, whose matrices are stacked, as many as it chooses."""
    part = layer.feedforward
    share = Fraction(part.top_k, part.num_experts) if isinstance(part, Experts) else 1
    return int(
        sum(math.prod(shape) * (share if _of_experts(shape) else 1) for shape in _weights(layer) if len(shape) > 1)
    )


@checked
def flops_per_token(config: ModelConfig, *, context: int) -> float:
    """Forward and backward, 6 N + 12 h d_k w for each layer: w is the mean number of keys that a query sees.

    Scores and sums are two products of 2 w h d_k FLOPs each, three times with the backward pass. Queries see on average
    (T + 1) / 2 keys of a causal context of T; published numbers often count T.
    """
    require_positive(context=context)
    looking = 0.0
    for layer, count in config.tally:
        looking += count * _looking(layer, context)
    return 6 * parameters(config).matmul + looking


def _looking(layer: ModelConfig, context: int) -> float:
    """FLOPs of a token in what the positions bring each other, beside the projections."""
    window = getattr(layer.attention, "window", None) or context
    window = min(window, context)
    seen = window - window * (window - 1) / (2 * context)  # the first `window` queries see 1, 2, ...; the others all
    match layer.attention:
        case AttentionConfig(num_heads=heads):
            return 12 * heads * layer.head_dim * seen
        case LatentAttention() as latent:  # expanded, as in training
            return 6 * latent.num_heads * (latent.head_dim + latent.rope_dim + latent.value_dim) * seen
        case GatedDelta() as delta:  # as a recurrence: the memory is read twice and written once
            return 18 * delta.num_heads * delta.key_dim * delta.value_dim
        case LinearAttention() as linear:  # read once and written once
            head = linear.head_dim or layer.d_model // linear.num_heads
            return 12 * linear.num_heads * head * (head + 1)


@checked
def recomputed_share(config: ModelConfig, *, context: int) -> float:
    """What recomputation adds to the FLOPs of a step, as a share of them: every block's forward pass once more.

    A forward pass is a third of a step, and the head is not computed again, so this is a little below 1/3.
    """
    step = flops_per_token(config, context=context)
    head = 6 * config.vocab_size * config.d_model
    return (step - head) / 3 / step


@checked
def activations_per_token(config: ModelConfig, *, precision: Precision = "bfloat16", recompute: bool = False) -> int:
    """Bytes kept for the backward pass of all blocks, without the score matrix: attention is fused (Dao et al. 2022).

    The residual stream stays in float32 under autocast: a pre-norm block keeps it twice, with its normalised copy in
    float32 and as the matrices read it. Added are queries, keys and values, attention's output, and what the
    feed-forward network keeps: before and after the activation, and with a gate the product. An upper part of this, as
    Korthikanti et al. (2022) count it, depends on which copies a framework keeps.
    """
    blocks = [(_kept_of(layer, precision), count) for layer, count in config.tally]
    if recompute:
        return config.num_layers * config.d_model * FLOAT32 + max(block for block, _ in blocks)
    return sum(count * block for block, count in blocks)


def _kept_of(layer: ModelConfig, precision: Precision) -> int:
    size = BFLOAT16 if precision == "bfloat16" else FLOAT32
    width = layer.d_model
    match layer.attention:
        case AttentionConfig(num_heads=heads, kv_heads=kv_heads):
            mixed = 2 * (heads + kv_heads) * layer.head_dim
        case LatentAttention() as latent:
            mixed = latent.num_heads * (2 * (latent.head_dim + latent.rope_dim) + 2 * latent.value_dim) + latent.kv_rank
        case GatedDelta() as delta:  # before and after the convolution, the gate, and what is read
            mixed = 4 * delta.key_heads * delta.key_dim + 4 * delta.num_heads * delta.value_dim
        case LinearAttention() as linear:
            mixed = 4 * linear.num_heads * (linear.head_dim or layer.d_model // linear.num_heads)
    cast = size if precision == "bfloat16" else 0
    streams = 2 * width * (2 * FLOAT32 + cast)
    match layer.feedforward:
        case Mlp(d_ff=d_ff):
            hidden = 2 * d_ff
        case Experts(top_k=chosen, d_ff=d_ff, shared=shared):
            hidden = 4 * (chosen * d_ff + (shared.d_ff if shared else 0))
        case part:
            hidden = 4 * part.d_ff
    return streams + (mixed + hidden) * size
