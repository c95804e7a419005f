"""Make an environment beside this one, in which one package is there that this one lacks or has newer.

    .venv/bin/python tools/beside.py oldest     .venv-oldest: the oldest transformers that pyproject.toml allows
    .venv/bin/python tools/beside.py triton     .venv-triton: Triton, of the version that the lock has for GPUs

The first holds two libraries more, which that transformers wants in old versions (160 MB). The second takes 0.7 GB, and
stands apart because PyTorch's compiler looks whether Triton is there. Whatever else is imported, torch above all, is
found in the environment that runs this, by a `.pth` file, which is searched after the environment's own packages.
Nothing is done if it stands already. Used by tests/interop/test_oldest_transformers.py and
tests/nn/test_triton_attend.py.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITH_OLDEST = (
    "huggingface_hub==0.36.0",
    "tokenizers==0.22.1",
)  # what 4.57 asks for, and 5 no longer takes


def folder(name: str) -> Path:
    """Where the environment of this name lies."""
    return ROOT / f".venv-{name}"


def floor() -> str:
    """The oldest version of transformers that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [found] = [need for need in project["optional-dependencies"]["dev"] if need.startswith("transformers>=")]
    return found.removeprefix("transformers>=")


def packages(name: str) -> list[str]:
    """What is installed in it."""
    match name:
        case "oldest":
            return [f"transformers=={floor()}", *WITH_OLDEST]
        case "triton":
            lock = (ROOT / "constraints.txt").read_text(encoding="utf-8")
            return re.findall(r"^triton==[\w.]+", lock, flags=re.MULTILINE)
        case _:
            raise ValueError(f"name must be oldest or triton, got {name!r}")


def python(name: str) -> Path:
    """The interpreter of the environment."""
    return folder(name) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def lenders() -> list[str]:
    """The folders in which it finds everything else."""
    return sorted({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})


def wanted(name: str) -> str:
    """What the environment consists of; its stamp says what it was made of."""
    return "\n".join([*packages(name), sys.version, *lenders()])


def is_made(name: str) -> bool:
    """Whether it stands as it should."""
    stamp = folder(name) / "made-of"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted(name)


def make(name: str) -> None:
    """Make it afresh, unless it stands; the stamp comes last, so half of it counts as nothing."""
    if is_made(name):
        return
    shutil.rmtree(folder(name), ignore_errors=True)
    _run(sys.executable, "-m", "venv", "--without-pip", folder(name))
    place = Path(_run(python(name), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    pip = (sys.executable, "-m", "pip", "--python", python(name), "--disable-pip-version-check", "--quiet")
    _run(*pip, "install", "--no-deps", *packages(name))
    (place / "lent.pth").write_text("\n".join(lenders()) + "\n", encoding="utf-8")
    (folder(name) / "made-of").write_text(wanted(name), encoding="utf-8")


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    [asked] = sys.argv[1:] or [""]
    make(asked)
    print(folder(asked))
