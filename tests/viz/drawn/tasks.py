"""The drawing of the three applications."""

from dataclasses import replace
from typing import Any

from tests.viz.drawn.case import Case, config
from transformer_lib.config import Seq2SeqConfig
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel
from transformer_lib.tasks.question_answering import Reader
from transformer_lib.viz.drawings.tasks import draw_task_heads


def models(n: int) -> dict[str, Any]:
    kinds = ("person", "place")[:n]
    small = config(n)
    words = replace(small, vocab_size=1000 * n)
    extraction = ExtractionConfig(encoder=small, kinds=kinds, relations=("in", "of", "by")[: n + 1])
    return {
        "translation": Seq2Seq(Seq2SeqConfig(encoder=words, decoder=words)),
        "extraction": ExtractionModel(extraction),
        "answering": Reader(small),
    }


DRAWINGS = {
    "fig-draw-task-heads": Case(
        draw_task_heads,
        models,
        # Four tags for each kind of entity, and one for none of them; a relation more, for none.
        lambda n: [f"{2 * n} × {32 * n}", f"one of {n},000", f"one of {4 * n + 1}", f"one of {n + 2}"],
    ),
}
