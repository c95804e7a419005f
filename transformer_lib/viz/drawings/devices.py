"""What each device holds when several train one model: all of it, or a part.

Left out: activations, which depend on the batch, and splitting the products or the layers of a model.
"""

from transformer_lib.checks import require
from transformer_lib.config import ModelConfig
from transformer_lib.contract import checked
from transformer_lib.training.parallel import Parallel
from transformer_lib.training.plan import Memory, memory
from transformer_lib.viz.diagram import BLUE, NONE, ORANGE, PINK, Box, Drawing, Number, Sheet
from transformer_lib.viz.parts import number_text

MOST = 4  # devices that the sheet has room for
GIGA = 1e9


@checked
def draw_data_parallel(config: ModelConfig, *, gpus: int) -> Drawing:
    """Above, copies: every device holds the whole state of training; below, shards: every device holds one part."""
    require(1 < gpus <= MOST, "gpus", f"must be 2 to {MOST}, to have room", gpus)
    sheet, held = Sheet(), {}
    rows: tuple[tuple[Parallel, str, str, Number], ...] = (
        ("ddp", "data parallel", "each step: the gradients are added up over all", 0),
        ("fsdp2", "sharded", "each block: its weights are fetched, and let go again", 248),
    )
    for parallel, name, sent, top in rows:
        need = memory(config, gpus=gpus, batch=1, context=1, parallel=parallel)
        whole = memory(config, gpus=1, batch=1, context=1, parallel="ddp")
        held[name] = _states(need)
        sheet.text((4, top - 22), f"{name}: {_gigabytes(held[name])} on each device", side="start", bold=True)
        sheet.text((4, _devices(sheet, top, gpus, need, whole) + 18), sent, side="start")
    alt = (
        f"Two groups of {gpus} devices, each with three bars: weights, gradients and the optimiser's moments. Above, "
        f"all bars of all devices are full, {_gigabytes(held['data parallel'])} on each. Below, each device has filled "
        f"only its own part of each bar, one in {gpus}, which is {_gigabytes(held['sharded'])}."
    )
    return sheet.drawing("data-parallel", title="Data parallel and sharded", alt=alt)


def _devices(sheet: Sheet, top: Number, gpus: int, need: Memory, whole: Memory) -> Number:
    """The devices side by side, each with its texts above and its bars in a frame; gives back how low they end.

    A bar is as high as its bytes, and filled as far as the device holds them.
    """
    width = (442 - 108) / gpus
    unit = 24 / whole.parameters
    y = top + 50
    parts = (("weights", "parameters", BLUE), ("gradients", "gradients", PINK), ("moments", "optimizer", ORANGE))
    for name, part, colour in parts:
        height = getattr(whole, part) * unit
        sheet.text((4, y + height / 2), name, side="start")
        for i in range(gpus):
            full = Box(104 + i * width + 8, y, width - 16, height)
            share = getattr(need, part) / getattr(whole, part)
            sheet.tensor(full, colour=NONE)
            start = full.x + (full.width * i * share if share < 1 else 0)
            sheet.tensor(Box(start, y, full.width * share, height), colour=colour)
        y += height + 8
    for i in range(gpus):
        box = Box(104 + i * width + 2, top, width - 4, y - top)
        sheet.frame(box)
        sheet.text((box.centre[0], top + 14), f"GPU {i}")
        sheet.text((box.centre[0], top + 33), f"texts {i}")
    return y


def _states(need: Memory) -> float:
    return need.parameters + need.gradients + need.optimizer


def _gigabytes(size: float) -> str:
    return f"{number_text(size / GIGA)} GB"
