"""When the stages of a pipeline work, in two orders: a bar of time for each, with gaps where it waits.

Left out: sending, and stages that take turns with several pieces of the model.
"""

from transformer_lib.checks import require, require_sizes
from transformer_lib.contract import checked
from transformer_lib.training.pipeline import idle_share, most_waiting, pipeline_schedule
from transformer_lib.viz.diagram import BLUE, ORANGE, Box, Drawing, Sheet
from transformer_lib.viz.parts import number_text

MOST_TICKS, MOST_STAGES = 33, 8  # what the sheet has room for
HIGH = 26


@checked
def draw_pipeline(*, stages: int, micro_batches: int) -> Drawing:
    """The passes of each stage in the order of time: all forward passes first, and one forward, one backward."""
    require_sizes(stages=stages, micro_batches=micro_batches)
    require(stages <= MOST_STAGES, "stages", f"must be at most {MOST_STAGES}, to have room", stages)
    ticks = 3 * (micro_batches + stages - 1)
    require(ticks <= MOST_TICKS, "micro_batches", f"must leave at most {MOST_TICKS} ticks, to have room", ticks)
    sheet, unit, y = Sheet(), (436 - 64) / ticks, 0.0
    share = idle_share(stages, micro_batches)
    for order, name in (("gpipe", "all forward first"), ("1f1b", "one forward, one backward")):
        kept = most_waiting(stages, micro_batches, "gpipe" if order == "gpipe" else "1f1b")
        sheet.text((6, y), f"{name}: stage 0 keeps {kept}", side="start", bold=True)
        for i, tasks in enumerate(pipeline_schedule(stages, micro_batches, "gpipe" if order == "gpipe" else "1f1b")):
            top = y + 16 + i * HIGH
            sheet.text((6, top + HIGH / 2), f"stage {i}", side="start")
            sheet.area(Box(64, top + 1, ticks * unit, HIGH - 2), amount=0.06)
            for task in tasks:
                box = Box(64 + task.begin * unit, top + 1, (task.end - task.begin) * unit, HIGH - 2)
                sheet.module(box, str(task.micro_batch + 1), colour=BLUE if task.forward else ORANGE)
        y += 16 + stages * HIGH + 30
    sheet.legend((64, y - 8), [(BLUE, "forward"), (ORANGE, "backward")])
    sheet.text((436, y - 8), f"waiting : working = {number_text(share, 3)}", side="end")
    alt = (
        f"Two charts of time with a row for each of {stages} stages. In each, {micro_batches} numbered forward passes "
        "step down from stage to stage and the backward passes, twice as long, step up again, so every stage waits "
        "at the beginning, at the end or between. In the first chart all forward passes come before the backward ones; "
        "in the second a stage alternates as soon as it can. Both end at the same time."
    )
    return sheet.drawing("pipeline", title="A pipeline in two orders", alt=alt)
