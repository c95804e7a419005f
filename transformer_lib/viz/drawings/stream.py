"""The residual stream of one token, with the numbers that each part of a model adds to it.

Left out: what other positions hold; attention is the only part that reads them.
"""

from jaxtyping import Int
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.diagram import BLUE, GREY, ORANGE, Box, Drawing, Number, Sheet
from transformer_lib.viz.outputs import record_outputs
from transformer_lib.viz.parts import STREAM

MOST_LAYERS, MOST_CHANNELS = 3, 48
STEP, HEIGHT = 94, 44
PART, ADDED, STATE = 58, 205, 362  # the middles of the three columns


@checked
def draw_stream(model: DecoderLM, tokens: Int[Tensor, "1 time"], word: str) -> Drawing:
    """What the last position's vector is after each part of a pre-norm model, and what the part has added to it.

    `word` is how the last token is written. Wide models are shown by their first 48 channels.
    """
    require(model.config.norm_order == "pre", "model", "must have its norms before its parts", model.config.norm_order)
    require(
        model.config.num_layers <= MOST_LAYERS, "model", f"must have at most {MOST_LAYERS} layers", len(model.blocks)
    )
    with record_outputs(model) as outputs:
        model(tokens)
    width = model.config.d_model
    state = outputs["embedding"][0, -1]
    added = {
        f"{name} {layer + 1}": (outputs[f"blocks.{layer}.{part}"][0, -1], colour)
        for layer in range(model.config.num_layers)
        for name, part, colour in (("attention", "attention", BLUE), ("feed-fwd.", "feedforward", ORANGE))
    }
    states = [state]
    for vector, _ in added.values():
        states.append(states[-1] + vector)
    most = max(float(vector.abs().max()) for vector in [*states, *(vector for vector, _ in added.values())])

    sheet = Sheet()
    shown = min(width, MOST_CHANNELS)

    def bars(x: Number, y: Number, vector: Tensor, colour: str) -> Box:
        box = Box.around(x, y, 136 if x == STATE else 118, HEIGHT)
        return sheet.bars(box, vector[:shown].tolist(), colour=colour, most=most)

    below = bars(STATE, 0, states[0], GREY)
    sheet.text((STATE, 34), f"embedding of {word}")
    for level, ((name, (vector, colour)), state) in enumerate(zip(added.items(), states[1:], strict=True), start=1):
        y = -STEP * (level - 0.5)
        part = sheet.module(Box.around(PART, y, 104, 30), name, colour=colour)
        sheet.arrow((below.x - 6, below.left[1]), (PART, below.left[1]), part.bottom)
        sheet.arrow(part.right, (ADDED - 63, y))
        bars(ADDED, y, vector, colour)
        plus = sheet.sign((STATE, y))
        sheet.arrow((ADDED + 63, y), plus.left)
        sheet.arrow(below.top, plus.bottom, weight=STREAM)
        below = bars(STATE, -STEP * level, state, GREY)
        sheet.arrow(plus.top, below.bottom, weight=STREAM)
    sheet.arrow(below.top, (STATE, below.y - 18), weight=STREAM)
    sheet.text((STATE, below.y - 28), "to norm and head")
    sheet.text((ADDED, below.left[1]), "what it adds")
    sheet.text((PART, below.left[1]), "a part reads")
    channels = f"{width} channels" if shown == width else f"{shown} of {width} channels"
    sheet.text((STATE, 52), channels)
    alt = (
        f"Read from the bottom up. On the right the vector of the token {word}, as bars: {channels}. It starts as the "
        f"embedding. {len(added)} times a part on the left reads it, and what the part computes, bars in the middle, "
        "is added to it. The last state goes to the final norm and the head."
    )
    return sheet.drawing("stream", title="The residual stream, with its numbers", alt=alt)
