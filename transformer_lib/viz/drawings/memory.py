"""The key/value cache as a text grows: what each pass of the model computes, and what it finds kept.

Left out: prompts of unequal length, and caches that forget.
"""

from collections.abc import Sequence

import torch

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.diagram import BLUE, NONE, ORANGE, Box, Drawing, Sheet
from transformer_lib.viz.parts import shape_text, token_box

MOST = 7  # slots that the sheet has room for
LEFT, RIGHT, ROW = 88, 366, 46  # where the slots begin and end, and from one pass to the next


@checked
def draw_cache(model: DecoderLM, prompt: Sequence[str], written: Sequence[str]) -> Drawing:
    """The passes that read a prompt and write some tokens, with the slots of the cache after each.

    The model fills a cache of its own; the words only name the tokens, for any others have keys of the same shape.
    """
    require_positive(prompt=len(prompt), written=len(written))
    read = [*prompt, *written[:-1]]  # nobody reads the last one that is written
    require(len(read) <= MOST, "prompt", f"must give, with what is written, at most {MOST} slots", len(read))
    sheet, cache, cell = Sheet(), model.new_cache(1, len(read)), (RIGHT - LEFT) / len(read)
    for i, word in enumerate(read):
        sheet.text((LEFT + (i + 0.5) * cell, -18), word)
    for step, word in enumerate(written):
        old, y = cache.length, step * ROW
        new = torch.zeros(1, len(prompt) + step - old, dtype=torch.int64, device=cache.device)
        with torch.no_grad():
            model(new, cache=cache)
        for slot in range(len(read)):
            colour = NONE if slot >= cache.length else ORANGE if slot >= old else BLUE
            sheet.tensor(Box(LEFT + slot * cell, y, cell, 30), colour=colour)
        keys = cache.layer_keys[0][0, :, : cache.length]
        sheet.text((6, y + 6), f"pass {step + 1}", side="start", bold=True)
        sheet.text((6, y + 25), shape_text(keys.shape), side="start")
        token = token_box(sheet, (RIGHT + 48, y + 15), word, width=50)
        sheet.arrow((RIGHT, y + 15), token.left)
    end = len(written) * ROW + 4
    sheet.legend((LEFT, end), [(ORANGE, "computed now"), (BLUE, "kept"), (NONE, "empty")])
    layers, (heads, _, width) = len(cache.layer_keys), keys.shape
    numbers = 2 * layers * heads * width
    says = f"{layers} layers × keys and values × {heads} heads × {width} = {numbers:,} numbers"
    sheet.text((221, end + 28), f"a slot: {says}")
    alt = (
        f"A row of {len(read)} slots for each of {len(written)} passes. The first pass fills the {len(prompt)} slots "
        "of the prompt and writes a token; each later pass computes one slot, that of the token just written, finds "
        f"all earlier ones kept, and writes the next token. At the end a layer's keys are {shape_text(keys.shape)}."
    )
    return sheet.drawing("cache", title="The key/value cache as it grows", alt=alt)
