"""Attention of one query, as a lookup with its vectors as bars.

Left out: masks, several heads, and where queries, keys and values come from, which have drawings of their own.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.nn.attend import attention_weights
from transformer_lib.nn.fit import require_same_dtype
from transformer_lib.viz.diagram import BLUE, GREEN, ORANGE, RED, WIDTH, Box, Drawing, Number, Point, Sheet

MOST_KEYS, MOST_CHANNELS = 4, 16
QUERY, KEY, VALUE, WEIGHT = ORANGE, BLUE, GREEN, RED
ROWS = {"keys": 34, "scores": 138, "weights": 236, "values": 288, "weighted": 350, "output": 440}
MEETING, SUM = 102, 394  # where the query meets the keys, and where the weighted values meet
SOFTMAX = Box(84, 158, WIDTH - 90, 28)


@checked
def draw_lookup(
    query: Float[Tensor, "channel"],
    keys: Float[Tensor, "key channel"],
    values: Float[Tensor, "key value"],
    *,
    query_name: str,
    names: Sequence[str],
) -> Drawing:
    """One query meets every key; the softmax of the scores weighs the values, whose mean is the output."""
    count, width = keys.shape
    require(count <= MOST_KEYS, "keys", f"must be at most {MOST_KEYS} in number", count)
    require(len(names) == count, "names", f"must be {count} in number", len(names))
    for name, tensor in (("keys", keys), ("values", values)):
        require(tensor.shape[1] <= MOST_CHANNELS, name, f"must have at most {MOST_CHANNELS} channels", tensor.shape[1])
    for name, tensor in (("query", query), ("values", values)):
        require_same_dtype(name, tensor, keys.dtype)
    scores = keys @ query
    weights = attention_weights(query[None, None, None], keys[None, None])[0, 0, 0]
    output = weights @ values

    sheet = Sheet()
    for label, y in ROWS.items():
        sheet.text((6, y), label, side="start")
    sheet.text((6, 70), f"query {query_name}", side="start")
    largest = float(max(query.abs().max(), keys.abs().max())), float(values.abs().max())
    before = _bars(sheet, (28, MEETING), query, QUERY, largest[0]).right
    step = (WIDTH - 90) / count
    axes = [90 + step * (i + 0.5) - 30 for i in range(count)]
    for x, name, *entry in zip(axes, names, keys, scores, weights, values, strict=True):
        sheet.text((x, 2), name, bold=True)
        before = _column(sheet, x, before, _Entry(*entry), largest)
    sheet.module(SOFTMAX, f"softmax of score / √{width}")
    middle = sum(axes) / count
    plus = sheet.sign((middle, SUM))
    for x in axes:
        sheet.line((x, ROWS["weighted"] + 20), (x, SUM - 10 if x == middle else SUM))
    for x, side in ((axes[0], plus.left), (axes[-1], plus.right)):
        if x != middle:
            sheet.arrow((x, SUM), side)
    sheet.arrow(plus.bottom, _bars(sheet, (middle, ROWS["output"]), output, VALUE, largest[1]).top)
    if len(output) <= 3:
        numbers = ", ".join(f"{number:.3g}" for number in output.tolist())
        sheet.text((middle + 32, ROWS["output"]), f"({numbers})", side="start")
    listed = ", ".join(f"{weight:.3f} for {name}" for weight, name in zip(weights.tolist(), names, strict=True))
    alt = (
        f"Read from above. The query {query_name}, a vector drawn as bars, meets {count} keys; each dot product is a "
        f"score. The softmax makes weights of the scores: {listed}. Each weight multiplies the value of its key, and "
        "the sum of the weighted values is the output."
    )
    return sheet.drawing("lookup", title="One query: scores, weights, and the weighted mean", alt=alt)


class _Entry(NamedTuple):
    """What one key brings."""

    key: Tensor
    score: Tensor
    weight: Tensor
    value: Tensor


def _column(sheet: Sheet, x: Number, before: Point, entry: _Entry, largest: tuple[Number, Number]) -> Point:
    """From a key down to its weighted value; the query comes from `before` and goes on from the point given back."""
    key = _bars(sheet, (x, ROWS["keys"]), entry.key, KEY, largest[0])
    dot = sheet.sign((x, MEETING), "·")
    sheet.arrow(key.bottom, dot.top)
    sheet.line(before, dot.left)
    sheet.arrow(dot.bottom, (x, SOFTMAX.y))
    sheet.text((x + 10, ROWS["scores"]), f"{float(entry.score):.2f}", side="start")
    weight = Box.around(x, ROWS["weights"] - 8, 22, 44)
    sheet.arrow((x, SOFTMAX.y + SOFTMAX.height), weight.top)
    sheet.bars(weight, [float(entry.weight)], colour=WEIGHT, most=1)
    sheet.text((x + 16, ROWS["weights"]), f"{float(entry.weight):.3f}", side="start")
    times = sheet.sign((x, ROWS["values"]), "×")
    sheet.arrow(weight.bottom, times.top)
    sheet.arrow(_bars(sheet, (x + 50, ROWS["values"]), entry.value, VALUE, largest[1]).left, times.right)
    product = _bars(sheet, (x, ROWS["weighted"]), entry.weight * entry.value, VALUE, largest[1])
    sheet.arrow(times.bottom, product.top)
    return dot.right


def _bars(sheet: Sheet, at: Point, vector: Tensor, colour: str, most: Number) -> Box:
    return sheet.bars(Box.around(*at, 44, 40), vector.tolist(), colour=colour, most=most)
