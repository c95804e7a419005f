"""What a reader can take along: the notebooks with all they need as one zip; the EPUB and the PDF, if they are built.

The zip is made of files alone, so that the same files always give the same bytes: sorted, and without their dates.
"""

import shutil
import zipfile
from pathlib import Path

NAME = "executable-transformer"
PACKED = (
    "chapters/**/*.ipynb",
    "transformer_lib/**/*.py",
    "transformer_lib/py.typed",
    "bench/results/*.json",
    "chapters/questions/*.toml",
    "recipes/**/*.*",
    "requirements*.txt",
    "constraints.txt",
    "pyproject.toml",
    "LICENSE",
    "LICENSE-TEXT",
    "CITATION.cff",
)
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints"}
README = """\
# The Executable Transformer: notebooks and library

Every chapter of the book is a notebook in `chapters/`. They import `transformer_lib`, which lies here too, and read
what longer runs have measured from `recipes/` and `bench/`.

With Python 3.11 or newer, in this folder:

    python -m venv .venv
    .venv/bin/pip install --use-pep517 -r requirements.txt
    .venv/bin/jupyter lab chapters/attention.ipynb

On Windows write `.venv\\Scripts\\` for `.venv/bin/`. On Linux without a GPU, take PyTorch from its index of CPU builds;
without that pip also fetches gigabytes of CUDA. PyTorch's page "Get started" names the address, and
`PIP_EXTRA_INDEX_URL=<address>` before the second command uses it.

The code is under the MIT licence (LICENSE), the text and the figures under CC BY-SA 4.0 (LICENSE-TEXT). CITATION.cff
says how to cite the book.
"""


def files(root: Path) -> list[str]:
    """What goes into the zip, as paths from the top of the project."""
    found = {path for pattern in PACKED for path in root.glob(pattern) if path.is_file()}
    names = {path.relative_to(root) for path in found}
    return sorted(name.as_posix() for name in names if not LEFT_OUT & set(name.parts))


def pack(root: Path, archive: Path) -> None:
    """Write the zip: one folder with the files and a README of its own."""
    contents = {name: (root / name).read_bytes() for name in files(root)}
    contents["README.md"] = README.encode()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(f"{NAME}/{name}")  # dated 1980, as far back as a zip can say
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            target.writestr(entry, contents[name])


def offered(root: Path) -> dict[str, str]:
    """The files that the book offers, by their paths in it, each with a few words."""
    offers = {f"downloads/{NAME}.zip": "the notebooks, the library and the list of requirements"}
    for suffix, words in (("epub", "the book for an e-reader"), ("pdf", "the book on paper")):
        if (root / "_build" / f"book.{suffix}").is_file():
            offers[f"downloads/{NAME}.{suffix}"] = words
    return offers


def write(root: Path, out: Path) -> None:
    """Put everything that is offered into the built book."""
    (out / "downloads").mkdir(exist_ok=True)
    for name in offered(root):
        if name.endswith(".zip"):
            pack(root, out / name)
        else:
            shutil.copyfile(root / "_build" / f"book{Path(name).suffix}", out / name)
