"""The way of a few weights from the files of Hugging Face into our modules: new names, joined rows, a transpose.

What happens to a weight is found by comparing the numbers on either side, so a drawing cannot say what does not happen.
Left out: norms and biases, which are carried as they are, and every layer but the first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.interop.families import FAMILIES
from transformer_lib.interop.names import Family, to_theirs
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.training.state import model_tensors
from transformer_lib.viz.diagram import BLUE, ORANGE, WIDTH, Box, Drawing, Number, Sheet
from transformer_lib.viz.parts import shape_text, two_lines

MODULES = ("attention.to_qkv", "attention.to_out", "feedforward.to_hidden")
LAYER = "blocks.0."
THEIRS, OURS, HIGH, STEP = 144, 186, 44, 52  # widths and height of the boxes, and from one to the next


class _Journey(NamedTuple):
    """A weight of ours, those of theirs that it consists of, by name, and what is done to them."""

    name: str
    ours: Tensor
    theirs: dict[str, Tensor]
    done: str


@checked
def draw_weight_journey(llama: DecoderLM, gpt2: DecoderLM) -> Drawing:
    """The first layer's matrices as a Llama's folder and a GPT-2's hold them, and as the two decoders do.

    On the left stand the names in the file, without what all have in common, and on the right ours.
    """
    sheet, told = Sheet(), list[str]()
    bottom: Number = 0
    for model, kind, title in ((llama, "llama", "Llama"), (gpt2, "gpt2", "GPT-2")):
        family = FAMILIES[kind]
        journeys = [_journey(model, family, module) for module in MODULES]
        common = _prefix([name for journey in journeys for name in journey.theirs])
        sheet.text((4, bottom + 8), f"a file of {title}, under {common.rstrip('.')}", side="start", bold=True)
        bottom = _draw(sheet, journeys, common, bottom + 24) + 18
        told += [f"{title}: {_told(journey, common)}" for journey in journeys if journey.done != "as it is"]
    alt = f"Boxes, names of files on the left and ours on the right. {'; '.join(told)}. "
    alt += "The others are carried as they are."
    return sheet.drawing("weight-journey", title="From a file into our modules", alt=alt)


def _journey(model: DecoderLM, family: Family, module: str) -> _Journey:
    name = f"{LAYER}{module}.weight"
    tensors = model_tensors(model)
    require(name in tensors, "model", f"must have a weight {name}", sorted(tensors)[:3])
    ours = tensors[name].detach()
    theirs = to_theirs({name: ours}, family, model.config)
    return _Journey(module, ours, theirs, _done(list(theirs.values()), ours))


def _done(theirs: Sequence[Tensor], ours: Tensor) -> str:
    """How ours comes from theirs."""
    if len(theirs) > 1 and torch.equal(torch.cat(list(theirs)), ours):
        return "joined"
    if torch.equal(theirs[0], ours):
        return "as it is"
    require(torch.equal(theirs[0].mT, ours), "model", "must hold what the file holds, or its transpose", "neither")
    return "transposed"


def _draw(sheet: Sheet, journeys: Sequence[_Journey], common: str, y: Number) -> Number:
    """The boxes of a file and of our model, with an arrow for each matrix of the file; where they end below."""
    for journey in journeys:
        boxes = []
        for name, tensor in journey.theirs.items():
            short = name.removeprefix(common).removesuffix(".weight")
            boxes.append(two_lines(sheet, Box(0, y, THEIRS, HIGH), short, shape_text(tensor.shape), colour=BLUE))
            y += STEP
        middle = (boxes[0].y + boxes[-1].y + HIGH) / 2
        place = Box(WIDTH - OURS, middle - HIGH / 2, OURS, HIGH)
        ours = two_lines(sheet, place, journey.name, shape_text(journey.ours.shape), colour=ORANGE)
        turn = ours.x - 14
        for box in boxes:
            if box.right[1] != middle:
                sheet.line(box.right, (turn, box.right[1]), (turn, middle))
        sheet.arrow((THEIRS, middle), ours.left)
        sheet.text(((THEIRS + turn) / 2, middle - 12), journey.done)
    return y


def _prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to a point."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind(".", 0, same) + 1]


def _told(journey: _Journey, common: str) -> str:
    names = [name.removeprefix(common).removesuffix(".weight") for name in journey.theirs]
    shapes = " and ".join(dict.fromkeys(shape_text(tensor.shape) for tensor in journey.theirs.values()))
    return f"{', '.join(names)} ({shapes}) {journey.done}: {journey.name} ({shape_text(journey.ours.shape)})"
