"""Two designs of a program that reads mail and uses tools: with one channel for orders and data, and with two.

Left out: what the policy asks, which the chapter shows as code.
"""

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.viz.diagram import BLUE, GREEN, GREY, RED, Box, Drawing, Number, Sheet
from transformer_lib.viz.label import label_width

MOST = 84  # pixels of a name


@checked
def draw_designs(request: str, data: str) -> Drawing:
    """Above, a reader takes orders from the request and from the data; below, data is a value that needs a permit."""
    for field, name in (("request", request), ("data", data)):
        require(0 < label_width(name) <= MOST, field, "must be a short name, to have room", name)
    sheet = Sheet()

    def box(x: Number, y: Number, name: str, colour: str) -> Box:
        return sheet.module(Box.around(x, y, 100 if x < 100 else 76, 30), name, colour=colour)

    def both(upper: Box, lower: Box, into: Box) -> None:
        for start, end in ((upper.right, into.top), (lower.right, into.bottom)):
            sheet.arrow(start, (end[0], start[1]), end)

    sheet.text((4, -70), "one channel", side="start", bold=True)
    reader, tools = box(200, 0, "reader", GREY), box(400, 0, "tools", GREY)
    both(box(54, -38, request, BLUE), box(54, 38, data, RED), reader)
    sheet.arrow(reader.right, tools.left)

    sheet.text((4, 96), "plan and policy", side="start", bold=True)
    asks, plan = box(54, 128, request, BLUE), box(184, 128, "plan", BLUE)
    reads, value = box(54, 204, data, RED), box(184, 204, "value", RED)
    policy, tools = box(290, 166, "policy", GREEN), box(400, 166, "tools", GREY)
    for before, after in ((asks, plan), (reads, value), (policy, tools)):
        sheet.arrow(before.right, after.left)
    both(plan, value, policy)
    alt = (
        f"Two designs. Above, {request} and {data} both lead into the reader, and the reader to the tools. "
        f"Below, the {request} leads to a plan and the {data} to a value; both lead to the policy, and only the policy "
        "leads to the tools."
    )
    return sheet.drawing("designs", title="One channel, or plan and policy", alt=alt)
