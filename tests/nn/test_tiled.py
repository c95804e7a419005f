"""Attention in tiles against the explicit path and PyTorch's kernel in float64, and the memory that it may touch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.oracles import bits, close, normal, rejects, unchecked
from transformer_lib.nn import attend, attend_explicit
from transformer_lib.nn.masks import Mask
from transformer_lib.nn.tiled import absorb, finish, start, tiled_attention

LENGTH = 11
MASKS: dict[str, Callable[[], Mask]] = {
    "none": lambda: None,
    "causal": lambda: "causal",
    "pairs": lambda: bits(2, 1, LENGTH, LENGTH, seed=1, p=0.4),
    "pairs per head": lambda: bits(1, 4, LENGTH, LENGTH, seed=2),
    "padding": lambda: bits(2, 1, 1, LENGTH, seed=3),
    "nothing": lambda: torch.zeros(1, 1, 1, LENGTH, dtype=torch.bool),
}


def example(keys: int = LENGTH, kv_heads: int = 4, *, seed: int = 10) -> list[Tensor]:
    """Queries, keys and values whose scores are large, so that a lost rescaling shows."""
    q = 3 * normal(2, 4, LENGTH, 6, seed=seed)
    return [x.requires_grad_() for x in (q, *(normal(2, kv_heads, keys, 6, seed=seed + i) for i in (1, 2)))]


def same_as(path: Callable[..., Tensor], inputs: list[Tensor], block: int, **options: Any) -> None:
    mine, theirs = tiled_attention(*inputs, block=block, **options), path(*inputs, **options)
    close(mine, theirs)
    weighing = normal(*mine.shape, seed=9)
    pairs = zip(torch.autograd.grad(mine, inputs, weighing), torch.autograd.grad(theirs, inputs, weighing), strict=True)
    for name, (found, expected) in zip("qkv", pairs, strict=True):
        close(found, expected, f"gradient of {name}")


@pytest.mark.parametrize("block", [1, 3, 4, LENGTH, 64])
@pytest.mark.parametrize("name", MASKS)
def test_output_and_gradients_are_those_of_the_explicit_path(name: str, block: int) -> None:
    same_as(attend_explicit, example(), block, mask=MASKS[name]())


@pytest.mark.parametrize("name", MASKS)
def test_output_and_gradients_are_those_of_torch(name: str) -> None:
    with sdpa_kernel(SDPBackend.MATH):
        same_as(attend, example(), 4, mask=MASKS[name](), scale=0.3)


@given(block=st.integers(1, 16), keys=st.integers(1, 20), kv_heads=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99))
def test_any_block_any_number_of_keys_and_shared_heads(block: int, keys: int, kv_heads: int, seed: int) -> None:
    same_as(attend_explicit, example(keys, kv_heads, seed=seed), block, mask=bits(2, 4, LENGTH, keys, seed=seed))


@pytest.mark.parametrize("name", ["none", "causal", "pairs"])
def test_the_gradient_is_the_numerical_one(name: str) -> None:
    mask = MASKS[name]()
    mask = mask[:1, :, :5, :5] if isinstance(mask, Tensor) else mask
    inputs = [normal(1, 2, 5, 3, seed=i).requires_grad_() for i in range(3)]
    assert torch.autograd.gradcheck(lambda *x: tiled_attention(*x, mask=mask, block=2), inputs)


def test_a_mask_may_hold_one_answer_for_all_keys_of_a_query() -> None:
    with unchecked():  # the type asks for a column per key, `check_mask` does not
        same_as(attend_explicit, example(), 4, mask=bits(1, 1, LENGTH, 1, seed=4))


def test_a_row_that_may_look_at_nothing_gives_zeros_and_no_gradient() -> None:
    q, k, v = example()
    mask = bits(1, 1, LENGTH, LENGTH, seed=5)
    mask[:, :, 3] = False
    out = tiled_attention(q, k, v, mask=mask, block=4)
    assert out[:, :, 3].count_nonzero() == 0
    gradients = torch.autograd.grad(out.square().sum(), (q, k, v))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0][:, :, 3].count_nonzero() == 0


@given(cuts=st.sets(st.integers(1, 11)), size=st.sampled_from([1.0, 1e3]), seed=st.integers(0, 99))
def test_the_online_softmax_of_any_pieces_is_the_softmax(cuts: set[int], size: float, seed: int) -> None:
    scores, values = size * normal(3, 12, seed=seed), normal(12, 5, seed=seed + 1)
    seen = start(scores.new_zeros(3, 1), values)
    for lo, hi in zip([0, *sorted(cuts)], [*sorted(cuts), 12], strict=True):
        seen = absorb(seen, scores[:, lo:hi], values[lo:hi])
    out, log_sum = finish(seen)
    close(out, scores.softmax(dim=-1) @ values)
    close(log_sum / size, scores.logsumexp(dim=-1, keepdim=True) / size)


def test_sums_of_many_bfloat16_values_are_kept_in_float32() -> None:
    q, k, v = (normal(1, 1, 2000, 4, seed=i).bfloat16() for i in range(3))
    exact = attend_explicit(q.double(), k.double(), v.double())
    out = tiled_attention(q, k, v)
    assert out.dtype == torch.bfloat16
    assert (out.double() - exact).abs().max() <= exact.abs().max() * 2**-8  # one rounding, at the end


class Ledger(TorchDispatchMode):
    """Every operation's outputs: the most elements of one of them, and the products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        self.products += func is torch.ops.aten.bmm.default
        return result


