"""Where a measured number comes from: the commit, the machine, the versions. Nothing here names a user or a path."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from transformer_lib.contract import checked

PACKAGES = ("torch", "numpy", "tokenizers", "sacrebleu")


@checked
def commit_of(folder: Path) -> dict[str, Any]:
    """The commit of the code, and whether library and recipes were as committed; unknown outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    if not top:
        return {"commit": "unknown", "clean": False}
    folder = Path(top)
    changes = git("status", "--porcelain", "--", "transformer_lib", "recipes", ":(exclude)recipes/results")
    return {"commit": git("rev-parse", "HEAD"), "clean": not changes}


@checked
def machine_of(device: torch.device) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {"processor": named[0] if named else platform.machine(), "cores": cores, "system": platform.system()}
    machine |= {"threads": torch.get_num_threads()}
    return machine | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
