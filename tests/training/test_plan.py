"""The plan of a run against real models (their weights, their FLOPs, what autograd keeps) and published figures."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from transformer_lib import DecoderLM, presets
from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.training.plan import (
    Gpu,
    activations_per_token,
    bytes_sent,
    flops_per_token,
    memory,
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
    found = plan(LLAMA_65B, A100, gpus=2048, tokens=1.4e12, batch=1, context=2048, mfu=mfu, recompute=True)
    assert found.tokens_per_second == pytest.approx(380 * 2048)
    assert found.hours / 24 == pytest.approx(21, rel=0.03)
    assert found.gpu_hours == pytest.approx(2048 * found.hours) and found.cost == pytest.approx(2 * found.gpu_hours)
    assert found.fits and found.tokens_per_step == 2048 * 2048


def test_what_is_computed_again_and_what_is_sent_by_hand() -> None:
    """Each number is counted as often as it travels, and PyTorch counts a forward pass without its head."""
    config = dataclasses.replace(TINY, tie_embeddings=True)
    count = parameters(config)
    assert bytes_sent(config, gpus=1, parallel="ddp") == 0 == bytes_sent(config, gpus=1, parallel="fsdp2")
    assert bytes_sent(config, gpus=2, parallel="ddp") == 4 * count.total
    assert bytes_sent(config, gpus=4, parallel="fsdp2") == pytest.approx(3 * (count.total + count.blocks / 2) * 2)
    model, context = DecoderLM(config), 16
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        tokens = torch.zeros(1, context, dtype=torch.int64)
        model.head(model.hidden(tokens))
    head = 2 * config.vocab_size * config.d_model * context
    unseen = 4 * config.num_layers * config.attention.num_heads * config.head_dim * (context - 1) / 2 * context
    again = (counted.get_total_flops() - head - unseen) / context
    step = flops_per_token(config, context=context)
    assert recomputed_share(config, context=context) == pytest.approx(again / step)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_the_longer_of_computing_and_sending_counts(parallel: str) -> None:
    how = {"gpus": 4, "tokens": 1e6, "batch": 2, "context": 16, "mfu": 0.5, "parallel": parallel, "accumulate": 3}
    alone = plan(TINY, A100, **how)
    assert alone.sending == 0
    fast = plan(TINY, A100, **how, link=1e30)
    assert fast.hours == pytest.approx(alone.hours) and fast.computing == alone.computing
    slow = plan(TINY, A100, **how, link=1.0)
    exchanges = 1 if parallel == "ddp" else 3
    seconds = exchanges * bytes_sent(TINY, gpus=4, parallel=parallel) + (3 - exchanges) * alone.computing / 3
    assert slow.sending == pytest.approx(exchanges * bytes_sent(TINY, gpus=4, parallel=parallel))
    assert slow.tokens_per_second == pytest.approx(4 * 3 * 2 * 16 / seconds)
    again = plan(TINY, A100, **how, link=1e30, recompute=True)
    assert again.hours / fast.hours == pytest.approx(1 + recomputed_share(TINY, context=16))


def test_llama_3_8b_took_longer_than_the_bound() -> None:
    """The model card says 1.3 million hours of an H100 for more than 15e12 tokens of 8,192; the plan is a lower bound.

    The utilisation is a round 0.4, the link a network card of 400 gigabits a second.
    """
    h100 = Gpu(name="H100", peak=989.4e12, memory=80e9, price=2.0)
    how = {"gpus": 1024, "tokens": 15e12, "batch": 1, "context": 8192, "mfu": 0.4, "recompute": True}
    found = plan(LLAMA3_8B, h100, **how, link=50e9)
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
        ({"gpus": 0}, "gpus must be .*at least 1.*, got 0"),
        ({"context": -1}, "context must be .*at least 1.*, got -1"),
        ({"link": 0.0}, "link must be positive, got 0.0"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    given = {"gpus": 8, "tokens": 1e9, "batch": 4, "context": 64, "mfu": 0.4} | change
    with pytest.raises(ValueError, match=message):
        plan(TINY, A100, **given)
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
