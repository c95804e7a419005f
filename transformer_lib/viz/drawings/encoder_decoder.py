"""The encoder-decoder, after figure 1 of Vaswani et al. (2017): two stacks, and what the second reads of the first.

Left out: dropout, and that the decoder's tokens are the target moved by one, which the loss takes care of.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from transformer_lib.config import ModelConfig, Seq2SeqConfig
from transformer_lib.contract import checked
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.nn.block import Block
from transformer_lib.viz.diagram import SKY, Box, Drawing, Number, Point, Sheet, Side
from transformer_lib.viz.outputs import record_outputs
from transformer_lib.viz.parts import (
    ATTENTION,
    FEEDFORWARD,
    NORM,
    STREAM,
    TABLE,
    Beside,
    added_positions,
    draw_words,
    module_above,
    norm_text,
    part_beside,
    positions_text,
    shape_text,
)

LEFT, RIGHT, ASIDE, MEMORY = 52, 390, 92, 221  # the two streams, how far off their parts stand, and the way between
CROSS = SKY


@checked
def draw_encoder_decoder(config: Seq2SeqConfig, source: Sequence[str], target: Sequence[str]) -> Drawing:
    """An encoder that reads `source`, and a decoder that has written `target` and gives the next token's logits."""
    with torch.device("meta"):
        model = Seq2Seq(config).eval()
        tokens = [torch.zeros(1, len(words), dtype=torch.long) for words in (source, target)]
    with record_outputs(model) as outputs:
        logits = model(*tokens)
    memory, written, scores = (shape_text(x.shape[1:]) for x in (outputs["encoder"], outputs["embedding"], logits))
    sheet = Sheet()
    encoder, decoder = config.encoder, config.decoder
    left = _Stack(sheet, LEFT, ASIDE, encoder, _norm(model.encoder))
    right = _Stack(sheet, RIGHT, -ASIDE, decoder, _norm(model))

    at = left.enter(source, "source", memory)
    first = left.part(at, "attention", ATTENTION)
    second = left.part(left.onwards(first), "feed-forward", FEEDFORWARD)
    left.frame(at, second.top)

    at = right.enter(target, "target so far", written)
    below = right.part(at, "causal attention", ATTENTION)
    cross = right.part(right.onwards(below), "cross-attention", CROSS)
    last = right.part(right.onwards(cross), "feed-forward", FEEDFORWARD)
    right.frame(at, last.top)

    end = left.leave(second.top, model.encoder.final_norm)
    bend = end[1] - 22
    sheet.arrow(end, (LEFT, bend), (MEMORY, bend), (MEMORY, cross.box.left[1]), cross.box.left, weight=STREAM)
    sheet.text((LEFT, bend - 32), f"memory {memory}", side="start")
    sheet.text((LEFT, bend - 14), "for keys and values", side="start")
    top = right.leave(last.top, model.final_norm)
    top = module_above(sheet, top, "head", colour=TABLE, width=92, gap=20, weight=STREAM)
    sheet.text((RIGHT - 10, top[1] - 15), f"{scores} logits", side="end")
    top = module_above(sheet, top, "softmax", width=92, gap=30)
    sheet.arrow(top, (RIGHT, top[1] - 24))
    sheet.text((436, top[1] - 36), "probabilities of what comes next", side="end")
    alt = (
        f"Two stacks, read from the bottom up. Left, the encoder: {len(source)} source tokens are embedded and pass "
        f"{encoder.num_layers} blocks of attention and feed-forward network. Right, the decoder: {len(target)} tokens "
        f"written so far pass {decoder.num_layers} blocks of causal attention, cross-attention and feed-forward "
        f"network, then head and softmax. An arrow takes the encoder's output, {memory}, into cross-attention."
    )
    return sheet.drawing("encoder-decoder", title="The encoder-decoder", alt=alt)


def _norm(model: nn.Module) -> str:
    return next(norm_text(block.attention_norm) for block in model.modules() if isinstance(block, Block))


class _Stack(NamedTuple):
    """One of the two stacks: its stream at x, its parts aside of it."""

    sheet: Sheet
    x: Number
    aside: Number
    config: ModelConfig
    norm: str

    def enter(self, words: Sequence[str], name: str, shape: str) -> Point:
        """Tokens, embedding and positions; gives back where the block begins."""
        side: Side = "start" if self.aside > 0 else "end"
        near = 10 if self.aside > 0 else -10
        cells = min(196, 56 * len(words))
        row = draw_words(self.sheet, Box(6 if self.aside > 0 else 436 - cells, -13, cells, 26), words)
        self.sheet.text((row.x if self.aside > 0 else row.x + cells, 28), name, side=side)
        top = module_above(self.sheet, (self.x, row.y), "embedding", colour=TABLE, width=92)
        if added_positions(self.config):
            sign = self.sheet.sign((self.x, top[1] - 26))
            self.sheet.arrow(top, sign.bottom, weight=STREAM)
            centre = self.x + self.aside
            box = self.sheet.module(
                Box.around(centre, sign.centre[1], 92, 26), positions_text(self.config.positions), colour=TABLE
            )
            self.sheet.arrow(*((box.left, sign.right) if self.aside > 0 else (box.right, sign.left)))
            top = sign.top
        self.sheet.text((self.x + near, top[1] - 15), shape, side=side)
        self.sheet.line(top, (self.x, top[1] - 46), weight=STREAM)
        return self.x, top[1] - 46

    def part(self, at: Point, label: str, colour: str) -> Beside:
        post = self.config.norm_order == "post"
        return part_beside(self.sheet, at, label, norm=self.norm, colour=colour, post=post, aside=self.aside)

    def onwards(self, part: Beside) -> Point:
        """A little way up the stream, to the next part."""
        at = (self.x, part.top[1] - 14)
        self.sheet.line(part.top, at, weight=STREAM)
        return at

    def frame(self, bottom: Point, top: Point) -> None:
        """Around the block, with how often it is repeated."""
        box = Box(4 if self.aside > 0 else 232, top[1] - 34, 206, bottom[1] - top[1] + 46)
        self.sheet.frame(box)
        self.sheet.text((self.x + self.aside, box.y + 15), f"{self.config.num_layers} ×")

    def leave(self, at: Point, norm: nn.Module) -> Point:
        """Out of the frame, through the final norm if there is one."""
        end = (self.x, at[1] - 34)
        self.sheet.line(at, end, weight=STREAM)
        name = norm_text(norm)
        return module_above(self.sheet, end, name, colour=NORM, width=92, gap=18, weight=STREAM) if name else end
