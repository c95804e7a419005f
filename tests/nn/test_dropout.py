"""Dropout against its law: how often, how large, independent, the same for the same seed, and its gradient."""

import pytest
import torch

from transformer_lib.nn import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.999])
def test_numbers_are_dropped_with_probability_p_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    n = 4_000_000
    out = dropout(torch.ones(n), p)
    share = (out == 0).double().mean().item()
    deviation = (p * (1 - p) / n) ** 0.5
    assert abs(share - p) < 5 * deviation + 2**-17, "five standard deviations, and the rounding of p"
    assert out.unique().numel() == 2
    assert out.max().item() * (1 - p) == pytest.approx(1, rel=2**-16 / (1 - p))
    assert out.double().mean().item() == pytest.approx(1, abs=5 * deviation / (1 - p))


def test_the_four_decisions_of_a_word_and_neighbouring_words_are_independent() -> None:
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(500_000, 8), 0.3) == 0).double()
    assert torch.corrcoef(dropped.T).fill_diagonal_(0).abs().max() < 5 / 500_000**0.5
    assert (dropped.mean(dim=0) - 0.3).abs().max() < 5 * (0.21 / 500_000) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (0, 4)])
def test_the_gradient_is_that_of_the_numbers_that_stay(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.rand(shape, dtype=dtype).add_(1).requires_grad_()
    out = dropout(x, 0.25)
    assert out.dtype == dtype and out.shape == shape
    (grad,) = torch.autograd.grad(out.sum(), x)
    expected = torch.where(out == 0, 0.0, 1 / 0.75)
    torch.testing.assert_close(
        grad.double(), expected.double(), rtol=2**-8 if dtype == torch.bfloat16 else 1e-6, atol=0
    )


def test_a_seed_says_everything_and_nothing_is_drawn_where_nothing_is_dropped() -> None:
    x = torch.ones(1000)
    module = Dropout(0.5)

    def drawn() -> torch.Tensor:
        torch.manual_seed(3)
        assert dropout(x, 0.0) is x and module.eval()(x) is x
        return module.train()(x)

    assert torch.equal(drawn(), drawn())
    assert not torch.equal(drawn(), module(x))
