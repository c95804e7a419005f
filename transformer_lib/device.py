"""Which devices this machine has: the one place where the name of a device is checked.

A name that torch does not know, and a device that is not here, end in the same `ValueError`, before any work begins.
"""

import torch

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import checked


@checked
def check_device(device: object, field: str = "device") -> torch.device:
    """The device of this name, or this one, if it is here to compute on; `ValueError` naming `field` for any other.

    "meta" is none of them, since it holds no numbers.
    """
    require_kind(device, (torch.device, str), field, "a device or the name of one")
    names = present_devices()
    require(str(device) in names, field, f"must be one of {names} on this machine", str(device))
    return torch.device(str(device))


def present_devices() -> list[str]:
    """The names of the devices that this machine has, the CPU first; "cuda" is the current one of the GPUs."""
    names = ["cpu"]
    for kind, count in (("cuda", torch.cuda.device_count()), ("xpu", torch.xpu.device_count())):
        names += [kind, *(f"{kind}:{index}" for index in range(count))] if count else []
    return names + (["mps", "mps:0"] if torch.backends.mps.is_available() else [])
