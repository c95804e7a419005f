"""Which devices this machine has: the one place where the name of a device is checked.

A name that torch does not know, and a device that is not here, end in the same `ValueError`, before any work begins.
"""

import torch

from transformer_lib.checks import require, require_kind


def check_device(device: torch.device | str, field: str = "device") -> torch.device:
    """The device of this name, which is there to compute on; `ValueError` naming `field` for any other name.

    "meta" is none of them, since it holds no numbers.
    """
    require_kind(device, (str, torch.device), field, "a device or its name")
    names = present_devices()
    require(str(device) in names, field, f"must be one of {names} on this machine", str(device))
    return torch.device(device)


def present_devices() -> list[str]:
    """The names of the devices that this machine has, the CPU first; "cuda" is the current one of the GPUs."""
    names = ["cpu"]
    for kind, count in (("cuda", torch.cuda.device_count()), ("xpu", torch.xpu.device_count())):
        names += [kind, *(f"{kind}:{index}" for index in range(count))] if count else []
    return names + (["mps", "mps:0"] if torch.backends.mps.is_available() else [])
