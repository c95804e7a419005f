"""Three BERTs that were really trained, on chemical reactions: they lie in the wheel of rxnfp (MIT), 27 MB each.

Schwaller et al. (2021), "Mapping the space of chemical reactions using attention-based neural networks".
"""

from pathlib import Path

from tests.text.published import wheel

INSIDE = "rxnfp/models/transformers"
NAMES = ("bert_pretrained", "bert_ft", "bert_ft_10k_25s")


def unpack(folder: Path) -> None:
    """The config, weights and vocabulary of each model, in a folder of its name; without the wheel the test skips."""
    with wheel("rxnfp") as archive:
        for name in NAMES:
            (folder / name).mkdir()
            for file in ("config.json", "pytorch_model.bin", "vocab.txt"):
                (folder / name / file).write_bytes(archive.read(f"{INSIDE}/{name}/{file}"))
