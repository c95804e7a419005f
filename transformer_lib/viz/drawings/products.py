"""Self-attention as three products of matrices, drawn as rectangles with longer sides for larger sizes.

Left out: masks, several heads, and the output map, which have drawings of their own.
"""

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from transformer_lib.contract import checked
from transformer_lib.nn.attend import attention_weights
from transformer_lib.nn.fit import require_same_dtype
from transformer_lib.viz.diagram import BLUE, GREEN, GREY, NONE, ORANGE, PINK, RED, WIDTH, Box, Drawing, Number, Sheet
from transformer_lib.viz.parts import shape_text

QUERY, KEY, VALUE, WEIGHT = ORANGE, BLUE, GREEN, RED
LEAST, MOST = 26, 96  # the least side of a matrix, and what the longest has more
ROWS, SIGN = 30, 30  # room for how many rows a matrix has, and for the sign between two
MOST_SHADED = 16  # numbers in a row that can still be told apart


class _Matrix(NamedTuple):
    """A matrix of a line, with the sign before it."""

    sign: str
    label: str
    values: Tensor
    colour: str


class _Line(NamedTuple):
    """A product: what it is called, what else there is to say, and its matrices."""

    name: str
    words: str
    matrices: list[_Matrix]


@checked
def draw_products(
    x: Float[Tensor, "time d_model"],
    w_q: Float[Tensor, "d_model channel"],
    w_k: Float[Tensor, "d_model channel"],
    w_v: Float[Tensor, "d_model value"],
) -> Drawing:
    """Self-attention as three products of rectangles, with the shapes and the weights that these matrices give."""
    for name, tensor in (("w_q", w_q), ("w_k", w_k), ("w_v", w_v)):
        require_same_dtype(name, tensor, x.dtype)
    q, k, v = x @ w_q, x @ w_k, x @ w_v
    weights = attention_weights(q[None, None], k[None, None])[0, 0]
    output = weights @ v
    queries, mixing = _Matrix("", "$Q$", q, QUERY), _Matrix("", "$A$", weights, WEIGHT)
    lines = [
        _Line(
            "project",
            "$K$ and $**V**$ likewise, by $W_K$ and $W_V$",
            [_Matrix("", "$X$", x, GREY), _Matrix("$·$", "$W_Q$", w_q, PINK), queries._replace(sign="$=$")],
        ),
        _Line(
            "compare",
            f"softmax of scores / √{q.shape[1]} in each row",
            [queries, _Matrix("$·$", "$K^⊤$", k.T, KEY), mixing._replace(sign="$→$")],
        ),
        _Line(
            "mix",
            "each row of $O$ is a mean of rows of $**V**$",
            [mixing, _Matrix("$·$", "$**V**$", v, VALUE), _Matrix("$=$", "$O$", output, VALUE)],
        ),
    ]
    sheet, y, unit = Sheet(), 0.0, _unit(lines)
    for line in lines:
        y += _draw_line(sheet, y, line, *unit)
    alt = (
        f"Three lines of rectangles. Project: X, {shape_text(x.shape)}, times W_Q, {shape_text(w_q.shape)}, gives Q, "
        f"{shape_text(q.shape)}; K and V likewise. Compare: Q times K transposed, scaled, and a softmax in each row, "
        f"give the weights A, {shape_text(weights.shape)}. Mix: A times V, {shape_text(v.shape)}, gives the output O, "
        f"{shape_text(output.shape)}."
    )
    return sheet.drawing("products", title="Attention as products of matrices", alt=alt)


def _unit(lines: list[_Line]) -> tuple[Number, int]:
    """How long the longest side may be, beyond the least, for the widest line to fit; and its size."""
    shapes = [[matrix.values.shape for matrix in line.matrices] for line in lines]
    longest = max(size for line in shapes for shape in line for size in shape)
    widest = max(sum(math.sqrt(columns / longest) for _, columns in line) for line in shapes)
    room = WIDTH - 12 - 3 * (LEAST + ROWS) - 2 * SIGN
    return min(MOST, room / widest), longest


def _draw_line(sheet: Sheet, y: Number, line: _Line, unit: Number, longest: int) -> float:
    """One product, with its name above; gives back how high it is."""

    def side(size: int) -> float:
        return LEAST + unit * math.sqrt(size / longest)

    sheet.text((6, y), line.name, side="start", bold=True)
    sheet.text((84, y), line.words, side="start")
    high = max(side(matrix.values.shape[0]) for matrix in line.matrices)
    at, middle = 6.0, y + 36 + high / 2
    for sign, label, values, colour in line.matrices:
        if sign:
            sheet.text((at + SIGN / 2, middle), sign)
            at += SIGN
        rows, columns = values.shape
        box = Box(at + ROWS, middle - side(rows) / 2, side(columns), side(rows))
        if label == "$A$" and columns <= MOST_SHADED:
            sheet.grid(box, values.tolist(), colour=colour)
            sheet.text((box.bottom[0], box.bottom[1] + 14), label)
            label, colour = "", NONE
        sheet.tensor(box, label, rows=str(rows), columns=str(columns), colour=colour)
        at += ROWS + side(columns)
    return high + 84
