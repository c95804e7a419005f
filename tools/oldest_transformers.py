"""Make `.venv-oldest`: the oldest transformers that pyproject.toml allows, beside everything else of this environment.

    .venv/bin/python tools/oldest_transformers.py

It holds transformers and the two libraries that it wants in old versions (160 MB); whatever else it imports, torch
above all, it finds in the environment that runs this, by a `.pth` file, which is searched after its own packages.
Nothing is done if that stands already. Used by tests/interop/test_oldest_transformers.py.
"""

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-oldest"
WITH_IT = ("huggingface_hub==0.36.0", "tokenizers==0.22.1")  # what transformers 4.57 asks for, and 5 no longer takes


def floor() -> str:
    """The oldest version of transformers that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [found] = [need for need in project["optional-dependencies"]["dev"] if need.startswith("transformers>=")]
    return found.removeprefix("transformers>=")


def python(folder: Path = FOLDER) -> Path:
    """The interpreter of the environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def wanted() -> str:
    """What the environment consists of; its stamp says what it was made of."""
    lenders = sorted({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})
    return "\n".join([f"transformers=={floor()}", *WITH_IT, sys.version, *lenders])


def is_made(folder: Path = FOLDER) -> bool:
    """Whether it stands as it should."""
    stamp = folder / "made-of"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted()


def make(folder: Path = FOLDER) -> None:
    """Make it afresh, unless it stands; the stamp comes last, so half of it counts as nothing."""
    if is_made(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", "--without-pip", folder)
    packages = Path(_run(python(folder), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    pip = (sys.executable, "-m", "pip", "--python", python(folder), "--disable-pip-version-check", "--quiet")
    _run(*pip, "install", "--no-deps", f"transformers=={floor()}", *WITH_IT)
    lenders = sorted({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})
    (packages / "lent.pth").write_text("\n".join(lenders) + "\n", encoding="utf-8")
    (folder / "made-of").write_text(wanted(), encoding="utf-8")


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    make()
    print(FOLDER)
