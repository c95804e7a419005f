"""The explicit and the fused path against a loop in NumPy and against PyTorch's own kernel, in float64."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.oracles import bits, close, normal, rejects
from transformer_lib.nn import attend, attend_explicit, attention_weights

QUERIES = 5
PATHS = pytest.mark.parametrize("path", [attend, attend_explicit], ids=["fused", "explicit"])
HEADS = pytest.mark.parametrize("heads, kv_heads", [(1, 1), (4, 4), (6, 2), (4, 1)])
OPTIONS: dict[str, Callable[[int, int], dict[str, Any]]] = {  # from the numbers of heads and of keys
    "plain": lambda h, k: {},
    "scale": lambda h, k: {"scale": 0.7},
    "mask": lambda h, k: {"mask": bits(2, 1, QUERIES, k, seed=1)},
    "mask per head": lambda h, k: {"mask": bits(1, h, QUERIES, k, seed=2)},
    "padding": lambda h, k: {"mask": bits(2, 1, 1, k, seed=3)},
    "bias": lambda h, k: {"bias": normal(2, h, QUERIES, k, seed=4)},
    "shared bias": lambda h, k: {"bias": normal(1, 1, 1, k, seed=5)},
    "mask and bias": lambda h, k: {"mask": bits(2, 1, QUERIES, k, seed=6, p=0.3), "bias": normal(1, h, QUERIES, k)},
    "causal": lambda h, k: {"mask": "causal"},
    "causal and bias": lambda h, k: {"mask": "causal", "bias": normal(1, h, QUERIES, k), "scale": 0.3},
    "nothing allowed": lambda h, k: {"mask": torch.zeros(1, 1, QUERIES, k, dtype=torch.bool)},
}
EVERY_OPTION = pytest.mark.parametrize("option", OPTIONS)


def example(option: str, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    keys = QUERIES if "causal" in option else 7
    q = normal(2, heads, QUERIES, 8, seed=10)
    k, v = normal(2, kv_heads, keys, 8, seed=11), normal(2, kv_heads, keys, 8, seed=12)
    return q, k, v, OPTIONS[option](heads, keys)


def written_out(q: Tensor, k: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The mask and the bias as whole (batch, heads, query, key) tensors, whatever short form the options use."""
    shape = (*q.shape[:3], k.shape[2])
    mask = options.get("mask", torch.ones(1, 1, 1, 1, dtype=torch.bool))
    if isinstance(mask, str):
        mask = torch.tensor([[[[key <= query for key in range(shape[3])] for query in range(shape[2])]]])
    return mask.expand(shape), options.get("bias", q.new_zeros(1, 1, 1, 1)).expand(shape)


