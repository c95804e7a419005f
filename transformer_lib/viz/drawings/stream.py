"""The residual stream with the numbers that each part of a model adds to it: of one token as bars, of a few in full.

Left out: what attention reads of other positions.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.diagram import BLUE, GREY, ORANGE, RED, TINT, Box, Drawing, Number, Sheet
from transformer_lib.viz.outputs import record_outputs
from transformer_lib.viz.parts import STREAM

MOST_LAYERS, MOST_CHANNELS = 3, 48
MOST_PARTS, MOST_TOKENS, MOST_NUMBERS = 4, 4, 4
STEP, HEIGHT = 94, 44
PART, ADDED, STATE = 62, 207, 362  # the middles of the three columns


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
        for name, part, colour in (("attention", "attention", BLUE), ("feed-forward", "feedforward", ORANGE))
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
        part = sheet.module(Box.around(PART, y, 116, 30), name, colour=colour)
        sheet.arrow((below.x - 6, below.left[1]), (PART, below.left[1]), part.bottom)
        sheet.arrow(part.right, (ADDED - 63, y))
        if name.startswith("attention"):
            sheet.text((PART + 8, y + 34), "reads earlier tokens too", side="start")
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
        "is added to it. Attention alone reads earlier tokens too. The last state goes to the final norm and the head."
    )
    return sheet.drawing("stream", title="The residual stream, with its numbers", alt=alt)


@checked
def draw_additions(
    embedding: Float[Tensor, "time channel"],
    added: Sequence[tuple[str, Float[Tensor, "time channel"]]],
    words: Sequence[str],
) -> Drawing:
    """The stream of a few tokens, number by number: the embedding, and what each part, by name, adds to it."""
    time, width = embedding.shape
    for field, count, most in (("words", time, MOST_TOKENS), ("embedding", width, MOST_NUMBERS)):
        require(0 < count <= most, field, f"must be 1 to {most} in number, to have room", count)
    require(len(words) == time, "words", f"must be {time} in number", len(words))
    require(0 < len(added) <= MOST_PARTS, "added", f"must be 1 to {MOST_PARTS} in number, to have room", len(added))
    states = [embedding]
    for _, vectors in added:
        states.append(states[-1] + vectors)
    largest = max(float(rows.abs().max()) for rows in [*states, *(vectors for _, vectors in added)])
    sheet, high = Sheet(), 24 * time
    left, right, pitch = 118, 346, 2 * high + 8  # the middles of the two columns, and from one state to the next

    def numbers(x: Number, y: Number, rows: Tensor) -> Box:
        box = Box.around(x, y + high / 2, 46 * width, high)
        for t, row in enumerate(rows.tolist()):
            for i, value in enumerate(row):
                cell = Box(box.x + 46 * i, box.y + 24 * t, 46, 24)
                sheet.area(cell, colour=BLUE if value > 0 else RED, amount=1.4 * TINT * abs(value) / (largest or 1))
                sheet.text(cell.centre, _two_places(value))
        return sheet.grid(box, [[0] * width] * time)

    for level, state in enumerate(states):
        box = numbers(left, level * pitch, state)
        if level == 0:
            sheet.text((left, box.y - 13), "embedding")
        else:
            sheet.text((left + 8, box.y - 13), f"after {added[level - 1][0]}", side="start")
        for t, word in enumerate(words):
            sheet.text((box.x - 5, box.y + 24 * (t + 0.5)), word, side="end")
        if level == len(added):
            break
        name, vectors = added[level]
        part = numbers(right, box.y + high + 4, vectors)
        sheet.text((right, part.y - 13), f"{name} adds")
        y = box.y + min(high / 2, high - 34)
        sheet.arrow((box.right[0], y), (right, y), (right, part.y - 23))
        sheet.text(((box.right[0] + right) / 2, y - 12), "reads")
        plus = sheet.sign((left, part.centre[1]))
        sheet.arrow(box.bottom, plus.top, weight=STREAM)
        sheet.arrow(part.left, plus.right)
        sheet.arrow(plus.bottom, (left, (level + 1) * pitch), weight=STREAM)
    sheet.arrow(box.bottom, (left, box.bottom[1] + 22), weight=STREAM)
    sheet.text((left, box.bottom[1] + 34), "to norm and head")
    names = ", then ".join(name for name, _ in added)
    alt = (
        f"Tables of {time} rows, for the tokens {', '.join(words)}, and {width} columns of numbers, read from above. "
        f"On the left is the stream, first the embedding. On the right is what each part adds: {names}. A part reads "
        f"the stream above it; a plus sign adds its table to that of the stream, which gives the next one."
    )
    return sheet.drawing("additions", title="The residual stream, number by number", alt=alt)


def _two_places(value: float) -> str:
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")
