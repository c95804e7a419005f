"""Run by another Python, with the oldest transformers: `python -m tests.interop.oldest FOLDER`.

Each folder in FOLDER is a model that `to_hf` wrote. The old version opens it, writes its numbers beside it, and writes
the model again in its own words.
"""

import json
import sys
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import save_file

from tests.interop.families import LONG, TOKENS, their_output
from tests.interop.wide import Float64


def main(folder: Path) -> None:
    print(hf.__version__)
    for place in sorted(folder.iterdir()):
        name = place.name
        [architecture] = json.loads((place / "ours" / "config.json").read_text())["architectures"]
        with Float64():
            model, report = getattr(hf, architecture).from_pretrained(
                place / "ours", dtype=torch.float64, output_loading_info=True
            )
        assert not report["unexpected_keys"] and not report["mismatched_keys"], (name, report)
        pooler = {key for key in model.state_dict() if key.startswith("pooler.")}
        assert set(report["missing_keys"]) == pooler, (name, report)
        model.eval()
        numbers = {"tokens": their_output(model, TOKENS), "long": their_output(model, LONG)}
        save_file({key: tensor.contiguous() for key, tensor in numbers.items()}, place / "numbers.safetensors")
        model.save_pretrained(place / "theirs")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
