"""The drawings of what a translator may read, and of what it does read."""

from typing import Any

import torch

from tests.viz.drawn.case import Case, config
from transformer_lib.config import Seq2SeqConfig
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.viz.drawings.alignment import draw_alignment
from transformer_lib.viz.drawings.translation import draw_translation_masks


def sentence(n: int) -> dict[str, Any]:
    source, target = [f"word{i}" for i in range(3 * n)], [letter * n for letter in "abc"]
    links = {(2 - j, j) for j in range(3)}
    return {"weights": torch.eye(3, 3 * n).flip(0), "source": source, "target": target, "links": links}


def pair(n: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(encoder=config(1), decoder=config(1))).eval()
    source, target = torch.arange(2 + n)[None], torch.arange(1 + n)[None]
    words = [f"s{i}" for i in range(2 + n)], [f"t{i}" for i in range(1 + n)]
    return {"model": model, "source": source, "target": target, "source_valid": source < 1 + n, "words": words}


DRAWINGS = {
    "fig-draw-alignment": Case(draw_alignment, sentence, lambda n: [["word2"], ["word5"]][n - 1]),
    "fig-draw-translation-masks": Case(
        draw_translation_masks,
        pair,
        lambda n: [["target: 1 t0 | 2 t1"], ["target: 1 t0 | 2 t1 | 3 t2"]][n - 1],
    ),
}
