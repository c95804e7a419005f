"""bfloat16 where the hardware has it, and nowhere else."""

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from transformer_lib.training import best_precision


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": True, "bf16": False}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"neon": True, "bf16": True}, "bfloat16"),
        ({"neon": True, "bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_a_processor_needs_the_instructions_and_torch_its_kernels(
    has: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(has))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert best_precision("cpu") == best_precision(torch.device("cpu")) == expected
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert best_precision("cpu") == "float32"


def test_a_torch_that_does_not_know_its_processor_gives_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert best_precision("cpu") == "float32"


def test_the_kernel_says_the_same_of_this_processor() -> None:
    file = Path("/proc/cpuinfo")
    if not file.exists() or not torch.backends.mkldnn.is_available():
        pytest.skip("only Linux lists its processor's instructions there")
    flags = set(file.read_text().split())
    assert (best_precision("cpu") == "bfloat16") == bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_only_emulates_it_gives_float32(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_supported(including_emulation: bool = True) -> Any:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert best_precision("cuda:0") == ("bfloat16" if native else "float32")
    assert best_precision("mps") == "float32"
