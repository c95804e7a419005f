"""A mixture of experts as one token sees it, and a decoder with heads for further tokens.

Left out: experts on several machines, and what the heads keep in their caches.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.models.multi_token import MultiTokenLM
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.viz.diagram import BLUE, GREEN, NONE, ORANGE, Box, Drawing, Sheet
from transformer_lib.viz.parts import FEEDFORWARD, TABLE, number_text, two_lines

MOST_EXPERTS, MOST_HEADS = 8, 2  # what the sheet has room for


@checked
def draw_experts(module: MixtureOfExperts, x: Float[Tensor, " d_model"]) -> Drawing:
    """Which experts a token passes through, with what weights; the shared one, if there is one, beside them."""
    experts, width = module.router.config, len(x)
    shared = module.shared is not None
    number = experts.num_experts
    require(number <= MOST_EXPERTS, "module", f"must have at most {MOST_EXPERTS} experts, to have room", number)
    with torch.no_grad():
        chosen, weights, probabilities = module.router(x[None])
    taken = dict(zip(chosen[0].tolist(), weights[0].tolist(), strict=True))
    sheet, step = Sheet(), 430 / (number + shared)
    token = sheet.tensor(Box.around(70, 0, 112, 26), f"x: 1 × {width}")
    router = two_lines(sheet, Box.around(208, 0, 120, 46), "router", f"{width} → {number} scores", colour=GREEN)
    sheet.arrow(token.right, router.left)
    bars = sheet.bars(Box(306, -23, 124, 46), probabilities[0].tolist(), colour=GREEN)
    sheet.arrow(router.right, bars.left)
    sheet.text((bars.centre[0], 38), f"{experts.router}, top {experts.top_k}")
    sheet.text((14, 38), f"each expert {width} → {experts.d_ff} → {width}", side="start")
    sheet.line(token.top, (token.top[0], -52))
    for e in range(number + shared):
        used = e in taken or e == number
        box = Box.around(6 + (e + 0.5) * step, -100, step - 8, 34)
        name = "all" if e == number else str(e + 1)
        sheet.module(box, name, colour=ORANGE if e == number else FEEDFORWARD if used else NONE)
        if used:
            sheet.arrow((token.top[0], -52), (box.centre[0], -52), box.bottom)
            off = box.centre[0] - 221
            ends = ((box.centre[0], -156), (221 + math.copysign(10, off), -156)) if abs(off) > 1 else ((221, -146),)
            sheet.line(box.top, *ends)
            if e != number:
                sheet.text((box.centre[0] + 5, -136), f"× {number_text(taken[e], 2)}", side="start")
    plus = sheet.sign((221, -156))
    sheet.arrow(plus.top, (221, -196))
    sheet.text((229, -190), f"y: 1 × {width}", side="start")
    those = ", ".join(f"number {e + 1} with weight {number_text(w, 2)}" for e, w in taken.items())
    alt = (
        f"From below, a token's vector of {width} numbers goes to a router, which scores {number} experts. The best "
        f"{len(taken)} are computed, {those}; the other {number - len(taken)} are not. Their weighted sum leaves at "
        "the top."
    )
    return sheet.drawing("experts", title="A token and its experts", alt=alt)


@checked
def draw_further_heads(model: MultiTokenLM) -> Drawing:
    """Decoder and heads side by side: what each reads, how large it is, and which token it predicts."""
    heads, width = len(model.heads), model.config.d_model
    require(heads <= MOST_HEADS, "model", f"must have at most {MOST_HEADS} heads, to have room", heads)
    sheet, step = Sheet(), 430 / (heads + 1)
    layers = model.config.num_layers
    previous = None
    for k in range(heads + 1):
        x = 6 + (k + 0.5) * step
        name = f"{layers} layers" if k == 0 else f"head {k}"
        size = "decoder" if k == 0 else "one layer"
        box = two_lines(sheet, Box.around(x, -130, step - 44, 48), name, size, colour=BLUE)
        reads = "tokens 1 ... i" if k == 0 else f"token i + {k}"
        table = sheet.module(Box.around(x, -18, step - 44, 26), "embedding", colour=TABLE)
        sheet.text((x, 18), reads)
        if k == 0:
            sheet.arrow(table.top, box.bottom)
        else:
            join = sheet.module(Box.around(x, -72, step - 44, 26), f"{2 * width} → {width}", colour=GREEN)
            sheet.arrow(table.top, join.bottom)
            sheet.arrow(join.top, box.bottom)
            assert previous is not None
            middle = x - step / 2
            sheet.arrow(previous, (middle, previous[1]), (middle, -72), join.left)
            sheet.text((middle, -166), f"1 × {width}")
        previous = box.right
        out = sheet.module(Box.around(x, -204, step - 44, 26), "output head", colour=TABLE)
        sheet.arrow(box.top, out.bottom)
        sheet.arrow(out.top, (x, -236))
        sheet.text((x, -248), f"token i + {k + 1}")
    sheet.legend((12, 48), [(TABLE, "shared by all"), (BLUE, "layers"), (GREEN, "joins two vectors")])
    alt = (
        f"Columns side by side. The decoder of {layers} layers reads the tokens up to i and predicts token i + 1. To "
        f"its right stands what goes further, {heads} of one layer each: a head joins the vector of {width} numbers of "
        "the column on its left with the embedding of the token that this column predicts, and predicts the one after "
        "it. Embedding and output head are the same in all columns."
    )
    return sheet.drawing("further-heads", title="A decoder with heads for further tokens", alt=alt)
