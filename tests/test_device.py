"""The device's name: what is here is given, everything else is one ValueError that lists what is here."""

import pytest
import torch

from tests.oracles import unchecked
from transformer_lib.device import check_device


def test_the_cpu_is_always_here() -> None:
    assert check_device("cpu") == check_device(torch.device("cpu")) == torch.device("cpu")


def test_gpus_that_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cuda", "cuda:0", "cuda:1"):
        assert check_device(name) == torch.device(name)
    with pytest.raises(ValueError, match=r"'cuda:0', 'cuda:1'.* on this machine, got 'cuda:2'"):
        check_device("cuda:2")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert check_device("mps") == torch.device("mps") and check_device("mps:0").index == 0


@pytest.mark.parametrize(
    "name", ["", "gpu", "tpu", "meta", "cpu:x", "cuda", "cuda:99", "mps", "CPU", "cpu\0", "\ud800"]
)
def test_devices_that_are_not_here(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^place must be one of \['cpu'"):
        check_device(name, "place")


def test_what_is_no_name() -> None:
    for value in (None, 0, b"cpu"):
        with unchecked(), pytest.raises(TypeError, match="device must be a device or the name of one"):
            check_device(value)  # type: ignore[arg-type]
