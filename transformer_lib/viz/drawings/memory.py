"""What is kept of a text: the cache as it grows, what a token leaves in it, and pages that several texts share.

Left out: prompts of unequal length, and caches that forget.
"""

from collections.abc import Mapping, Sequence

import torch

from transformer_lib.checks import require, require_positive
from transformer_lib.config import AttentionConfig, LatentAttention
from transformer_lib.contract import checked
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.viz.diagram import BLUE, GREEN, NONE, ORANGE, PINK, Box, Drawing, Sheet
from transformer_lib.viz.parts import shape_text, token_box

MOST = 7  # slots that the sheet has room for
LEFT, RIGHT, ROW = 88, 366, 46  # where the slots begin and end, and from one pass to the next
MOST_PAGES, MOST_TEXTS, MOST_TOKENS = 12, 5, 20


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


@checked
def draw_kept(kinds: Mapping[str, AttentionConfig | LatentAttention]) -> Drawing:
    """What a layer keeps of one token under several kinds of attention, by name: bars in proportion, and the sums."""
    require_positive(kinds=len(kinds))
    rows = {name: _parts_kept(kind) for name, kind in kinds.items()}
    most = max(sum(size for _, size, _ in parts) for parts in rows.values())
    sheet, unit = Sheet(), 424 / most
    for i, (name, parts) in enumerate(rows.items()):
        y, x = i * 62, 6.0
        total = sum(size for _, size, _ in parts)
        sums = " + ".join(words for words, _, _ in parts)
        sheet.text((6, y), name, side="start", bold=True)
        sheet.text((436, y), f"{sums} = {total:,}", side="end")
        for _, size, colour in parts:
            sheet.tensor(Box(x, y + 14, size * unit, 20), colour=colour)
            x += size * unit
    end = len(rows) * 62 + 2
    sheet.legend((6, end), [(BLUE, "keys"), (ORANGE, "values"), (GREEN, "latent"), (PINK, "turned key")])
    said = "; ".join(f"{name} {sum(size for _, size, _ in parts):,}" for name, parts in rows.items())
    alt = f"A bar for each kind of attention, as long as what a layer keeps of one token. Numbers kept: {said}."
    return sheet.drawing("kept", title="What a layer keeps of one token", alt=alt)


def _parts_kept(kind: AttentionConfig | LatentAttention) -> list[tuple[str, int, str]]:
    """How the parts of what is kept are written, how many numbers they have, and their colours."""
    if isinstance(kind, LatentAttention):
        return [(str(kind.kv_rank), kind.kv_rank, GREEN), (str(kind.rope_dim), kind.rope_dim, PINK)]
    require(kind.head_dim is not None, "kinds", "must say their head_dim", kind)
    heads, width = kind.kv_heads, kind.head_dim or 0
    return [(f"{heads} × {width}", heads * width, colour) for colour in (BLUE, ORANGE)]


@checked
def draw_pages(tables: Mapping[str, Sequence[int]], lengths: Sequence[int], *, page: int, pages: int) -> Drawing:
    """Texts whose tokens stand in pages: of each its length and, in order, the numbers of its pages among `pages`.

    A page that several texts have is shared. A filled slot is blue, one that is shared green; what is left of a text's
    last page is empty.
    """
    require_positive(tables=len(tables), page=page, pages=pages)
    require(len(tables) <= MOST_TEXTS, "tables", f"must be of at most {MOST_TEXTS} texts", len(tables))
    require(pages <= MOST_PAGES, "pages", f"must be at most {MOST_PAGES}", pages)
    require(len(lengths) == len(tables), "lengths", f"must be one for each of {len(tables)} texts", len(lengths))
    for (name, table), length in zip(tables.items(), lengths, strict=True):
        known = all(0 <= number < pages for number in table)
        require(known, "tables", f"must hold numbers from 0 to {pages - 1}", (name, list(table)))
        fits = len(table) == -(-length // page) and 0 < length <= MOST_TOKENS
        require(fits, "lengths", f"must fill the pages of {name}, at most {MOST_TOKENS} tokens", length)
    owners = [sum(number in table for table in tables.values()) for number in range(pages)]
    sheet, cell = Sheet(), min(18.0, 330 / (page * max(len(table) for table in tables.values())))
    for i, ((name, table), length) in enumerate(zip(tables.items(), lengths, strict=True)):
        y = i * 58
        sheet.text((6, y + 12), name, side="start", bold=True)
        sheet.text((6, y + 31), f"{length} tokens", side="start")
        for j, number in enumerate(table):
            box = Box(96 + j * (page * cell + 8), y, page * cell, 22)
            _page(sheet, box, min(page, length - j * page), page, GREEN if owners[number] > 1 else BLUE)
            sheet.text((box.centre[0], y + 34), f"page {number}")
    top, width = len(tables) * 58 + 22, 430 / pages
    sheet.text((6, top - 14), "the memory, page by page", side="start", bold=True)
    for number, count in enumerate(owners):
        box = Box(6 + number * width, top, width - 4, 26)
        sheet.tensor(box, str(number), colour=GREEN if count > 1 else BLUE if count else NONE)
    sheet.legend((6, top + 46), [(BLUE, "filled"), (GREEN, "shared"), (NONE, "empty")])
    taken, slots = sum(count > 0 for count in owners), sum(lengths)
    sheet.text((436, top + 46), f"{taken} of {pages} pages for {slots} tokens", side="end")
    alt = (
        f"Texts of {', '.join(map(str, lengths))} tokens, each cut into pages of {page} slots. Below, the memory as "
        f"a row of {pages} pages: {taken} are taken, {sum(count > 1 for count in owners)} of them by several texts. "
        "The last page of a text may have empty slots."
    )
    return sheet.drawing("pages", title="Texts in pages of one memory", alt=alt)


def _page(sheet: Sheet, box: Box, filled: int, page: int, colour: str) -> None:
    cell = box.width / page
    for slot in range(page):
        part = Box(box.x + slot * cell, box.y, cell, box.height)
        sheet.tensor(part, colour=colour if slot < filled else NONE)
