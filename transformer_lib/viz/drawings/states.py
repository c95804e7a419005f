"""What layers keep of a text: a matrix that is written over and over, and a stack of which one layer keeps everything.

Left out: the short convolution in front of a delta layer, and windows.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.nn.delta import delta_recurrent
from transformer_lib.nn.linear_attention import linear_recurrent
from transformer_lib.nn.state import RecurrentState
from transformer_lib.viz.diagram import BLUE, GREEN, ORANGE, Box, Drawing, Sheet
from transformer_lib.viz.parts import shape_text

MOST_WRITTEN, MOST_LAYERS, MOST_SLOTS = 4, 6, 16  # that the sheet has room for


@checked
def draw_overwriting(
    keys: Float[Tensor, "time key_dim"], values: Float[Tensor, "time value_dim"], words: Sequence[str]
) -> Drawing:
    """The memory after each pair of a key and a value: of a sum above, of the delta rule below, darker where larger."""
    require(len(keys) == len(values) == len(words), "words", f"must be one for each of {len(keys)} keys", len(words))
    require(0 < len(words) <= MOST_WRITTEN, "words", f"must be from 1 to {MOST_WRITTEN}", len(words))
    require(float(keys.min()) >= 0 and float(values.min()) >= 0, "keys", "must not be negative, nor the values", "some")
    operands = [part[None, None].double() for part in (keys, keys, values)]
    ones = torch.ones_like(operands[0][..., 0])
    rows: dict[str, list[Tensor]] = {"sum": [], "delta": []}
    for t in range(1, len(words) + 1):
        past = [part[:, :, :t] for part in operands]
        rows["sum"].append(linear_recurrent(*past)[1][0, 0, :, :-1])
        rows["delta"].append(delta_recurrent(*past, log_decay=0 * ones[..., :t], beta=ones[..., :t])[1][0, 0])
    sheet, most = Sheet(), max(1.0, *(float(memory.max()) for row in rows.values() for memory in row))
    step = 330 / len(words)
    for i, word in enumerate(words):
        sheet.text((100 + (i + 0.5) * step, -20), f"after {word}")
    for name, y, colour in (("sum", 0, ORANGE), ("delta", 80, BLUE)):
        sheet.text((6, y + 28), "a sum" if name == "sum" else "delta rule", side="start", bold=True)
        for i, memory in enumerate(rows[name]):
            cells = (memory.clamp(min=0) / most).tolist()
            sheet.grid(Box.around(100 + (i + 0.5) * step, y + 28, min(92, step - 12), 56), cells, colour=colour)
    shape = shape_text(rows["sum"][0].shape)
    sheet.text((221, 162), f"each memory: {shape}, a row for each channel of the key")
    alt = (
        f"Two rows of {len(words)} matrices, one after each of {', '.join(words)}; darker cells hold larger numbers. "
        "In the upper row every value is added to what its key held. In the lower row a key that comes again holds "
        "its new value alone."
    )
    return sheet.drawing("overwriting", title="A memory that adds and one that corrects", alt=alt)


@checked
def draw_growth(model: DecoderLM, length: int) -> Drawing:
    """What each layer of a decoder keeps of one text of `length` tokens: a matrix a head, or a slot a token."""
    require_positive(length=length)
    require(length <= MOST_SLOTS, "length", f"must be at most {MOST_SLOTS} tokens", length)
    layers = len(model.blocks)
    require(layers <= MOST_LAYERS, "model", f"must have at most {MOST_LAYERS} layers", layers)
    sheet, cache = Sheet(), model.new_cache(1, length)
    slots = iter(cache.layer_keys)
    for index in range(layers):
        y, kept = -40 * index, cache.layer(index)
        sheet.text((6, y + 14), f"layer {index + 1}", side="start", bold=True)
        if isinstance(kept, RecurrentState):
            heads = kept.memory.shape[1]
            for head in range(min(heads, 3)):
                sheet.tensor(Box(84 + 34 * head, y, 28, 28), colour=GREEN)
            numbers, shape = kept.memory.numel(), shape_text(kept.memory.shape[1:])
        else:
            keys = next(slots)[0]
            for slot in range(length):
                sheet.tensor(Box(84 + slot * 190 / length, y, 190 / length, 28), colour=BLUE)
            numbers, shape = 2 * keys.numel(), f"2 × {shape_text(keys.shape)}"
        sheet.text((284, y + 14), f"{shape} = {numbers:,}", side="start")
    sheet.legend((84, 52), [(GREEN, "a state of fixed size"), (BLUE, "a slot a token")])
    recurrent = [index + 1 for index in range(layers) if isinstance(cache.layer(index), RecurrentState)]
    alt = (
        f"A row for each of {layers} layers, the first below. Of a text of {length} tokens, {len(recurrent)} of them "
        f"keep square matrices, whose size does not depend on the text; the other {layers - len(recurrent)} keep a row "
        f"of {length} slots, one for each token. Beside each stands how many numbers that are."
    )
    return sheet.drawing("growth", title="What the layers of a hybrid keep", alt=alt)
