"""The models of the three applications side by side: what they read, what reads it, and what they give.

Left out: how each is trained, and what is made of its scores.
"""

from transformer_lib.config import ModelConfig
from transformer_lib.contract import checked
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.tasks.extraction_model import ExtractionModel
from transformer_lib.tasks.question_answering import Reader
from transformer_lib.viz.diagram import BLUE, ORANGE, Box, Drawing, Number, Sheet
from transformer_lib.viz.parts import shape_text, token_box, two_lines


@checked
def draw_task_heads(translation: Seq2Seq, extraction: ExtractionModel, answering: Reader) -> Drawing:
    """A row for each application, from what is read on the left to what is told apart on the right."""
    sheet, reads = Sheet(), translation.config
    tags, relations = extraction.to_tags.out_features, extraction.to_relations.single.out_features
    words, scores = reads.decoder.vocab_size, answering.head.to_scores.out_features
    encoder = _encoder(sheet, "translation", "source", 0, reads.encoder)
    decoder = _stack(sheet, Box(198, -23, 82, 46), "decoder", reads.decoder)
    sheet.arrow(encoder.right, decoder.left)
    target = sheet.module(Box.around(decoder.centre[0], 56, 98, 24), "target so far")
    sheet.arrow(target.top, decoder.bottom)
    sheet.arrow(decoder.right, _head(sheet, 0, "next token", f"one of {words:,}").left)
    encoder = _encoder(sheet, "extraction", "sentence", 146, extraction.config.encoder)
    for y, name, kinds in ((118, "tag of a word", tags), (174, "relation of a pair", relations)):
        head = _head(sheet, y, name, f"one of {kinds}")
        sheet.arrow(encoder.right, (240, encoder.right[1]), (240, y), head.left)
    encoder = _encoder(sheet, "question answering", "passage", 262, answering.config)
    sheet.arrow(encoder.right, _head(sheet, 262, "start and end", f"{scores} scores a token").left)
    question = token_box(sheet, (41, 292), "question", width=74)
    sheet.line(question.right, (88, question.right[1]), (88, 262))
    alt = (
        f"Three rows. Translation: an encoder reads the source, a decoder reads the target so far and the encoder, and "
        f"a head chooses the next token among {words:,}. Extraction: an encoder reads the sentence; one head gives "
        f"each word one of {tags} tags, another each pair of entities one of {relations} relations. Answering: "
        f"an encoder reads question and passage, and a head gives each token {scores} scores, for start and end."
    )
    return sheet.drawing("task-heads", title="Three tasks and their heads", alt=alt)


def _encoder(sheet: Sheet, task: str, reads: str, y: Number, config: ModelConfig) -> Box:
    sheet.text((4, y - 38), task, side="start", bold=True)
    box = _stack(sheet, Box(98, y - 23, 82, 46), "encoder", config)
    sheet.arrow(token_box(sheet, (41, y), reads, width=74).right, box.left)
    return box


def _stack(sheet: Sheet, box: Box, name: str, config: ModelConfig) -> Box:
    """A stack with its layers and their width."""
    return two_lines(sheet, box, name, shape_text((config.num_layers, config.d_model)), colour=BLUE)


def _head(sheet: Sheet, y: Number, name: str, gives: str) -> Box:
    return two_lines(sheet, Box(300, y - 23, 138, 46), name, gives, colour=ORANGE)