def loop(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Weights and output, one query at a time, over the keys that it may see."""
    mask, bias = (part.numpy() for part in written_out(q, k, options))
    group, scale = q.shape[1] // k.shape[1], options.get("scale", q.shape[-1] ** -0.5)
    queries, keys, values = q.numpy(), k.numpy(), v.numpy()
    weights, out = np.zeros(mask.shape), np.zeros(q.shape)
    for b, h, i in np.ndindex(*q.shape[:3]):
        seen = np.flatnonzero(mask[b, h, i])
        if len(seen):
            scores = np.exp(scale * keys[b, h // group, seen] @ queries[b, h, i] + bias[b, h, i, seen])
            weights[b, h, i, seen] = scores / scores.sum()
            out[b, h, i] = weights[b, h, i] @ values[b, h // group]
    return torch.from_numpy(weights), torch.from_numpy(out)


def torch_kernel(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
    mask, bias = written_out(q, k, options)
    k, v = (part.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for part in (k, v))
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias.masked_fill(~mask, -torch.inf), scale=options.get("scale")
        )


@EVERY_OPTION
@HEADS
def test_the_numbers_are_those_of_a_loop(option: str, heads: int, kv_heads: int) -> None:
    q, k, v, options = example(option, heads, kv_heads)
    weights, out = loop(q, k, v, options)
    close(attention_weights(q, k, **options), weights)
    close(attend_explicit(q, k, v, **options), out)
    close(attend(q, k, v, **options), out)


@PATHS
@EVERY_OPTION
@HEADS
def test_output_and_gradients_are_those_of_torch(
    path: Callable[..., Tensor], option: str, heads: int, kv_heads: int
) -> None:
    *inputs, options = example(option, heads, kv_heads)
    inputs = [x.requires_grad_() for x in inputs]
    mine, theirs = path(*inputs, **options), torch_kernel(*inputs, options)
    close(mine, theirs)
    weighing = normal(*mine.shape, seed=9)
    pairs = zip(torch.autograd.grad(mine, inputs, weighing), torch.autograd.grad(theirs, inputs, weighing), strict=True)
    for name, (found, expected) in zip("qkv", pairs, strict=True):
        assert found.isfinite().all()
        close(found, expected, f"gradient of {name}")


@pytest.mark.parametrize("option", ["plain", "mask", "bias"])
@HEADS
def test_a_step_of_decoding_in_bfloat16_rounds_its_output_only(heads: int, kv_heads: int, option: str) -> None:
    q, k, v = (
        normal(2, n, time, 8, seed=n + time).bfloat16() for n, time in ((heads, 1), (kv_heads, 70), (kv_heads, 70))
    )
    mask = bits(2, 1, 1, 70, seed=1) if option == "mask" else None
    bias = normal(1, heads, 1, 70, seed=2).bfloat16() if option == "bias" else None
    found = attend(q, k, v, mask=mask, bias=bias)
    wide = None if bias is None else bias.double()
    exact = attend_explicit(q.double(), k.double(), v.double(), mask=mask, bias=wide)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)  # half of the last of 8 bits


@PATHS
@given(seed=st.integers(0, 2**32), biased=st.booleans())
def test_a_masked_key_has_no_influence_and_no_gradient(path: Callable[..., Tensor], seed: int, biased: bool) -> None:
    q, k, v = (normal(2, 2, 6, 4, seed=seed + i) for i in range(3))
    mask = bits(2, 1, 6, 6, seed=seed)
    mask[:, :, :, 3] = False
    bias = normal(1, 2, 6, 6, seed=seed) if biased else None
    before = path(q, k, v, mask=mask, bias=bias)
    other_k, other_v = k.clone(), v.clone()
    other_k[:, :, 3], other_v[:, :, 3] = 1e3, -1e3
    other_k.requires_grad_(), other_v.requires_grad_()
    after = path(q, other_k, other_v, mask=mask, bias=bias)
    assert torch.equal(before, after)
    for gradient in torch.autograd.grad(after.square().sum(), (other_k, other_v)):
        assert gradient[:, :, 3].count_nonzero() == 0
        assert gradient.isfinite().all()


@PATHS
@given(seed=st.integers(0, 2**32))
def test_a_row_that_may_look_at_nothing_gives_zeros_and_leaves_the_others(
    path: Callable[..., Tensor], seed: int
) -> None:
    q, k, v = (normal(1, 2, 4, 4, seed=seed + i).requires_grad_() for i in range(3))
    mask = bits(1, 1, 4, 4, seed=seed)
    mask[:, :, 1] = False
    out = path(q, k, v, mask=mask)
    assert out[:, :, 1].count_nonzero() == 0
    gradients = torch.autograd.grad(out.square().sum(), (q, k, v))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0][:, :, 1].count_nonzero() == 0


@given(seed=st.integers(0, 2**32), order=st.permutations(range(6)))
def test_weights_sum_to_one_and_the_order_of_the_keys_is_irrelevant(seed: int, order: list[int]) -> None:
    q, k, v = (normal(1, 2, 6, 4, seed=seed + i) for i in range(3))
    mask = bits(1, 1, 6, 6, seed=seed)
    close(attention_weights(q, k, mask=mask).sum(-1), mask.any(-1).expand(1, 2, 6).double())
    close(attend(q, k[:, :, order], v[:, :, order], mask=mask[..., order]), attend(q, k, v, mask=mask))


def test_dropout_drops_weights_and_keeps_the_mean() -> None:
    q, k, v = (normal(1, 1, 200, 4, seed=i) for i in range(3))
    torch.manual_seed(0)
    for path in (attend, attend_explicit):
        dropped = torch.stack([path(q, k, v, dropout=0.5) for _ in range(200)])
        assert not torch.equal(dropped[0], dropped[1])
        assert (dropped.mean(0) - path(q, k, v)).abs().max() < 6 * dropped.std(0).max() / 200**0.5


@PATHS
@pytest.mark.parametrize(
    "mask, words",
    [
        ("full", ("mask", "one of 'causal'", "'full'")),
        ("causal", ("mask", "as many queries as keys (7)", "5")),
        (torch.ones(2, 4, 5, 7), ("mask", "boolean", "float32")),
        (torch.ones(2, 4, 5, 7, dtype=torch.int64), ("mask", "boolean", "int64")),
        (bits(5, 7), ("mask", "axes #batch, #heads, query, key", "(5, 7)")),
        (bits(2, 1, 5, 6), ("mask", "broadcast", "(2, 1, 5, 6)")),
        (bits(3, 1, 5, 7), ("mask", "broadcast", "(3, 1, 5, 7)")),
    ],
    ids=["unknown", "causal", "float", "int", "axes", "keys", "batch"],
)
@pytest.mark.parametrize("biased", [False, True])
def test_a_wrong_mask_is_refused(path: Callable[..., Tensor], mask: Any, words: tuple[str, ...], biased: bool) -> None:
    q, k, v, _ = example("plain", 4, 2)
    with rejects(*words):
        path(q, k, v, mask=mask, bias=normal(1, 1, 5, 7) if biased else None)


@PATHS
def test_a_mask_that_is_no_tensor_is_refused(path: Callable[..., Tensor]) -> None:
    q, k, v, _ = example("plain", 4, 2)
    with pytest.raises(TypeError, match="mask must be a Tensor or one of 'causal' or None, got array"):
        path(q, k, v, mask=np.ones((2, 4, 5, 7), dtype=bool))


@PATHS
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dropout": -1.0}, ("dropout", "at least 0 and below 1", "-1.0")),
        ({"dropout": 1.0}, ("dropout", "at least 0 and below 1", "1.0")),
        ({"scale": math.inf}, ("scale", "at most 1000000", "inf")),
        ({"scale": 1e308}, ("scale", "at most 1000000", "1e+308")),
        ({"bias": torch.zeros(1, 3, 5, 7).double()}, ("bias", "the same heads", "3")),
        ({"bias": torch.zeros(1, 4, 5, 7)}, ("bias", "torch.float64", "torch.float32")),
    ],
)
def test_wrong_settings_are_refused(
    path: Callable[..., Tensor], options: dict[str, Any], words: tuple[str, ...]
) -> None:
    q, k, v, _ = example("plain", 4, 2)
    with rejects(*words):
        path(q, k, v, **options)


@PATHS
def test_operands_of_another_kind_type_or_device_are_refused(path: Callable[..., Tensor]) -> None:
    q, k, v, _ = example("plain", 4, 2)
    with pytest.raises(TypeError, match="dropout must be a number, got True of type bool"):
        path(q, k, v, dropout=True)
    with rejects("k", "torch.float64", "torch.float32"):
        path(q, k.float(), v)
    with rejects("v", "torch.float64", "torch.float16"):
        path(q, k, v.half())
    with rejects("v", "device", "cpu", "meta"):
        path(q, k, v.to("meta"))
    with rejects("mask", "device", "cpu", "meta"):
        path(q, k, v, mask=torch.ones(2, 1, 5, 7, dtype=torch.bool, device="meta"))
    with rejects("q", "empty", "(2, 4, 0, 8)"):
        path(q[:, :, :0], k, v)


@PATHS
@pytest.mark.parametrize(
    "q, k, v, words",
    [
        ((4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8), ("q", "axes", "(4, 5, 8)")),
        ((2, 4, 5, 8), (3, 2, 7, 8), (3, 2, 7, 8), ("k", "the same batch as the arguments before it, 2", "3")),
        ((2, 4, 5, 8), (2, 2, 7, 6), (2, 2, 7, 6), ("k", "the same head_dim as the arguments before it, 8", "6")),
        ((2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 6, 8), ("v", "the same key as the arguments before it, 7", "6")),
        ((2, 4, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8), ("k", "divides q's 4", "3")),
    ],
)
def test_wrong_shapes_are_refused(path: Callable[..., Tensor], q: Any, k: Any, v: Any, words: tuple[str, ...]) -> None:
    with rejects(*words):
        path(normal(*q), normal(*k), normal(*v))


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("sunk", [False, True])
@PATHS
def test_a_cap_and_sinks_written_out(path: Any, sunk: bool, cap: float | None) -> None:
    q, k, v = normal(2, 4, 5, 8), normal(2, 2, 5, 8, seed=1), normal(2, 2, 5, 8, seed=2)
    bias = normal(2, 4, 5, 5, seed=3)
    sinks = normal(4, seed=4) if sunk else None
    expected = np.zeros(q.shape)
    for b, h, i in np.ndindex(2, 4, 5):
        scores = 0.6 * k[b, h // 2, : i + 1].numpy() @ q[b, h, i].numpy()
        if cap is not None:
            scores = cap * np.tanh(scores / cap)
        powers = np.exp(scores + bias[b, h, i, : i + 1].numpy())
        sunk_power = 0.0 if sinks is None else math.exp(sinks[h])
        expected[b, h, i] = powers / (powers.sum() + sunk_power) @ v[b, h // 2, : i + 1].numpy()
    shaping = {"mask": "causal", "bias": bias, "scale": 0.6, "soft_cap": cap, "sinks": sinks}
    close(path(q, k, v, **shaping), torch.from_numpy(expected))


@PATHS
def test_with_a_sink_a_query_that_may_look_at_nothing_gets_zeros(path: Any) -> None:
    q, k, v = normal(1, 2, 3, 4), normal(1, 2, 3, 4, seed=1), normal(1, 2, 3, 4, seed=2)
    nothing = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    assert not path(q, k, v, mask=nothing, sinks=normal(2, seed=3)).any()


@pytest.mark.parametrize(
    ("shaping", "words"),
    [
        ({"sinks": normal(3)}, ("sinks", "same heads", "2, got 3")),
        ({"sinks": normal(2).float()}, ("sinks", "float64", "float32")),
        ({"soft_cap": 0.0}, ("soft_cap", "above 0", "0.0")),
    ],
)
@PATHS
def test_caps_and_sinks_that_do_not_fit(path: Any, shaping: dict[str, Any], words: tuple[str, ...]) -> None:
    with rejects(*words):
        path(normal(1, 2, 3, 4), normal(1, 2, 3, 4), normal(1, 2, 3, 4), **shaping)
