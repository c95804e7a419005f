"""What does not fit a layer is refused at its door: widths, types, settings, and what no memory could hold."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.oracles import CONFIG, integers, normal, rejects
from transformer_lib.config import AttentionConfig, Mlp, NtkScaling, SwiGlu
from transformer_lib.nn import (
    Attention,
    Block,
    Dropout,
    FeedForward,
    FixedCache,
    GatedFeedForward,
    KeyValues,
    KVCache,
    LayerNorm,
    LearnedPositions,
    Relations,
    RMSNorm,
    RollingCache,
    alibi_bias,
    alibi_slopes,
    apply_rope,
    causal_mask,
    dropout,
    init_weights,
    layer_norm,
    rms_norm,
    rope_rotation,
    sinusoidal,
)

WIDTH = CONFIG.d_model
HEADS = AttentionConfig(num_heads=4, num_kv_heads=2)
PLACES = torch.arange(3)[None]


@pytest.mark.parametrize(
    "layer",
    [
        *(LayerNorm(WIDTH), RMSNorm(WIDTH), FeedForward(WIDTH, Mlp(d_ff=8)), GatedFeedForward(WIDTH, SwiGlu(d_ff=8))),
        *(Attention(WIDTH, HEADS), Block(CONFIG), Attention(WIDTH, HEADS).keys_values),
    ],
    ids=lambda layer: getattr(layer, "__name__", type(layer).__name__),
)
def test_vectors_of_another_width_or_type(layer: Callable[[Tensor], Any]) -> None:
    layer(torch.zeros(2, 3, WIDTH))
    with rejects(f"vectors of {WIDTH} numbers", f"(2, 3, {WIDTH + 1})"):
        layer(torch.zeros(2, 3, WIDTH + 1))
    with rejects("torch.float32", "torch.float64"):
        layer(torch.zeros(2, 3, WIDTH).double())
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.zeros(2, 3, WIDTH).bfloat16())


def test_context_rotation_and_cache_of_another_shape() -> None:
    attention, x = Attention(WIDTH, HEADS), torch.zeros(2, 3, WIDTH)
    for shape in ((1, 2, 5, 4), (2, 4, 5, 4), (2, 2, 5, 8)):
        with rejects("k", "batch, heads, head_dim (2, 2, 4)", str(shape)):
            attention(x, context=KeyValues(torch.zeros(shape), torch.zeros(shape)))
    with pytest.raises(TypeError, match="v must be a Tensor, got None"):
        attention(x, context=attention.keys_values(x)._replace(v=None))
    for time, head_dim in ((4, 4), (3, 8)):
        with rejects("cos", "(2, 1, 3, 2)"):
            attention(x, rotation=rope_rotation(torch.arange(time)[None], head_dim))
        with rejects("cos", "(2, 1, 3, 2)"):
            apply_rope(torch.zeros(2, 4, 3, 4), rope_rotation(torch.arange(time)[None], head_dim))
    with pytest.raises(TypeError, match="cos must be a Tensor, got None"):
        Block(CONFIG)(x, relations=Relations(None, None, rope_rotation(PLACES, 4)._replace(cos=None)))
    cache = KVCache(CONFIG, 2, 8)
    with rejects("k", "open slots, (2, 2, 0, 4)", "(2, 2, 3, 4)"):
        attention(x, cache=cache.layer(0))
    with pytest.raises(TypeError, match="cache must be a KVCache, got None"):
        attention(x, cache=cache.layer(0)._replace(cache=None))
    with rejects("bias", "broadcast", "(2, 4, 3, 3)", "(1, 3, 3, 3)"):
        attention(x, bias=torch.zeros(1, 3, 3, 3))


@pytest.mark.parametrize("kind", [KVCache, FixedCache])
def test_what_is_written_into_a_cache_fits_its_open_slots(kind: type[KVCache]) -> None:
    cache, k = kind(CONFIG, 2, 8), torch.zeros(2, 2, 3, 4)
    with rejects("k", "(2, 2, 0, 4)", "(2, 2, 3, 4)"):
        cache.write(0, k, k)
    cache.extend(PLACES, None, batch=2, plain=True)
    cache.write(1, k, k)
    for wrong in (k[:, :, :2], k[:, :1], k[:1], k[..., :2]):
        with rejects("k", "(2, 2, 3, 4)", str(tuple(wrong.shape))):
            cache.write(0, wrong, wrong)
    with rejects("k", "torch.float32", "torch.float64"):
        cache.write(0, k.double(), k)
    for layer in (-1, 2):
        with rejects("index", "one of 2 layers", str(layer)):
            cache.write(layer, k, k)
        with rejects("index", "one of 2 layers", str(layer)):
            cache.layer(layer)
    for row in (-1, 2):
        with rejects("rows", "below the batch of 2", str(row)):
            cache.select(torch.tensor([0, row]))


@pytest.mark.parametrize("sizes", [(2, 99_999_999_999), (99_999_999_999, 2), (2**40, 2**40), (2**62, 2**62)])
def test_a_cache_that_no_memory_could_hold(sizes: tuple[int, int]) -> None:
    for build in (KVCache, FixedCache):
        with rejects("batch and max_length", "GB of memory of cpu", str(sizes[1])):
            build(CONFIG, *sizes)
    with rejects("batch and max_length", "GB of memory of cpu"):
        RollingCache(CONFIG, sizes[0], window=sizes[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "foo"}, ("device", "foo")),
        ({"device": ""}, ("device", "''")),
        ({"dtype": torch.int64}, ("dtype", "floating-point", "int64")),
    ],
)
def test_a_cache_of_no_such_type_or_device(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with rejects(*words):
        KVCache(CONFIG, 1, 4, **options)


HUGE = 2**40


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: alibi_slopes(2**31), ("heads", "at most 65536", "2147483648")),
        (lambda: alibi_bias(PLACES, PLACES, 2**31), ("heads", "at most 65536", "2147483648")),
        (lambda: alibi_bias(PLACES, PLACES, 0), ("heads", "at least 1", "0")),
        (lambda: alibi_bias(PLACES, PLACES, 2, dtype=torch.int64), ("dtype", "floating-point", "int64")),
        (lambda: sinusoidal(PLACES, HUGE), ("d_model", "GB of memory", str(HUGE))),
        (lambda: sinusoidal(PLACES, 0), ("d_model", "at least 1", "0")),
        (lambda: sinusoidal(PLACES, 7), ("d_model", "even", "7")),
        (lambda: sinusoidal(PLACES, 8, base=0.5), ("base", "greater than 1", "0.5")),
        (lambda: sinusoidal(PLACES, 8, base=1e308), ("base", "at most 1e+30", "1e+308")),
        (lambda: rope_rotation(PLACES, 8, theta=math.inf), ("theta", "finite", "inf")),
        (lambda: rope_rotation(PLACES, 8, dtype=torch.int32), ("dtype", "floating-point", "int32")),
        (
            lambda: rope_rotation(PLACES, 2, scaling=NtkScaling(factor=2.0, original_length=8)),
            ("head_dim", "above 2", "2"),
        ),
        (lambda: LearnedPositions(HUGE, HUGE), ("max_length and d_model", "GB of memory")),
        (lambda: LearnedPositions(4, 8)(PLACES.to(torch.int16)), ("positions", "int64 or int32", "int16")),
        (lambda: layer_norm(normal(2, 4), normal(4), normal(4), eps=0.0), ("eps", "at least 1e-30", "0.0")),
        (lambda: rms_norm(normal(2, 4), normal(4), eps=-1.0), ("eps", "at least 1e-30", "-1.0")),
        (lambda: rms_norm(normal(2, 4), normal(4), eps=math.inf), ("eps", "finite", "inf")),
        (lambda: LayerNorm(HUGE), ("width", "GB of memory", str(HUGE))),
        (lambda: FeedForward(HUGE, Mlp(d_ff=2**31 - 1)), ("d_model and d_ff", "GB of memory")),
        (lambda: Attention(HUGE, HEADS), ("d_model and config", "GB of memory")),
        (lambda: dropout(normal(2), -1.0), ("p", "at least 0 and below 1", "-1.0")),
        (lambda: dropout(normal(2), 1.0), ("p", "at least 0 and below 1", "1.0")),
        (lambda: Dropout(math.nan), ("p", "NaN", "nan")),
        (lambda: causal_mask(PLACES, PLACES, window=0), ("window", "at least 1", "0")),
        (lambda: init_weights(Block(CONFIG), CONFIG, std=-1.0), ("std", "above 0", "-1.0")),
    ],
)
def test_wrong_settings(call: Callable[[], Any], words: tuple[str, ...]) -> None:
    with rejects(*words):
        call()


def test_tokens_of_one_call_are_on_one_device() -> None:
    with rejects("key_positions", "device", "cpu", "meta"):
        causal_mask(PLACES, PLACES.to("meta"))
    with rejects("x", "device", "cpu", "meta"):
        LayerNorm(4)(torch.zeros(2, 4, device="meta"))
    assert integers(3, 2).device.type == "cpu"
