"""How several devices share the inside of a model: its matrices, the tokens of a text, and its experts.

Left out: the way back, in which every arrow is turned round, and what goes on in a device meanwhile.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require, require_sizes
from transformer_lib.contract import checked
from transformer_lib.nn.feedforward import FeedForward
from transformer_lib.viz.diagram import BLUE, GREEN, ORANGE, PINK, SKY, Box, Drawing, Sheet
from transformer_lib.viz.parts import FEEDFORWARD, shape_text

MOST = 4  # devices that the sheet has room for
COLOURS = (BLUE, ORANGE, GREEN, PINK)  # one for each device


@checked
def draw_tensor_parallel(module: FeedForward, x: Float[Tensor, "tokens d_model"], *, gpus: int) -> Drawing:
    """A feed-forward network whose hidden channels are shared out: each device has a part of both matrices."""
    hidden, width = module.to_hidden.weight.shape
    require(1 < gpus <= 2, "gpus", "must be 2, to have room", gpus)
    require(x.shape[1] == width, "x", f"must have {width} columns, as the network reads", x.shape[1])
    require(hidden % gpus == 0, "module", f"must have hidden channels for {gpus} devices", hidden)
    sheet, share = Sheet(), hidden // gpus
    step = 430 / gpus
    plus = sheet.sign((221, -312))
    with torch.no_grad():
        inside, out = x @ module.to_hidden.weight[:share].T, module(x)
    for i in range(gpus):
        centre = 6 + (i + 0.5) * step
        sheet.frame(Box(centre - step / 2 + 6, -280, step - 12, 310), f"GPU {i}")
        read = sheet.tensor(Box.around(centre, 0, 130, 28), f"x: {shape_text(x.shape)}", colour=SKY)
        up = sheet.module(Box.around(centre, -60, 170, 30), f"{width} × {share} of {hidden}", colour=FEEDFORWARD)
        between = sheet.tensor(Box.around(centre, -120, 130, 28), shape_text(inside.shape), colour=COLOURS[i])
        down = sheet.module(Box.around(centre, -180, 170, 30), f"{share} of {hidden} × {width}", colour=FEEDFORWARD)
        sheet.arrow(read.top, up.bottom)
        sheet.arrow(up.top, between.bottom)
        sheet.arrow(between.top, down.bottom)
        part = sheet.tensor(Box.around(centre, -232, 130, 26), f"part: {shape_text(out.shape)}", colour=COLOURS[i])
        sheet.arrow(down.top, part.bottom)
        sheet.arrow(part.top, (centre, -312), plus.left if i == 0 else plus.right)
    sheet.arrow(plus.top, (221, -346))
    sheet.text((231, -340), f"y: {shape_text(out.shape)}, on every GPU", side="start")
    sheet.text((210, -340), "all-reduce", side="end")
    alt = (
        f"Two devices read the same {x.shape[0]} vectors of {width} numbers. Each multiplies them by its {share} of "
        f"{hidden} hidden channels, and those by the rows of the second matrix that belong to them. What comes out of "
        "both is added up, and the sum goes to both."
    )
    return sheet.drawing("tensor-parallel", title="A feed-forward network on two devices", alt=alt)


@checked
def draw_ring(*, tokens: int, gpus: int) -> Drawing:
    """A causal text on several devices: which stretch of keys each has at each hop, and which queries look at them."""
    require_sizes(tokens=tokens, gpus=gpus)
    require(1 < gpus <= MOST, "gpus", f"must be 2 to {MOST}, to have room", gpus)
    require(tokens % gpus == 0 and tokens // gpus <= 8, "tokens", f"must be at most 8 for each of {gpus} GPUs", tokens)
    sheet, part = Sheet(), tokens // gpus
    step = (430 - 62) / gpus
    side = min(56, step - 22)
    made = [0] * gpus
    for hop in range(gpus):
        sheet.text((68 + (hop + 0.5) * step, -24), f"hop {hop}" if hop else "its own")
        for i in range(gpus):
            owner = (i - hop) % gpus
            queries, keys = (torch.arange(part) + first * part for first in (i, owner))
            allowed = keys <= queries[:, None]
            made[i] += int(allowed.sum())
            box = Box(68 + (hop + 0.5) * step - side / 2, i * (side + 44), side, side)
            sheet.grid(box, allowed.tolist(), colour=COLOURS[owner])
            sheet.text((box.centre[0], box.y + side + 14), f"{int(keys[0]) + 1} to {int(keys[-1]) + 1}")
            if hop:
                sheet.arrow((box.x - step + side, box.centre[1]), (box.x, box.centre[1]))
    for i in range(gpus):
        sheet.text((6, i * (side + 44) + side / 2 - 9), f"GPU {i}", side="start")
        sheet.text((6, i * (side + 44) + side / 2 + 9), f"{i * part + 1} to {(i + 1) * part}", side="start")
    low = gpus * (side + 44) + 10
    sheet.text(
        (221, low), f"{sum(made)} of {tokens * tokens} pairs; at most {max(made)}, at least {min(made)} on a GPU"
    )
    alt = (
        f"A table with a row for each of {gpus} devices, with {part} queries each, and a column for each hop. In each "
        "place stands the square of queries and keys that meet there: first the keys of the device itself, then "
        "those of the one before it, and so on. Under a causal mask the first device looks only at its own keys."
    )
    return sheet.drawing("ring", title="Keys go round a ring of devices", alt=alt)


@checked
def draw_expert_exchange(sent: Sequence[Sequence[int]], *, width: int) -> Drawing:
    """Tokens on their way to experts: `sent[i][j]` of device i go to device j, as vectors of `width` numbers."""
    gpus = len(sent)
    require_sizes(width=width)
    require(1 < gpus <= MOST, "sent", f"must have 2 to {MOST} rows, to have room", gpus)
    require(all(len(row) == gpus for row in sent), "sent", f"must have {gpus} numbers in each row", [*map(len, sent)])
    require(all(count >= 0 for row in sent for count in row), "sent", "must not be negative", sent)
    sheet = Sheet()
    most = max(1, *(sum(row) for row in sent), *(sum(column) for column in zip(*sent, strict=True)))
    step, unit = 430 / gpus, (430 / gpus - 24) / most
    below: dict[tuple[int, int], Box] = {}
    above: dict[tuple[int, int], Box] = {}
    for i in range(gpus):
        left = 6 + i * step + 12
        for boxes, counts, y, name in (
            (below, list(sent[i]), 0, f"GPU {i}"),
            (above, [row[i] for row in sent], -150, f"expert {i}"),
        ):
            x = left
            for j, count in enumerate(counts):
                box = Box(x, y, count * unit, 26)
                boxes[(i, j) if boxes is below else (j, i)] = box
                colour = COLOURS[j if boxes is below else i]
                if count:
                    sheet.tensor(box, colour=colour)
                x += count * unit
            at = y + 42 if boxes is below else y - 14
            sheet.text((left + step / 2 - 12, at), f"{name}: {sum(counts)}")
    for i in range(gpus):
        for j in range(gpus):
            if sent[i][j]:
                sheet.arrow(below[i, j].top, above[i, j].bottom, broken=i == j)
    moved = sum(sent[i][j] for i in range(gpus) for j in range(gpus) if i != j)
    sheet.text((221, 70), f"{moved} vectors of {width} numbers change their GPU, and come back")
    alt = (
        f"Below, the vectors of {gpus} devices, sorted by the expert that each is for. Arrows lead up to the devices "
        f"with these experts. {moved} of {sum(map(sum, sent))} vectors go to another device. Some experts get more "
        "than others, so some devices have more to do."
    )
    return sheet.drawing("expert-exchange", title="Tokens on their way to experts", alt=alt)
