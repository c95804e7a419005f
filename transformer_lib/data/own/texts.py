"""Plain texts for a language model: files, or folders of files that end in .txt, each file a document."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.own.found import Fault, Found, lines_in


@checked
def read_texts(files: Sequence[Path]) -> Iterator[Found | Fault]:
    """The documents, each a text, folders in the order of their names; a line that is no UTF-8 is left out of its text.

    A file without any text is a fault. `ValueError` for a folder without files in .txt.
    """
    require(len(files) > 0, "files", "must not be empty", files)
    for given in files:
        parts = sorted(given.rglob("*.txt")) if given.is_dir() else [given]
        require(len(parts) > 0, str(given), "must hold files that end in .txt", "none")
        for file in parts:
            kept, damaged = [], False
            for _, line in lines_in(file):
                if isinstance(line, Fault):
                    damaged = True
                    yield line
                else:
                    kept.append(line)
            text = "\n".join(kept)
            if text.strip():
                yield Found(text, str(file), 1)
            elif not damaged:
                yield Fault(str(file), 1, "must have text")
