"""Division and clipping of a gradient against torch's own, and that neither reads a number from the device."""

import pytest
import torch
from small_run import next_token_loss, small_batches, small_config, small_model
from torch import nn

from transformer_lib.training import loop, new_state, train_step
from transformer_lib.training.gradient import clip_, divide_, gradients_of


def model_with_gradient(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model(torch.randn(5, 3)).square().sum().backward()
    return model


@pytest.mark.parametrize("most", [0.1, 1e3, None])
def test_clipping_is_torchs(most: float | None) -> None:
    ours, theirs = model_with_gradient(), model_with_gradient()
    norm = clip_(gradients_of(ours.parameters()), most)
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), torch.inf if most is None else most)
    assert torch.equal(norm, expected)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_division_is_that_of_each_number_and_frozen_weights_have_none() -> None:
    model, whole = model_with_gradient(), model_with_gradient()
    model[0].bias.grad = None
    divide_(gradients_of(model.parameters()), torch.tensor(7))
    assert model[0].bias.grad is None
    assert torch.equal(model[1].weight.grad, whole[1].weight.grad / 7)
    divide_([], torch.tensor(7))


def test_neither_reads_a_number() -> None:
    """A tensor on the device "meta" has none: whoever wants to read one gets an error."""
    some = [torch.empty(2, 3, device="meta"), torch.empty(4, device="meta")]
    divide_(some, torch.empty((), device="meta"))
    assert clip_(some, 1.0).device.type == "meta"


def test_a_step_reads_once_after_all_is_computed_and_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a step does, in its order: all numbers are read between the clipping and the update."""
    done: list[str] = []
    clip, read = loop.clip_, torch.Tensor.__float__
    monkeypatch.setattr(loop, "clip_", lambda *arguments: (done.append("clip"), clip(*arguments))[1])
    model, config = small_model(), small_config()
    state = new_state(model, small_batches(), config)
    update = state.optimizer.step
    monkeypatch.setattr(state.optimizer, "step", lambda: (done.append("update"), update())[1])
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: (done.append("read"), read(self))[1])
    train_step(state, next_token_loss, [next(iter(small_batches()))], config)
    assert done[: done.index("update") + 1] == ["clip", "read", "read", "update"]
