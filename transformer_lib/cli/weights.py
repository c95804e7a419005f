"""The command that makes one file of a model's weights from the shards of a checkpoint."""

from argparse import Namespace
from pathlib import Path

from transformer_lib.cli.lines import say, say_json


def consolidate(options: Namespace) -> int:
    """Write the file and say where it is and how large."""
    from transformer_lib.training.consolidate import consolidate as write

    file: Path = options.file
    write(options.checkpoint, file)
    size = file.stat().st_size
    if options.json:
        say_json({"file": str(file), "bytes": size})
    else:
        say(f"{file}: {size:,} bytes")
    return 0
