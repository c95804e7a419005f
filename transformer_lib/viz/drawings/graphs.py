"""Computational graphs: values as they go forward, gradients as they come back, both from PyTorch's autograd.

Left out: graphs drawn by themselves from any computation.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.viz.diagram import BLUE, GREEN, ORANGE, Box, Drawing, Number, Point, Sheet
from transformer_lib.viz.parts import ATTENTION, number_text

MOST = 3  # keys, and channels of each, that the sheet has room for


@checked
def draw_scalar_graph(w: Number, x: Number) -> Drawing:
    """(w x + w)² as a graph: above each edge what goes forward on it, below what comes back."""
    leaf_w, leaf_x = (torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for value in (w, x))
    through, direct = leaf_w * 1, leaf_w * 1  # w goes two ways, and each has a gradient of its own
    u = through * leaf_x
    v = u + direct
    loss = v.square()
    flows = (leaf_w, leaf_x, through, direct, u, v, loss)
    values = [number_text(flow.item()) for flow in flows]
    grads = [number_text(grad.item()) for grad in torch.autograd.grad(loss, flows)]
    sheet = Sheet()
    from_w = sheet.module(Box(8, -58, 52, 30), f"$w$ = {values[0]}", colour=GREEN)
    from_x = sheet.module(Box(8, 28, 52, 30), f"$x$ = {values[1]}", colour=GREEN)
    times, plus = sheet.sign((160, 0), "×"), sheet.sign((254, 0), "+")
    square = sheet.module(Box.around(348, 0, 56, 30), "square", colour=BLUE)
    routes: list[tuple[list[Point], str, str, str]] = [
        ([from_w.right, (160, from_w.right[1]), times.top], "", values[2], grads[2]),
        ([from_x.right, (160, from_x.right[1]), times.bottom], "", values[1], grads[1]),
        ([from_w.top, (from_w.top[0], -92), (254, -92), plus.top], "", values[3], grads[3]),
        ([times.right, plus.left], "$u$ = ", values[4], grads[4]),
        ([plus.right, square.left], "$v$ = ", values[5], grads[5]),
        ([square.right, (438, 0)], "$ℒ$ = ", values[6], grads[6]),
    ]
    for points, name, value, grad in routes:
        sheet.arrow(*points)
        (left, y), (right, _) = points[-3:-1] if len(points) > 2 else points
        sheet.text(((left + right) / 2 - 2, y - 13), name + value)
        sheet.text(((left + right) / 2 - 2, y + 12), grad, bold=True)
    sheet.text((8, -8), f"{grads[2]} + {grads[3]} = {grads[0]}", side="start", bold=True)
    sheet.text((221, 84), "above an edge: the value, forwards")
    sheet.text((221, 104), "below: the gradient of the loss, backwards", bold=True)
    alt = (
        f"Two leaves, w = {values[0]} and x = {values[1]}, meet in a product u = {values[4]}; w also goes round it "
        f"into the sum v = {values[5]}, whose square is the loss, {values[6]}. Backwards, v and u have the gradient "
        f"{grads[5]}, x has {grads[1]}, and the two ways of w bring {grads[2]} and {grads[3]}, together {grads[0]}."
    )
    return sheet.drawing("scalar-graph", title="A computational graph with values and gradients", alt=alt)


@checked
def draw_attention_graph(
    query: Float[Tensor, " channel"],
    keys: Float[Tensor, "key channel"],
    values: Float[Tensor, "key channel"],
    grad_out: Float[Tensor, " channel"],
) -> Drawing:
    """Attention of one query as a graph: on the left what goes up, on the right in bold what comes down.

    `grad_out` is the gradient that arrives at the output; those of all the rest are computed.
    """
    count, width = keys.shape
    for field, size in (("keys", count), ("query", width)):
        require(0 < size <= MOST, field, f"must be 1 to {MOST} in number, to have room", size)
    q, k, v = (part.detach().clone().requires_grad_() for part in (query, keys, values))
    z = k @ q / width**0.5
    a = z.softmax(dim=0)
    o = a @ v
    grads = torch.autograd.grad(o, (q, k, v, z, a), grad_out)
    sheet, x = Sheet(), 140
    boxes = [
        sheet.module(Box.around(x, y, 112, 30), label, colour=colour)
        for y, label, colour in (
            (-76, f"$q K^⊤$ / √{width}", ATTENTION),
            (-176, "softmax", ORANGE),
            (-276, "$a **V**$", ATTENTION),
        )
    ]
    start, end = Box.around(x, 0, 0, 0), Box.around(x, -352, 0, 0)
    stops = [start, *boxes, end]
    chain = (("q", q, grads[0]), ("z", z, grads[3]), ("a", a, grads[4]), ("o", o, grad_out))
    for (name, value, grad), below, above in zip(chain, stops[:-1], stops[1:], strict=True):
        sheet.arrow(below.top, above.bottom)
        y = (below.y + above.y + above.height) / 2
        sheet.text((x - 8, y), f"${name}$ = {_row(value, 3)}", side="end")
        sheet.text((x + 8, y), _row(grad, 4), side="start", bold=True)
    for name, matrix, grad, box in (("K", k, grads[1], boxes[0]), ("V", v, grads[2], boxes[2])):
        rows = [(_row(row, 3), False) for row in matrix] + [(_row(row, 4), True) for row in grad]
        height = 18 * len(rows) + 10
        around = sheet.tensor(Box(288, box.centre[1] - height / 2, 152, height), columns=f"${name}$: {count} × {width}")
        for i, (words, bold) in enumerate(rows):
            sheet.text((around.centre[0], around.y + 14 + 18 * i), words, bold=bold)
        sheet.arrow(around.left, box.right)
    return sheet.drawing(
        "attention-graph",
        title="Attention as a computational graph",
        alt=(
            "Read from the bottom up: a query meets the keys and becomes scores, these become weights by a softmax, "
            "and the weights with the values become the output. Beside each arrow stand, on the left, the numbers that "
            "go up and, on the right in bold, the gradients that come down; keys and values list both in their boxes."
        ),
    )


def _row(vector: Tensor, places: int) -> str:
    return f"({', '.join(number_text(round(x, places)) for x in vector.tolist())})"
