"""`chunked_token_loss` against PyTorch's cross entropy of the whole logits, and what it promises of memory."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_run import run_in_a_process
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transformer_lib import DecoderLM, presets
from transformer_lib.training import chunked, chunked_token_loss, token_loss

ZEROS = torch.zeros(2, 3, dtype=torch.int64)


def example(batch: int = 3, time: int = 5, vocab: int = 7, *, dtype: torch.dtype = torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, time, 4, generator=generator, dtype=dtype)
    weight = torch.randn(vocab, 4, generator=generator, dtype=dtype)
    targets = torch.randint(0, vocab, (batch, time), generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def reference(hidden, weight, targets, ignore: int = -100, smoothing: float = 0.0) -> torch.Tensor:
    logits = (hidden @ weight.T).flatten(0, 1)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=ignore, label_smoothing=smoothing, reduction="sum")


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 9)),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    ignore=st.sampled_from([-100, 0]),
    chunk_bytes=st.sampled_from([1, 200, 10**6]),
    cached_bytes=st.sampled_from([1, 150, 10**6]),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_value_and_gradients_are_those_of_f_cross_entropy(shape, smoothing, ignore, chunk_bytes, cached_bytes, seed):
    hidden, weight, targets = example(*shape, seed=seed)
    targets[0, 0] = ignore
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "CACHED_BYTES", cached_bytes)
        loss = chunked_token_loss(hidden, weight, targets, ignore=ignore, smoothing=smoothing, chunk_bytes=chunk_bytes)
    total = reference(hidden, weight, targets, ignore, smoothing)
    assert loss.count == (targets != ignore).sum()
    torch.testing.assert_close(loss.total, total, atol=1e-10, rtol=0)
    mine = torch.autograd.grad(3 * loss.total, (hidden, weight))
    theirs = torch.autograd.grad(3 * total, (hidden, weight))
    torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("chunk_bytes", [10**4, 10**9])
def test_in_float32_gradients_equal_autograds_to_a_millionth(chunk_bytes):
    hidden, weight, targets = example(4, 50, 300, dtype=torch.float32)
    mine = torch.autograd.grad(
        chunked_token_loss(hidden, weight, targets, chunk_bytes=chunk_bytes).mean(), (hidden, weight)
    )
    theirs = torch.autograd.grad(token_loss(hidden @ weight.T, targets).mean(), (hidden, weight))
    for a, b in zip(mine, theirs, strict=True):
        assert (a - b).norm() <= 1e-6 * b.norm()


def test_under_autocast_it_computes_what_the_whole_loss_computes():
    hidden, weight, targets = example(4, 50, 300, dtype=torch.float32)
    exact = torch.autograd.grad(token_loss(hidden @ weight.T, targets).mean(), (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        mine = chunked_token_loss(hidden, weight, targets, chunk_bytes=20_000)
        theirs = token_loss(hidden @ weight.T, targets)
    assert mine.total.dtype == torch.float32
    torch.testing.assert_close(mine.total, theirs.total, atol=0, rtol=1e-6)
    gradients = [torch.autograd.grad(loss.mean(), (hidden, weight)) for loss in (mine, theirs)]
    for a, b, c in zip(*gradients, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - c).norm() <= 1.1 * (b - c).norm()  # no less exact than the whole loss in the same type


def test_a_tied_head_gets_both_gradients():
    config = presets.tiny(vocab_size=50)
    model = DecoderLM(config).double()
    tokens = torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(0))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    parameters = list(model.parameters())
    mine = chunked_token_loss(model.hidden(inputs), model.head.weight, targets, chunk_bytes=2000).mean()
    theirs = token_loss(model(inputs), targets).mean()
    torch.testing.assert_close(
        torch.autograd.grad(mine, parameters), torch.autograd.grad(theirs, parameters), atol=1e-10, rtol=0
    )


class Largest(TorchDispatchMode):
    """The most elements that any result of an operation has."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() // leaf.itemsize for leaf in tree_leaves(out) if torch.is_tensor(leaf)]
        self.elements = max([self.elements, *sizes])
        return out


