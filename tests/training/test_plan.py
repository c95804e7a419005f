"""The plan of a run against real models (their weights, their FLOPs, what autograd keeps) and published figures."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from transformer_lib import DecoderLM, presets
from transformer_lib.config import AttentionConfig, Experts, Learned, Mlp, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.training.grid import Grid, Link, Network
from transformer_lib.training.plan import (
    Gpu,
    activations_per_token,
    flops_per_token,
    memory,
    memory_of,
    parameters,
    plan,
    recomputed_share,
)

A100 = Gpu(name="A100", peak=312e12, memory=80e9, price=2.0)
TINY = presets.tiny(vocab_size=96, max_length=64)
CONFIGS = {
    "tiny": TINY,
    "gpt2": dataclasses.replace(
        TINY,
        attention=AttentionConfig(num_heads=4, bias=True),
        feedforward=Mlp(d_ff=80),
        positions=Learned(),
        norm=Norm(),
    ),
    "untied": dataclasses.replace(TINY, tie_embeddings=False, attention=AttentionConfig(num_heads=4, num_kv_heads=2)),
    "normed": dataclasses.replace(TINY, attention=AttentionConfig(num_heads=4, qk_norm=True), embedding_norm=True),
    "post": dataclasses.replace(TINY, norm_order="post", segments=3),
    "three biases": dataclasses.replace(TINY, attention=AttentionConfig(num_heads=4, num_kv_heads=2, bias="qkv")),
}


def large(width: int, layers: int, heads: int, vocab: int, feedforward: object, **other: object) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab,
        d_model=width,
        num_layers=layers,
        max_length=8192,
        attention=AttentionConfig(num_heads=heads, **other),
        feedforward=feedforward,
        positions=Rope(),
        norm=Norm(kind="rms"),
        tie_embeddings=False,
    )


GPT3 = dataclasses.replace(large(12288, 96, 96, 50257, Mlp(d_ff=4 * 12288)), max_length=2048)
LLAMA_65B = large(8192, 80, 64, 32000, SwiGlu(d_ff=22016))
LLAMA3_8B = large(4096, 32, 32, 128256, SwiGlu(d_ff=14336), num_kv_heads=8)
LLAMA3_405B = large(16384, 126, 128, 128256, SwiGlu(d_ff=53248), num_kv_heads=8)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_counts_the_weights_of_the_model(name: str) -> None:
    model = DecoderLM(CONFIGS[name])
    assert parameters(CONFIGS[name]).total == sum(weight.numel() for weight in model.parameters())
    assert parameters(CONFIGS[name]).largest_block == sum(weight.numel() for weight in model.blocks[0].parameters())


@pytest.mark.parametrize("name", ["tiny", "gpt2", "untied"])
def test_it_counts_the_flops_of_a_step(name: str) -> None:
    """PyTorch's counter knows no causal mask: it counts T keys for each query, where a causal one sees (T + 1) / 2."""
    config, context = CONFIGS[name], 16
    model = DecoderLM(config)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        model(torch.zeros(2, context, dtype=torch.int64)).sum().backward()
    heads = config.attention.num_heads * config.head_dim
    unseen = 12 * config.num_layers * heads * (context - 1) / 2
    assert counted.get_total_flops() / (2 * context) == flops_per_token(config, context=context) + unseen


@pytest.mark.parametrize("window", [1, 3, 16, 40])
def test_a_window_bounds_the_keys(window: int) -> None:
    config = dataclasses.replace(TINY, attention=AttentionConfig(num_heads=4, window=window))
    seen = sum(min(query + 1, window) for query in range(16)) / 16
    heads = 4 * config.head_dim
    scores = flops_per_token(config, context=16) - 6 * parameters(config).matmul
    assert scores == pytest.approx(12 * config.num_layers * heads * seen)


