"""The whole decoder, from tokens to the probabilities of the next one.

Left out: the cache, dropout, and what goes on inside attention, which has drawings of its own.
"""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from transformer_lib.config import ModelConfig, require
from transformer_lib.contract import checked
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.nn.block import Block
from transformer_lib.viz.diagram import BLUE, Box, Drawing, Point, Sheet
from transformer_lib.viz.label import label_width
from transformer_lib.viz.outputs import record_outputs
from transformer_lib.viz.parts import (
    ATTENTION,
    FEEDFORWARD,
    NORM,
    STREAM,
    TABLE,
    added_positions,
    draw_words,
    hidden_width,
    module_above,
    norm_text,
    part_beside,
    positions_text,
    shape_text,
)

MOST_BARS = 48
BARS = 240  # how wide they are together
X = 130  # where the stream runs


def _add_notes(sheet: Sheet, at: Point, config: ModelConfig) -> None:
    """What attention is made of, beside its box; the line shows that the notes are on attention."""
    notes = [f"{config.heads.num_heads} heads of {config.head_dim}", "causal mask"]
    notes += [] if added_positions(config) else [positions_text(config.positions)]
    beside = (at[0] + 28, at[1])
    sheet.line(at, beside, broken=True)
    for line, note in enumerate(notes):
        sheet.text((beside[0] + 6, beside[1] + 18 * (line - (len(notes) - 1) / 2)), note, side="start")


def _check_vocabulary(vocabulary: Sequence[str], size: int) -> None:
    require(len(vocabulary) in (0, size), "vocabulary", f"must be {size} in number, or none", len(vocabulary))
    widest = max(map(label_width, vocabulary), default=0)
    require(size * (widest + 4) <= BARS or not vocabulary, "vocabulary", f"must fit into {BARS} pixels", vocabulary)


def _add_chances(sheet: Sheet, top: Point, chances: list[float], vocabulary: Sequence[str], last: str) -> None:
    """The probabilities as bars, the largest of too many, with the tokens below them if their names are given."""
    if len(chances) > MOST_BARS:
        chances = sorted(chances, reverse=True)[:MOST_BARS]
    named = 20 if vocabulary else 0
    bars = Box.around(X, top[1] - 52 - named, BARS, 52)
    sheet.arrow(top, (X, bars.bottom[1] + named))
    sheet.bars(bars, chances, colour=BLUE)
    for i, word in enumerate(vocabulary):
        sheet.text((bars.x + (i + 0.5) * BARS / len(vocabulary), bars.bottom[1] + 10), word)
    sheet.text((X, bars.y - 14), f"probabilities after {last}")


@checked
def draw_decoder(
    model: DecoderLM,
    tokens: Int[Tensor, "1 time"],
    words: Sequence[str],
    *,
    vocabulary: Sequence[str] = (),
    name: str = "decoder",
) -> Drawing:
    """A decoder as it reads these tokens, written as `words`, with the probabilities that it really gives.

    A small `vocabulary` is written below the probabilities, each token under its own. A book that draws two decoders
    gives the second another `name`.
    """
    require(len(words) == tokens.shape[1], "words", f"must be {tokens.shape[1]} in number", len(words))
    _check_vocabulary(vocabulary, model.config.vocab_size)
    order = model.config.norm_order
    require(order in ("pre", "post"), "norm_order", "must be 'pre' or 'post' to be drawn", order)
    model.config.multihead  # noqa: B018 - one block stands for all
    with record_outputs(model) as outputs:
        logits = model(tokens)
    config, block = model.config, next(block for block in model.blocks if isinstance(block, Block))
    stream, scores = (shape_text(outputs[name].shape[1:]) for name in ("embedding", "head"))

    sheet = Sheet()
    row = draw_words(sheet, Box.around(X, 0, 46 * len(words), 26), words)
    table = f"embedding {shape_text(model.embedding.tokens.weight.shape)}"
    top = module_above(sheet, row.top, table, colour=TABLE, width=160)
    if added_positions(config):
        top = _add_positions(sheet, top, positions_text(config.positions))
    sheet.text((X + 10, top[1] - 15), stream, side="start")
    start = (X, top[1] - 48)
    sheet.line(top, start, weight=STREAM)
    norm, post = norm_text(block.attention_norm), config.norm_order == "post"
    first = part_beside(sheet, start, "attention", norm=norm, colour=ATTENTION, post=post)
    _add_notes(sheet, first.box.right, config)
    between = (X, first.top[1] - 16)
    sheet.line(first.top, between, weight=STREAM)
    wide = f"{config.d_model} → {hidden_width(block)} → {config.d_model}"
    second = part_beside(sheet, between, "feed-forward", under=wide, norm=norm, colour=FEEDFORWARD, post=post)
    end = second.top
    sheet.frame(Box(X - 58, end[1] - 12, 242, start[1] + 14 - end[1] + 12))
    sheet.text((X - 66, (start[1] + end[1]) / 2), f"{config.num_layers} ×", side="end")
    sheet.text((X + 10, end[1] - 27), stream, side="start")
    table = f"head {shape_text(model.head.weight.T.shape)}"
    gap = 56
    if final := norm_text(model.final_norm):
        end, gap = module_above(sheet, end, final, colour=NORM, gap=gap, weight=STREAM), 18
    top = module_above(sheet, end, table, colour=TABLE, width=160, gap=gap)
    sheet.text((X + 10, top[1] - 15), f"{scores} logits", side="start")
    top = module_above(sheet, top, "softmax", gap=32)
    _add_chances(sheet, top, logits[0, -1].softmax(dim=0).tolist(), vocabulary, words[-1])
    times = "once" if config.num_layers == 1 else f"{config.num_layers} times"
    alt = (
        f"Read from the bottom up. {len(words)} tokens become rows of an embedding table and enter the residual "
        f"stream, of shape {stream}. A frame holds a block, {times}: attention, then the "
        "feed-forward network, each beside the stream and added to it. The head makes "
        f"{scores} logits. The softmax of the last row gives the probabilities of the next token, drawn as bars"
        f"{' over the names of the tokens' if vocabulary else ''}."
    )
    return sheet.drawing(name, title="A decoder, from tokens to probabilities", alt=alt)


def _add_positions(sheet: Sheet, at: Point, words: str) -> Point:
    """What knows the order is added to the embeddings; gives back where the sum leaves."""
    sign = sheet.sign((at[0], at[1] - 26))
    sheet.arrow(at, sign.bottom, weight=STREAM)
    box = sheet.module(Box.around(at[0] + 115, sign.centre[1], 112, 26), words, colour=TABLE)
    sheet.arrow(box.left, sign.right)
    return sign.top