def largest_tensor(loss, *arguments, **options) -> int:
    with Largest() as largest:
        loss(*arguments, **options).total.backward()
    return largest.elements


def test_no_tensor_is_larger_than_a_chunk_or_the_weight():
    hidden, weight, targets = example(8, 100, 500, dtype=torch.float32)
    assert largest_tensor(lambda h, w, y: token_loss(h @ w.T, y), hidden, weight, targets) == 800 * 500
    for rows in (20, 100):  # of 500 numbers, stored as 512: each begins on a line of the cache
        assert largest_tensor(chunked_token_loss, hidden, weight, targets, chunk_bytes=rows * 512 * 4) == rows * 512


def test_unless_told_otherwise_chunks_are_equal_and_at_least_512_rows():
    hidden, weight, targets = example(8, 100, 64, dtype=torch.float32)
    assert largest_tensor(chunked_token_loss, hidden, weight, targets) == 400 * 64  # 800 rows in two
    hidden, weight, targets = example(8, 0, 64, dtype=torch.float32)
    assert chunked_token_loss(hidden, weight, targets).total == 0


def test_what_lay_in_the_memory_before_does_not_matter(monkeypatch):
    """Rows of 50 numbers are stored 64 apart. A processor with AMX reads the 14 between, and multiplies them by 0."""

    def poisoned(self, *size, **options):
        return torch.full(size, torch.nan, dtype=self.dtype)

    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, 700, 64, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(50, 64, generator=generator).bfloat16().requires_grad_()
    targets = torch.randint(50, (1, 700), generator=generator)
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    gradients = torch.autograd.grad(chunked_token_loss(hidden, weight, targets).total, [hidden, weight])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_without_gradients_nothing_is_kept_and_the_value_is_the_same():
    hidden, weight, targets = example()
    with torch.no_grad():
        loss = chunked_token_loss(hidden, weight, targets, chunk_bytes=100)
    assert loss.total.grad_fn is None
    torch.testing.assert_close(loss.total, reference(hidden, weight, targets), atol=1e-10, rtol=0)


def test_a_second_backward_pass_is_refused():
    hidden, weight, targets = example()
    total = chunked_token_loss(hidden, weight, targets).total
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


@pytest.mark.parametrize(
    ("hidden", "weight", "targets", "options", "message"),
    [
        (torch.zeros(6, 4), torch.zeros(5, 4), ZEROS, {}, r"hidden must have the axes .* got \(6, 4\)"),
        (
            torch.zeros(2, 3, 4),
            torch.zeros(4, 5),
            ZEROS,
            {},
            "weight must have the same d_model as the arguments before it, 4, got 5",
        ),
        (
            torch.zeros(2, 3, 4),
            torch.zeros(5, 4),
            ZEROS.T,
            {},
            "targets must have the same batch as the arguments before it, 2, got 3",
        ),
        (torch.zeros(2, 3, 4), torch.zeros(5, 4), ZEROS + 5, {}, "targets must be -100 or from 0 to 4, got 5"),
        (torch.zeros(2, 3, 4), torch.zeros(5, 4), ZEROS, {"smoothing": 1.0}, "smoothing must be .* got 1.0"),
        (torch.zeros(2, 3, 4), torch.zeros(5, 4), ZEROS, {"chunk_bytes": 0}, "chunk_bytes must be .* got 0"),
    ],
)
def test_bad_input_names_field_rule_and_value(hidden, weight, targets, options, message):
    with pytest.raises(ValueError, match=message):
        chunked_token_loss(hidden, weight, targets, **options)


def test_a_compiled_function_calls_it_as_it_is():
    run_in_a_process(compile_around_it)  # free of the tests' type checker, which dynamo cannot trace


def compile_around_it() -> None:
    hidden, weight, targets = example()

    def mean(h: torch.Tensor, w: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return chunked_token_loss(h.tanh(), w, y, smoothing=0.1, chunk_bytes=300).mean()

    compiled = torch.compile(mean, backend="aot_eager")
    mine = torch.autograd.grad(compiled(hidden, weight, targets), (hidden, weight))
    theirs = torch.autograd.grad(mean(hidden, weight, targets), (hidden, weight))
    torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)
