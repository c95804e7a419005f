"""Which precision to train in on a device: bfloat16 where the hardware multiplies in it, float32 elsewhere."""

from collections.abc import Mapping
from typing import Any

import torch

from transformer_lib.contract import checked
from transformer_lib.training.config import Precision

CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")  # Intel, Intel and AMD, Arm


@checked
def kind_of_device(device: torch.device | str) -> str:
    """The kind of a device, such as "cuda", whether it is here or not; `ValueError` if torch knows no such kind."""
    try:
        return torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"device must be one that torch knows, got {device!r}") from error


@checked
def best_precision(device: torch.device | str) -> Precision:
    """What a run of real size should give as `TrainConfig.precision` on this device (of CUDA's, the current one).

    It is not the default, because a config must say what is computed, whatever the machine: another precision gives
    other weights, and a run in one does not go on from a checkpoint in the other. And a model of width 32 trains
    faster in float32, as converting takes it longer than multiplying. Left at float32: devices that only emulate
    bfloat16, and Apple's.
    """
    match kind_of_device(device):
        case "cuda":
            computes = torch.cuda.is_bf16_supported(including_emulation=False)
        case "cpu":
            has: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
            computes = torch.backends.mkldnn.is_available() and any(has.get(name) for name in CPU_INSTRUCTIONS)
        case _:
            computes = False
    return "bfloat16" if computes else "float32"