def test_it_counts_what_autograd_keeps_of_a_block() -> None:
    """Between the lower part of what float32 keeps and twice that: a framework may keep more copies than it must."""
    config = dataclasses.replace(TINY, num_layers=4)
    model, kept = DecoderLM(config), {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    x = torch.randn(2, 32, config.d_model, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        for block in model.blocks:
            x = block(x)
    measured = sum(size for place, size in kept.items() if place not in own) / 64
    estimated = activations_per_token(config, precision="float32")
    assert 0.5 < estimated / measured < 1.5


def test_gpt_3() -> None:
    assert parameters(GPT3).total == pytest.approx(175e9, rel=0.01)
    assert 300e9 * 6 * parameters(GPT3).matmul == pytest.approx(3.14e23, rel=0.01)


def test_llama_3_405b() -> None:
    assert parameters(LLAMA3_405B).total == pytest.approx(405e9, rel=0.01)
    assert 15.6e12 * 6 * parameters(LLAMA3_405B).matmul == pytest.approx(3.8e25, rel=0.01)
    share_of_scores = flops_per_token(LLAMA3_405B, context=8192) / (6 * parameters(LLAMA3_405B).matmul) - 1
    assert 0.03 < share_of_scores < 0.05, "which the published figure leaves out"


def test_llama_65b() -> None:
    """380 tokens a second and GPU on 2,048 A100s are 1.4e12 tokens in 21 days."""
    assert parameters(LLAMA_65B).total == pytest.approx(65.2e9, rel=0.01)
    mfu = 380 * flops_per_token(LLAMA_65B, context=2048) / A100.peak
    assert 0.4 < mfu < 0.6
    found = plan(LLAMA_65B, A100, Grid(shard=2048), tokens=1.4e12, batch=1, context=2048, mfu=mfu, recompute=True)
    assert found.tokens_per_second == pytest.approx(380 * 2048)
    assert found.hours / 24 == pytest.approx(21, rel=0.03)
    assert found.gpu_hours == pytest.approx(2048 * found.hours) and found.cost == pytest.approx(2 * found.gpu_hours)
    assert found.fits and found.tokens_per_step == 2048 * 2048


def test_palm() -> None:
    """540 billion weights, 118 layers of 48 heads of 256, texts of 2,048: 238,300 tokens a second on 6,144 TPU v4.

    Chowdhery et al. (2022, section 4.1 and appendix B) count all keys, and find 46.2 % of 275e12 a chip.
    """
    token = 6 * 540.35e9 + 12 * 118 * 48 * 256 * 2048
    assert 238.3e3 * token / (6144 * 275e12) == pytest.approx(0.462, abs=0.001)
    config = large(18432, 118, 48, 256_000, Mlp(d_ff=4 * 18432), head_dim=256)
    ours = flops_per_token(config, context=2048) - 6 * parameters(config).matmul
    assert ours == pytest.approx(12 * 118 * 48 * 256 * 2049 / 2), "half of the keys, on average"


def test_what_is_computed_again() -> None:
    """PyTorch counts a forward pass without its head."""
    config = dataclasses.replace(TINY, tie_embeddings=True)
    model, context = DecoderLM(config), 16
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        tokens = torch.zeros(1, context, dtype=torch.int64)
        model.head(model.hidden(tokens))
    head = 2 * config.vocab_size * config.d_model * context
    unseen = 4 * config.num_layers * config.attention.num_heads * config.head_dim * (context - 1) / 2 * context
    again = (counted.get_total_flops() - head - unseen) / context
    step = flops_per_token(config, context=context)
    assert recomputed_share(config, context=context) == pytest.approx(again / step)


def network(speed: float) -> Network:
    link = Link(bandwidth=speed)
    return Network(machine=1, inside=link, between=link)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_the_longer_of_computing_and_sending_counts(parallel: str) -> None:
    grid = Grid(replicate=4) if parallel == "ddp" else Grid(shard=4)
    how = {"tokens": 1e6, "batch": 2, "context": 16, "mfu": 0.5, "micro_batches": 3}
    alone = plan(TINY, A100, grid, **how)
    assert alone.sending == alone.bubble == alone.waiting == 0
    assert alone.computing == alone.seconds == pytest.approx(96 * flops_per_token(TINY, context=16) / (312e12 * 0.5))
    fast = plan(TINY, A100, grid, **how, network=network(1e30))
    assert fast.hours == pytest.approx(alone.hours) and fast.computing == alone.computing
    slow = plan(TINY, A100, grid, **how, network=network(1.0))
    count = parameters(TINY)
    once = 3 / 4 * 4 * (2 * count.total if parallel == "ddp" else 3 * count.total - count.embedding - count.rest)
    sending = once if parallel == "ddp" else 3 * once
    assert slow.sending == pytest.approx(sending)
    hidden = alone.computing / 3 if parallel == "ddp" else alone.computing
    assert slow.seconds == pytest.approx(sending + alone.computing - hidden)
    assert slow.tokens_per_second == pytest.approx(4 * 3 * 2 * 16 / slow.seconds)
    summed = plan(TINY, A100, grid, **how, network=network(1.0), overlap=False)
    assert summed.seconds == pytest.approx(sending + alone.computing)
    again = plan(TINY, A100, grid, **how, network=network(1e30), recompute=True)
    assert again.hours / fast.hours == pytest.approx(1 + recomputed_share(TINY, context=16))


def test_a_pipeline_waits_for_its_first_and_last_micro_batches() -> None:
    """By hand: 2 stages and 4 micro-batches, half the model each; a quarter of a pass more than it works."""
    how = {"tokens": 1e6, "batch": 2, "context": 16, "mfu": 0.5, "network": network(1e30)}
    one = plan(TINY, A100, Grid(), **how, micro_batches=4)
    two = plan(TINY, A100, Grid(pipeline=2), **how, micro_batches=4)
    assert two.computing == pytest.approx(one.computing / 2)
    assert two.bubble == pytest.approx(two.computing / 4) and two.seconds == pytest.approx(1.25 * two.computing)
    finer = plan(TINY, A100, Grid(pipeline=2, interleave=2), **how, micro_batches=4)
    assert finer.bubble == pytest.approx(two.bubble / 2)


def test_what_nothing_hides_is_added() -> None:
    how = {"tokens": 1e6, "batch": 2, "context": 16, "mfu": 0.5}
    shared = plan(TINY, A100, Grid(tensor=2), **how, network=network(1e6))
    sums = 4 * TINY.num_layers * 32 * TINY.d_model * 2  # bytes: four sums a block, of bfloat16
    assert shared.waiting == pytest.approx(sums / 1e6) and shared.sending == 0
    assert shared.seconds == pytest.approx(shared.computing + shared.waiting)


# Korthikanti et al. 2022: model FLOPs utilisation with sequence parallelism and selective recomputation, counting all
# keys (tables 3 and 5), and of 530B on 2,240 GPUs (abstract): 8 copies of the 280.
MEGATRON = (  # width, layers, heads; tensor, pipeline, interleave, copies; texts a micro-batch, micro-batches; MFU
    ((6144, 48, 64), (8, 1, 1, 1), (4, 1), 0.415),
    ((12288, 96, 96), (8, 8, 3, 1), (1, 64), 0.514),
    ((20480, 105, 128), (8, 35, 3, 1), (1, 280), 0.560),
    ((25600, 128, 160), (8, 64, 1, 1), (1, 512), 0.563),
    ((20480, 105, 128), (8, 35, 3, 8), (1, 280), 0.542),
)
DGX_A100 = Network(
    machine=8, inside=Link(bandwidth=300e9, latency=2e-6), between=Link(bandwidth=25e9, latency=1e-5), way="ring"
)


def test_one_share_of_the_peak_gives_megatrons_speeds_once_exchange_and_bubble_are_added() -> None:
    """A GPU alone is given 0.6 of its peak in every row; the four large models come out within a tenth.

    The small one has narrow matrices and is promised too much.
    """
    ratios = []
    for sizes, (tensor, pipeline, interleave, copies), (batch, micro), mfu in MEGATRON:
        width, layers, heads = sizes
        config = large(width, layers, heads, 51_200, Mlp(d_ff=4 * width))
        grid = Grid(tensor=tensor, pipeline=pipeline, interleave=interleave, replicate=copies)
        how = {"tokens": 1e9, "batch": batch, "context": 2048, "micro_batches": micro, "network": DGX_A100}
        found = plan(config, A100, grid, **how, mfu=0.6)
        every_key = flops_per_token(config, context=2048) + 12 * layers * width * 2047 / 2
        ratios.append(found.tokens_per_second / grid.gpus * every_key / A100.peak / mfu)
    assert all(0.9 < ratio < 1.1 for ratio in ratios[1:]) and 1.1 < ratios[0] < 1.3, ratios


def test_llama_3_8b_took_longer_than_the_bound() -> None:
    """The model card says 1.3 million hours of an H100 for more than 15e12 tokens of 8,192; the plan is a lower bound.

    The utilisation is a round 0.4, the link a network card of 400 gigabits a second for a whole machine.
    """
    h100 = Gpu(name="H100", peak=989.4e12, memory=80e9, price=2.0)
    how = {"tokens": 15e12, "batch": 1, "context": 8192, "mfu": 0.4, "recompute": True}
    found = plan(LLAMA3_8B, h100, Grid(shard=1024), **how, network=network(50e9))
    assert found.sending > found.computing, "one text a pass does not hide the exchange"
    assert 0.5 < found.gpu_hours / 1.3e6 < 1


def test_sharding_divides_what_ddp_holds_on_every_gpu() -> None:
    def on_each(parallel: str, gpus: int):
        return memory(LLAMA_65B, gpus=gpus, batch=1, context=2048, parallel=parallel)

    one, many = on_each("ddp", 1), on_each("ddp", 1024)
    assert one == many and one.parameters == 4 * parameters(LLAMA_65B).total
    assert one.optimizer == 2 * one.gradients == 2 * one.parameters
    sharded = on_each("fsdp2", 1024)
    for name in ("parameters", "gradients", "optimizer"):
        assert getattr(sharded, name) == pytest.approx(getattr(one, name) / 1024)
    assert sharded.activations == one.activations and sharded.gathered > 0 == one.gathered
    assert sharded.total < 0.1 * one.total


@pytest.mark.parametrize(
    "change, message",
    [
        ({"mfu": 0.0}, "mfu must be above 0 and at most 1, got 0.0"),
        ({"mfu": 1.5}, "mfu must be above 0 and at most 1, got 1.5"),
        ({"tokens": 0.0}, "tokens must be positive, got 0.0"),
        ({"micro_batches": 0}, "micro_batches must be .*at least 1.*, got 0"),
        ({"context": -1}, "context must be .*at least 1.*, got -1"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    given = {"tokens": 1e9, "batch": 4, "context": 64, "mfu": 0.4} | change
    with pytest.raises(ValueError, match=message):
        plan(TINY, A100, Grid(shard=8), **given)
    with pytest.raises(ValueError, match=r"peak must be positive, got 0.0"):
        Gpu(name="none", peak=0.0, memory=1.0, price=1.0)


def test_the_gathered_weights_of_an_untied_model_by_hand() -> None:
    """d_model 8, 3 layers: a block has 64 + 2 * 4 * 8 + 64 + 3 * 8 * 16 + 2 * 8 = 592 weights, of which two are there.

    Outside the blocks are two tables of 10 * 8 and a norm of 8: 168.
    """
    config = ModelConfig(
        vocab_size=10,
        d_model=8,
        num_layers=3,
        max_length=16,
        attention=AttentionConfig(num_heads=2, num_kv_heads=1),
        feedforward=SwiGlu(d_ff=16),
        positions=Rope(),
        norm=Norm(kind="rms"),
        tie_embeddings=False,
    )
    found = memory(config, gpus=4, batch=1, context=16, parallel="fsdp2")
    assert found.gathered == 4 * (168 + 2 * 592)
    single = memory(dataclasses.replace(config, num_layers=1), gpus=4, batch=1, context=16, parallel="fsdp2")
    assert single.gathered == 4 * (168 + 592)
    assert found.parameters == found.gradients == found.optimizer / 2 == 168 + 3 * 592


def test_every_way_of_sharing_divides_what_it_can() -> None:
    """Against one GPU with all of it: LLaMA 65B, 8 texts of 2,048 tokens in 4 micro-batches of 2."""
    how = {"batch": 2, "context": 2048, "micro_batches": 4}
    whole = memory_of(LLAMA_65B, Grid(), **how)
    for grid, states, activations in (
        (Grid(replicate=4), 1, 1),
        (Grid(shard=4), 1 / 4, 1),
        (Grid(shard=4, kept="micro-batch"), 1 / 4, 1),
        (Grid(replicate=2, shard=2), 1 / 2, 1),
        (Grid(tensor=4), 1 / 4, 1 / 4),
        (Grid(context=4), 1, 1 / 4),
        (Grid(shard=2, context=2), 1 / 4, 1 / 2),
        (Grid(pipeline=4), 1 / 4, 1),  # the first stage holds four micro-batches of a quarter of the layers
        (Grid(pipeline=8), 1 / 8, 1 / 2),
    ):
        found = memory_of(LLAMA_65B, grid, **how)
        assert found.optimizer == pytest.approx(whole.optimizer * states, rel=0.03), grid
        assert found.gradients == found.parameters == found.optimizer / 2
        assert found.activations == pytest.approx(whole.activations * activations)
        assert (found.gathered > 0) == (grid.shard > 1)


def test_what_is_gathered_and_kept_by_hand() -> None:
    count = parameters(LLAMA_65B)
    how = {"batch": 1, "context": 16}
    half = memory_of(LLAMA_65B, Grid(shard=4, numbers="bfloat16"), **how)
    assert half.gathered == 2 * (count.embedding + count.rest + 2 * count.largest_block)
    kept = memory_of(LLAMA_65B, Grid(shard=4, kept="micro-batch"), **how)
    assert kept.gathered == 4 * count.total and kept.gradients == count.total
    step = memory_of(LLAMA_65B, Grid(shard=4, kept="step", numbers="bfloat16"), **how)
    assert step.gathered == 2 * count.total and step.gradients == 4 * count.total and step.parameters == count.total


def test_experts_are_divided_and_the_rest_is_not() -> None:
    config = dataclasses.replace(TINY, feedforward=Experts(num_experts=8, top_k=2, d_ff=32))
    count = parameters(config)
    found = memory_of(config, Grid(replicate=4, expert=4), batch=1, context=16)
    assert found.parameters == 4 * (count.total - count.experts + count.experts / 4)
    sharded = memory_of(config, Grid(shard=8, expert=4), batch=1, context=16)
    assert sharded.parameters == 4 * ((count.total - count.experts) / 8 + count.experts / 4 / 2)
