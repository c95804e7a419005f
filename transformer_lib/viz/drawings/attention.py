"""Attention of one query, as a lookup with its vectors as bars.

Left out: masks, several heads, and where queries, keys and values come from, which have drawings of their own.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.nn.attend import attention_weights
from transformer_lib.viz.diagram import BLUE, GREEN, ORANGE, RED, WIDTH, Box, Drawing, Number, Sheet

MOST_KEYS, MOST_CHANNELS = 4, 16
QUERY, KEY, VALUE, WEIGHT = ORANGE, BLUE, GREEN, RED


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
    scores = keys @ query
    weights = attention_weights(query[None, None, None], keys[None, None])[0, 0, 0]
    output = weights @ values

    sheet = Sheet()
    step = (WIDTH - 96) / count
    axes = [96 + step * (i + 0.5) - 26 for i in range(count)]
    most = max(float(x.abs().max()) for x in (query, keys))
    most_value = float(values.abs().max())

    def bars(x: Number, y: Number, vector: Tensor, colour: str, most: Number = most_value) -> Box:
        return sheet.bars(Box.around(x, y, 44, 40), vector.tolist(), colour=colour, most=most)

    rows = {"keys": 34, "scores": 138, "weights": 236, "values": 288, "weighted": 350, "output": 440}
    for label, y in rows.items():
        sheet.text((6, y), label, side="start")
    sheet.text((6, 70), f"query {query_name}", side="start")
    before = bars(28, 102, query, QUERY, most).right
    softmax = Box(84, 158, WIDTH - 90, 28)
    for i, x in enumerate(axes):
        sheet.text((x, 2), names[i], bold=True)
        key = bars(x, rows["keys"], keys[i], KEY, most)
        dot = sheet.sign((x, 102), "·")
        sheet.arrow(key.bottom, dot.top)
        sheet.line(before, dot.left)
        before = dot.right
        sheet.arrow(dot.bottom, (x, softmax.y))
        sheet.text((x + 10, rows["scores"]), f"{scores[i]:.2f}", side="start")

        column = Box.around(x, 228, 22, 44)
        sheet.arrow((x, softmax.y + softmax.height), column.top)
        sheet.bars(column, [float(weights[i])], colour=WEIGHT, most=1)
        sheet.text((x + 16, rows["weights"]), f"{weights[i]:.3f}", side="start")
        times = sheet.sign((x, rows["values"]), "×")
        sheet.arrow(column.bottom, times.top)
        sheet.arrow(bars(x + 56, rows["values"], values[i], VALUE).left, times.right)
        product = bars(x, rows["weighted"], weights[i] * values[i], VALUE)
        sheet.arrow(times.bottom, product.top)
    sheet.module(softmax, f"softmax of score / √{width}")
    middle = sum(axes) / count
    level = 394
    plus = sheet.sign((middle, level))
    for x in axes:
        sheet.line((x, rows["weighted"] + 20), (x, level - 10 if x == middle else level))
    for x, side in ((axes[0], plus.left), (axes[-1], plus.right)):
        if x != middle:
            sheet.arrow((x, level), side)
    sheet.arrow(plus.bottom, bars(middle, rows["output"], output, VALUE).top)
    if len(output) <= 3:
        numbers = ", ".join(f"{number:.3g}" for number in output.tolist())
        sheet.text((middle + 32, rows["output"]), f"({numbers})", side="start")
    listed = ", ".join(f"{weight:.3f} for {name}" for weight, name in zip(weights.tolist(), names, strict=True))
    alt = (
        f"Read from above. The query {query_name}, a vector drawn as bars, meets {count} keys; each dot product is a "
        f"score. The softmax makes weights of the scores: {listed}. Each weight multiplies the value of its key, and "
        "the sum of the weighted values is the output."
    )
    return sheet.drawing("lookup", title="One query: scores, weights, and the weighted mean", alt=alt)
