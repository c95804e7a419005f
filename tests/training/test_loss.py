"""`token_loss` against PyTorch's own cross entropy and a NumPy account of label smoothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small_run import run_in_a_process

from transformer_lib.training import LossSum, token_loss

ZEROS = torch.zeros(2, 3, dtype=torch.int64)


def example(batch: int = 3, time: int = 5, vocab: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(batch, time, vocab, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(0, vocab, (batch, time), generator=generator)


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 9)),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    ignore=st.sampled_from([-100, 0]),
    seed=st.integers(0, 99),
)
def test_value_and_gradient_are_those_of_f_cross_entropy(shape, smoothing, ignore, seed):
    logits, targets = example(*shape, seed=seed)
    targets[0, 0] = ignore
    loss = token_loss(logits, targets, ignore=ignore, smoothing=smoothing)
    counted = (targets != ignore).sum()
    assert loss.count == counted
    (gradient,) = torch.autograd.grad(loss.total, logits)
    if counted == 0:
        assert loss.total == 0 and not gradient.any() and loss.mean().isnan()
        return
    mean = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=ignore, label_smoothing=smoothing)
    torch.testing.assert_close(loss.mean(), mean, atol=1e-10, rtol=0)
    (expected,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(gradient / counted, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_value_is_the_cross_entropy_with_the_smoothed_distribution(smoothing):
    logits, targets = example()
    z = logits.detach().numpy()
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    q = (1 - smoothing) * np.eye(7)[targets.numpy()] + smoothing / 7
    total = token_loss(logits, targets, smoothing=smoothing).total
    np.testing.assert_allclose(total.item(), -(q * log_p).sum(), atol=1e-10)


def test_ignored_positions_have_zero_gradient_and_no_influence():
    logits, targets = example()
    targets[1, 2:] = -100
    loss = token_loss(logits, targets, smoothing=0.1)
    (gradient,) = torch.autograd.grad(loss.total, logits)
    assert not gradient[1, 2:].any() and gradient[1, :2].any()
    changed = logits.detach().clone()
    changed[1, 2:] = 1e6
    torch.testing.assert_close(token_loss(changed, targets, smoothing=0.1).total, loss.total.detach(), atol=0, rtol=0)


def test_the_sum_of_parts_is_the_whole_and_the_mean_of_means_is_not():
    logits, targets = example(batch=4)
    targets[0, 1:] = -100
    whole = token_loss(logits, targets)
    parts = token_loss(logits[:1], targets[:1]), token_loss(logits[1:], targets[1:])
    both = parts[0] + parts[1]
    assert both.count == whole.count == 16
    torch.testing.assert_close(both.mean(), whole.mean(), atol=1e-10, rtol=0)
    assert abs((parts[0].mean() + parts[1].mean()) / 2 - whole.mean()) > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_logits_are_widened_to_float32_first(dtype):
    logits, targets = example()
    narrow = logits.detach().to(dtype)
    loss = token_loss(narrow, targets)
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.total, token_loss(narrow.float(), targets).total, atol=0, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert token_loss(narrow, targets).total.dtype == torch.float32


@pytest.mark.parametrize(
    ("logits", "targets", "options", "message"),
    [
        (
            torch.zeros(2, 3, 5),
            ZEROS.T,
            {},
            "targets must have the same batch as the arguments before it, 2, got 3",
        ),
        (torch.zeros(6, 5), ZEROS, {}, r"logits must have the axes .* got \(6, 5\)"),
        (torch.zeros(2, 3, 5, dtype=torch.int64), ZEROS, {}, "logits must have a floating-point type, got 'int64'"),
        (torch.zeros(2, 3, 5), torch.zeros(2, 3), {}, "targets must have an integer type, got 'float32'"),
        (torch.zeros(2, 3, 5), torch.full((2, 3), 5), {}, "targets must be -100 or from 0 to 4, got 5"),
        (torch.zeros(2, 3, 5), torch.full((2, 3), -1), {"ignore": -2}, "targets must be -2 or from 0 to 4, got -1"),
        (
            torch.zeros(2, 3, 5),
            ZEROS,
            {"smoothing": 1.0},
            "smoothing must be .* got 1.0",
        ),
        (torch.zeros(2, 3, 5), ZEROS, {"smoothing": -0.1}, "smoothing must be .*-0.1"),
    ],
)
def test_bad_input_names_field_rule_and_value(logits, targets, options, message):
    with pytest.raises(ValueError, match=message):
        token_loss(logits, targets, **options)


def test_a_wrong_kind_is_a_type_error():
    with pytest.raises(TypeError, match="logits must be a Tensor, got None of type NoneType"):
        token_loss(None, ZEROS)
    with pytest.raises(TypeError, match="count"):  # here the tests' own shape checker speaks first
        LossSum(torch.zeros(()), 3)


def test_narrow_targets_are_accepted():
    logits, targets = example()
    torch.testing.assert_close(token_loss(logits, targets.int()).total, token_loss(logits, targets).total)


def test_it_compiles_as_one_graph():
    run_in_a_process(compile_as_one_graph)  # free of the tests' type checker, which dynamo cannot trace


def compile_as_one_graph() -> None:
    def mean(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = token_loss(logits, targets, smoothing=0.1)
        return (loss + LossSum(loss.total, loss.count)).mean()

    logits, targets = example()
    compiled = torch.compile(mean, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, targets), mean(logits, targets), atol=1e-10, rtol=0)


def test_the_compiled_loss_leaves_out_what_it_is_told_to():
    run_in_a_process(compile_with_another_ignored_id)


def compile_with_another_ignored_id() -> None:
    def mean(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return token_loss(logits, targets, ignore=0).mean()

    logits, targets = example()
    targets[0, :3] = 0
    found = torch.compile(mean, fullgraph=True, backend="aot_eager")(logits, targets)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