def ledger(path: Callable[..., Tensor], length: int, **options: Any) -> Ledger:
    q, k, v = (normal(1, 2, length, 4, seed=i).requires_grad_() for i in range(3))
    with Ledger() as seen:
        path(q, k, v, **options).sum().backward()
    return seen


@pytest.mark.parametrize("mask", [None, "causal", "padding"])
def test_no_tensor_grows_with_query_times_key(mask: str | None) -> None:
    given = {length: bits(1, 1, 1, length) if mask == "padding" else mask for length in (256, 512)}
    found = {length: ledger(tiled_attention, length, mask=given[length], block=16).largest for length in given}
    assert found == {256: 2 * 256 * 4, 512: 2 * 512 * 4}  # that of a row of width 4 for each query and head
    assert ledger(attend_explicit, 256).largest == 2 * 256 * 256


def test_a_causal_mask_skips_the_tiles_above_the_diagonal() -> None:
    # A tile takes two products forwards, and five backwards.
    assert ledger(tiled_attention, 64, block=16).products == 7 * 4 * 4
    assert ledger(tiled_attention, 64, block=16, mask="causal").products == 7 * (4 + 3 + 2 + 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block": 0}, ("block", "at least 1", "0")),
        ({"mask": "full"}, ("mask", "'causal'", "'full'")),
        ({"mask": "causal"}, ("mask", "as many queries as keys (7)", str(LENGTH))),
        ({"mask": bits(2, 1, LENGTH, 6)}, ("mask", "broadcast", "(2, 1, 11, 6)")),
        ({"mask": torch.ones(1, 1, LENGTH, 7)}, ("mask", "boolean", "float32")),
    ],
    ids=["block", "unknown", "causal", "keys", "float"],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with rejects(*words):
        tiled_attention(*example(keys=7), **options)


def test_what_was_seen_is_of_one_shape() -> None:
    seen = start(normal(3, 1), normal(12, 5))
    with rejects("peak", "(3, 1)", "(2, 1)"):
        finish(seen._replace(peak=seen.peak[:2]))
    with rejects("scores", "(3, 12)", "(2, 12)"):
        absorb(seen, normal(2, 12), normal(12, 5))
    with pytest.raises(TypeError, match="total must be a Tensor, got None"):
        finish(seen._replace(total=None))


def test_wrong_shapes_are_refused() -> None:
    q, k, v = example(keys=7, kv_heads=2)
    with rejects("k", "divides q's 4", "3"):
        tiled_attention(q, normal(2, 3, 7, 6), normal(2, 3, 7, 6))
    with rejects("v", "the same key as the arguments before it, 7", "6"):
        tiled_attention(q, k, v[:, :, 1:])
