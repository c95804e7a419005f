"""Recurrent nets: one unrolled over its tokens, and two that translate, without attention and with it.

Left out: gates, and layers on top of one another.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transformer_lib.checks import require, require_between
from transformer_lib.contract import checked
from transformer_lib.viz.diagram import BLUE, GREEN, ORANGE, Box, Drawing, Sheet
from transformer_lib.viz.parts import token_box

READER, WRITER = BLUE, GREEN


@checked
def draw_unrolled(net: nn.RNNBase, inputs: Float[Tensor, "time width"], words: Sequence[str]) -> Drawing:
    """A recurrent net as it is written and as it runs, with the states that it makes of these inputs as bars."""
    _check_words("words", words, len(inputs), most=4)
    with torch.no_grad():
        states = net(inputs)[0].tolist()
    sheet, name, most = Sheet(), type(net).__name__, max(abs(x) for row in states for x in row)
    rolled = sheet.module(Box.around(44, 0, 52, 34), name, colour=READER)
    sheet.arrow((44, 51), rolled.bottom)
    sheet.arrow(rolled.top, (44, -51))
    sheet.arrow((44, -34), (92, -34), (92, 0), rolled.right)
    sheet.text((44, 62), "$e_t$")
    sheet.text((44, -62), "$h_t$")
    sheet.text((114, -18), "$h_{t−1}$")
    sheet.text((142, 0), "=", bold=True)
    boxes = [sheet.module(Box.around(190 + 72 * i, 0, 46, 34), name, colour=READER) for i in range(len(words))]
    for t, (box, word, state) in enumerate(zip(boxes, words, states, strict=True), start=1):
        x = box.centre[0]
        token = token_box(sheet, (x, 90), word, width=58)
        sheet.text((x, 62), f"$e_{t}$")
        sheet.line(token.top, (x, 74))
        sheet.arrow((x, 51), box.bottom)
        sheet.arrow(box.top, (x, -51))
        sheet.bars(Box.around(x, -70, 58, 32), state, colour=READER, most=most)
        if t < len(boxes):
            sheet.arrow(box.right, boxes[t].left)
            sheet.text((x + 36, -16), f"$h_{t}$")
    weights = sum(weight.numel() for weight in net.parameters())
    sheet.text((221, 124), f"$e_t$: {net.input_size} numbers,  $h_t$: {net.hidden_size} numbers")
    sheet.text((221, 144), f"the same {weights:,} weights and biases at every step")
    alt = (
        f"Left, a recurrent net as a box with a loop: its state comes back with the next input. Right, the same box "
        f"drawn {len(words)} times, once for each of the tokens {', '.join(words)}. Each box reads a token from below "
        "and the state of its left neighbour; its own new state, drawn as bars, goes up and to the right."
    )
    return sheet.drawing("unrolled", title="A recurrent net, unrolled", alt=alt)


@checked
def draw_last_state(encoder: nn.RNNBase, source: Sequence[str], target: Sequence[str]) -> Drawing:
    """Sequence-to-sequence without attention: the encoder's last state is all that the decoder gets."""
    sheet, last = Sheet(), f"$h_{len(source)}$"
    readers, writers = _both_nets(sheet, source, target)
    for box, word in zip(writers, target, strict=True):
        sheet.arrow(box.top, token_box(sheet, (box.centre[0], -52), word).bottom)
    sheet.arrow(readers[-1].right, writers[0].left, weight=3)
    sheet.text(((readers[-1].right[0] + writers[0].x) / 2, -18), last)
    sheet.text((221, 98), f"{last}, {encoder.hidden_size} numbers, is all that the decoder gets of the source")
    alt = (
        f"Left, the encoder reads {', '.join(source)}, one token a step. One arrow, its last state of "
        f"{encoder.hidden_size} numbers, leads to the decoder on the right, which writes {', '.join(target)}; at each "
        "step it reads the token that it has just written."
    )
    return sheet.drawing("last-state", title="Sequence-to-sequence without attention", alt=alt)


@checked
def draw_attending(
    encoder: nn.RNNBase,
    weights: Float[Tensor, "target source"],
    source: Sequence[str],
    target: Sequence[str],
    *,
    step: int,
) -> Drawing:
    """Sequence-to-sequence with attention at one step of the target, from 0: the thicker a line, the more it weighs."""
    _check_words("source", source, weights.shape[1], most=3)
    _check_words("target", target, weights.shape[0], most=3)
    require(0 <= step < len(target), "step", f"must be from 0 to {len(target) - 1}", step)
    shares: list[float] = weights[step].tolist()
    for share in shares:
        require_between(0, 1, weights=share)
    sheet, t = Sheet(), step + 1
    readers, writers = _both_nets(sheet, source, target)
    sheet.arrow(readers[-1].right, writers[0].left)
    centre, asks = (readers[0].centre[0] + readers[-1].centre[0]) / 2, writers[step].centre[0]
    mean = sheet.module(Box.around(centre, -102, 186, 32), f"weighted mean $o_{t}$", colour=ORANGE)
    for s, (box, share) in enumerate(zip(readers, shares, strict=True), start=1):
        x = box.centre[0]
        sheet.arrow(box.top, (x, mean.bottom[1]), weight=round(0.6 + 4 * share, 2))
        sheet.text((x + 7, -40), f"{share:.2f}", side="start")
        sheet.text((x + 7, -66), f"$h_{s}$", side="start")
    out = sheet.module(Box.around(asks, -156, 66, 28), "output")
    sheet.arrow(mean.top, (centre, out.left[1]), out.left)
    sheet.arrow(writers[step].top, out.bottom)
    sheet.arrow((asks, mean.right[1]), mean.right)
    sheet.text(((mean.right[0] + asks) / 2, mean.right[1] - 14), f"$g_{t}$ asks")
    sheet.arrow(out.top, token_box(sheet, (asks, -206), target[step]).bottom)
    sheet.text(((centre + out.x) / 2, out.left[1] - 13), f"{encoder.hidden_size} numbers")
    alt = (
        f"The encoder reads {', '.join(source)}; the decoder is about to write {target[step]}. Its state asks; lines "
        f"as thick as the weights, {', '.join(f'{share:.2f}' for share in shares)}, lead from all states of the "
        "encoder to their weighted mean. Mean and state together give the output."
    )
    return sheet.drawing("attending", title="Sequence-to-sequence with attention", alt=alt)


def _both_nets(sheet: Sheet, source: Sequence[str], target: Sequence[str]) -> tuple[list[Box], list[Box]]:
    """The steps of encoder and decoder with what they read below; nothing joins the two yet."""
    _check_words("source", source, len(source), most=3)
    _check_words("target", target, len(target), most=3)
    sides = []
    for left, words, colour, name in (
        (34, source, READER, "encoder"),
        (276, ["start", *target[:-1]], WRITER, "decoder"),
    ):
        boxes = [sheet.module(Box.around(left + 66 * i, 0, 44, 34), colour=colour) for i in range(len(words))]
        for box, word in zip(boxes, words, strict=True):
            sheet.arrow(token_box(sheet, (box.centre[0], 46), word).top, box.bottom)
        for box, after in pairwise(boxes):
            sheet.arrow(box.right, after.left)
        sheet.text(((boxes[0].centre[0] + boxes[-1].centre[0]) / 2, 74), name, bold=True)
        sides.append(boxes)
    return sides[0], sides[1]


def _check_words(field: str, words: Sequence[str], number: int, most: int) -> None:
    require(len(words) == number, field, f"must be {number} in number", len(words))
    require(0 < len(words) <= most, field, f"must be 1 to {most} in number, to have room", len(words))
