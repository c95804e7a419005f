"""What a translator reads for each word that it writes: a grid of weights, and frames around the true partners.

Left out: sentences of more words than the sheet has room for.
"""

from collections.abc import Collection, Sequence

from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.viz.diagram import BLUE, WIDTH, Box, Drawing, Sheet

MOST_WORDS, MOST_LETTERS = 20, 12
LINE, ROW = 15, 22  # from letter to letter of an upright word, and from word to word


@checked
def draw_alignment(
    weights: Float[Tensor, "target source"],
    source: Sequence[str],
    target: Sequence[str],
    links: Collection[tuple[int, int]],
) -> Drawing:
    """A row for each source word and a column for each target word, which is written from top to bottom.

    `links` are the true partners, as places in source and target.
    """
    for name, words in (("source", source), ("target", target)):
        fits = 0 < len(words) <= MOST_WORDS and all(0 < len(word) <= MOST_LETTERS for word in words)
        require(fits, name, f"must be 1 to {MOST_WORDS} words of 1 to {MOST_LETTERS} letters", words)
    sizes = (len(target), len(source))
    require(tuple(weights.shape) == sizes, "weights", f"must be of the shape {sizes}", tuple(weights.shape))
    inside = all(0 <= i < len(source) and 0 <= j < len(target) for i, j in links)
    require(inside, "links", f"must be places below {sizes[::-1]}", sorted(links))
    sheet, rows = Sheet(), weights.detach().double().cpu().clamp(0, 1).T.tolist()
    step = min(28.0, (WIDTH - 120) / len(target))
    box = Box((WIDTH - step * len(target) + 90) / 2, 0, step * len(target), ROW * len(source))
    sheet.grid(box, rows, colour=BLUE)
    for i, j in sorted(links):
        frame = Box(box.x + j * step + 1.5, box.y + i * ROW + 1.5, step - 3, ROW - 3)
        sheet.line(*_corners(frame), weight=2)
    for i, word in enumerate(source):
        sheet.text((box.x - 8, box.y + (i + 0.5) * ROW), word, side="end")
    for j, word in enumerate(target):
        for above, letter in enumerate(reversed(word)):
            sheet.text((box.x + (j + 0.5) * step, box.y - 11 - above * LINE), letter)
    bottom = box.y + box.height + 18
    sheet.text((WIDTH / 2, bottom), "columns: words written · rows: words read · frames: true partners")
    alt = (
        f"A grid with a row for each word of the source, {' '.join(source)}, and a column for each word of the target, "
        f"{' '.join(target)}; the darker a cell, the more the one is read for the other. Frames mark the "
        f"{len(links)} pairs that translate each other."
    )
    return sheet.drawing("alignment", title="What is read for each word written", alt=alt)


def _corners(box: Box) -> list[tuple[int | float, int | float]]:
    left, top, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
