"""Who looks at whom in a translator: the three kinds of attention of an encoder-decoder, as a running model has them.

Left out: where each stands in the stacks, which `encoder_decoder` draws.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.viz.diagram import BLUE, WIDTH, Box, Drawing, Sheet
from transformer_lib.viz.record import record_attention

MOST_TOKENS = 8
KINDS = {
    "encoder": ("encoder.blocks.0.attention", "source", "source"),
    "decoder": ("blocks.0.attention", "target", "target"),
    "cross-attention": ("blocks.0.cross_attention", "target", "source"),
}


@checked
@torch.no_grad()
def draw_translation_masks(
    model: Seq2Seq,
    source: Int[Tensor, "1 source"],
    target: Int[Tensor, "1 target"],
    source_valid: Bool[Tensor, "1 source"],
    words: tuple[Sequence[str], Sequence[str]],
) -> Drawing:
    """Three grids of one pair, filled where the model gives any weight; `words` are the tokens of source and target."""
    for name, ids, own in (("source", source, words[0]), ("target", target, words[1])):
        require(ids.shape[1] <= MOST_TOKENS, name, f"must have at most {MOST_TOKENS} tokens", ids.shape[1])
        require(len(own) == ids.shape[1], f"words of the {name}", f"must be {ids.shape[1]} in number", len(own))
    with record_attention(model) as looks:
        model(source, target, source_valid=source_valid)
    weights = {look.name: look.weights[0].amax(0) for look in looks}
    sheet, told, lowest = Sheet(), [], 0.0
    step = (WIDTH - 8) / len(KINDS)
    cell = min(20.0, (step - 34) / max(source.shape[1], target.shape[1]))
    for i, (title, (name, _, _)) in enumerate(KINDS.items()):
        mask = weights[name] > 0
        rows, columns = mask.shape
        box = Box(i * step + (step + 22 - cell * columns) / 2, 40, cell * columns, cell * rows)
        sheet.text((box.top[0], 0), title, bold=True)
        sheet.grid(box, mask.tolist(), colour=BLUE)
        for column in range(columns):
            sheet.text((box.x + (column + 0.5) * cell, box.y - 11), str(column + 1))
        for row in range(rows):
            sheet.text((box.x - 6, box.y + (row + 0.5) * cell), str(row + 1), side="end")
        told.append(f"{title}, {int(mask.sum())} of {mask.numel()}")
        lowest = max(lowest, box.bottom[1])
    for i, (_, down, across) in enumerate(KINDS.values()):
        sheet.text(
            (i * step + (step + 22) / 2, lowest + 18), f"{down} reads {across}" if down != across else f"{down} alone"
        )
    for k, (side, own) in enumerate(zip(("source", "target"), words, strict=True)):
        listed = " | ".join(f"{number + 1} {word}" for number, word in enumerate(own))
        sheet.text((6, lowest + 46 + 20 * k), f"{side}: {listed}", side="start")
    alt = (
        f"Three grids with a row for each token that looks and a column for each it may look at, filled where it may: "
        f"{'; '.join(told)}. The encoder's tokens see all of the source but what fills it up, the decoder's only those "
        "up to themselves, and across the decoder's tokens see what the encoder's see."
    )
    return sheet.drawing("translation-masks", title="Who looks at whom in a translator", alt=alt)
