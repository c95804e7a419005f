"""What a reader must know of machine and software to read the numbers; nothing that names machine or user."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.harness import field_of, version_of

ROOT = Path(__file__).parent.parent
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # the instructions; avx512bw serves to emulate them at fair speed
PEERS = ("transformers", "x-transformers", "litgpt", "llms-from-scratch", "tokenizers", "ctranslate2", "onnxruntime")


def environment(device: str = "cpu") -> dict[str, Any]:
    """Machine, versions (of what is installed), commit and date."""
    versions = {package: version_of(package) for package in ("torch", *PEERS)}
    return {
        "machine": {
            "processor": field_of("/proc/cpuinfo", "model name") or platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "instructions": [flag for flag in ("avx2", "avx512bw", *BFLOAT16) if flag in _cpu_flags()],
            "system": platform.system(),
        }
        | _gpu(device),
        "versions": {"python": platform.python_version()} | {name: have for name, have in versions.items() if have},
        "commit": _commit(),
        "code": digest(path for folder in ("transformer_lib", "bench") for path in (ROOT / folder).rglob("*.py")),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _gpu(device: str) -> dict[str, Any]:
    if device == "cpu":
        return {}
    import torch

    facts = torch.cuda.get_device_properties(device)
    return {"gpu": facts.name, "gpu_memory_gib": round(facts.total_memory / 2**30, 1), "cuda": torch.version.cuda}


def has_bfloat16() -> bool:
    """Whether torch has kernels for products in bfloat16 here; without them they are far slower than in float32."""
    return bool(_cpu_flags() & {"avx512bw", *BFLOAT16})


def digest(paths: Iterable[Path]) -> str:
    """What tells one version of some files from another, whatever a version number or git says."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()[:12]


def _cpu_flags() -> set[str]:
    return set((field_of("/proc/cpuinfo", "flags") or field_of("/proc/cpuinfo", "Features")).split())


def _commit() -> str:
    """The commit that was measured, marked if the code that is measured differs from it."""
    changes = _git("status", "--porcelain", "--", "transformer_lib", "bench", ":(exclude)bench/results")
    return _git("rev-parse", "HEAD") + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
