"""Write constraints.txt: one version of every package that requirements.txt brings, on every system and Python.

    python tools/lock.py                            # after requirements.txt has changed: keeps all it can
    python tools/lock.py --upgrade                  # the newest of all that requirements.txt does not itself pin
    python tools/lock.py --upgrade-package tornado  # the newest of one of them

The versions are found by uv, in an environment of its own, for all systems at once: a line that only some of them need
says which. uv reads what the packages say of themselves and installs none of them. There are no hashes and no local
versions such as +cpu, so that a build of torch for this machine fits.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = "uv==0.13.9"
# What pip fetches to build seqeval, which comes as source alone, and the library itself.
BUILD = ("setuptools", "setuptools-scm", "wheel")
HEADER = """\
# Written by `make lock` from requirements.txt, which reads it: one version of every package that is installed, the
# indirect ones too, and of what pip fetches to build those that come as source.
"""


def asked(file: Path) -> list[str]:
    """The packages that a requirements file names, and those of the files it reads by `-r`; no options or comments."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    read = [name for line in lines if line.startswith("-r ") for name in asked(file.parent / line.removeprefix("-r "))]
    return [*read, *(line for line in lines if line and not line.startswith(("#", "-")))]


def resolve(requirements: str, locked: str, options: list[str], folder: Path) -> str:
    """The lines of a new lock, made in an empty folder; what was locked before stays if it still fits."""
    venv.create(folder / "venv", with_pip=True, symlinks=os.name != "nt")
    python = str(folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", UV], check=True)
    (folder / "requirements.in").write_text(requirements, encoding="utf-8")
    (folder / "constraints.txt").write_text(locked, encoding="utf-8")
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    command = [python, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--no-header", "--no-annotate"]
    files = ["--python-version", oldest.removeprefix(">="), "--output-file", "constraints.txt", "requirements.in"]
    subprocess.run([*command, *files, *options], cwd=folder, check=True)
    return (folder / "constraints.txt").read_text(encoding="utf-8")


def main(options: list[str]) -> int:
    target, partial = ROOT / "constraints.txt", ROOT / "constraints.txt.partial"
    locked = target.read_text(encoding="utf-8") if target.is_file() else ""
    requirements = "\n".join([*asked(ROOT / "requirements.txt"), *BUILD, ""])
    with tempfile.TemporaryDirectory() as folder:
        try:
            lines = resolve(requirements, locked, options, Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"constraints.txt is left as it was: `{' '.join(error.cmd[1:5])}` failed", file=sys.stderr)
            return 1
    partial.write_text(HEADER + lines, encoding="utf-8")
    partial.replace(target)
    new, old = set(lines.splitlines()), {line for line in locked.splitlines() if not line.startswith("#")}
    changes = [*(f"+ {line}" for line in sorted(new - old)), *(f"- {line}" for line in sorted(old - new))]
    print("\n".join(changes) or "nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
