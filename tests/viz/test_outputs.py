"""What modules give back is noted while a block lasts, and not after it."""

import torch
from torch import nn

from transformer_lib.viz.outputs import record_outputs


def test_every_module_is_noted_by_its_name() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    x = torch.randn(2, 3)
    with record_outputs(model) as outputs:
        y = model(x)
    assert list(outputs) == ["0", "1", ""]
    assert torch.equal(outputs["0"], model[0](x)) and outputs[""] is y
    assert not y.requires_grad


def test_nothing_is_noted_after_the_block() -> None:
    model = nn.Linear(3, 5)
    with record_outputs(model) as outputs:
        pass
    assert model(torch.randn(2, 3)).requires_grad and outputs == {}


def test_a_model_on_meta_tells_its_shapes() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 5))
    with record_outputs(model) as outputs:
        model(torch.empty(2, 3, device="meta"))
    assert tuple(outputs["0"].shape) == (2, 5)


def test_what_is_no_tensor_is_left_out() -> None:
    model = nn.LSTM(3, 5)
    with record_outputs(model) as outputs:
        model(torch.randn(2, 3))
    assert outputs == {}
