"""Training: one step as a loop, a batch in parts, and targets that are the inputs moved by one.

Left out: evaluation and checkpoints, and what an optimiser does inside.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.loss import token_loss
from transformer_lib.viz.diagram import BLUE, GREEN, GREY, ORANGE, PINK, Box, Drawing, Number, Sheet
from transformer_lib.viz.parts import STREAM, number_text, shape_text, token_box, two_lines

MOST = 7  # tokens that the sheet has room for in a row
OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon and AdamW"}


@checked
def draw_training_loop(
    model: nn.Module, inputs: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"], config: TrainConfig
) -> Drawing:
    """One step of training, with the shapes and counts of this model and batch, and the settings of this config."""
    with torch.no_grad():
        logits = model(inputs)
        loss = token_loss(logits, targets)
    weights = sum(weight.numel() for weight in model.parameters())
    sheet = Sheet()
    clipped = f"clipped to {number_text(config.clip)}" if config.clip else "not clipped"
    batch, net, cost, rate, step, grad = (
        two_lines(sheet, Box(4 + 155 * column, 150 * row, 124, 46), name, words, colour=colour)
        for row, column, name, words, colour in (
            (0, 0, "batch", f"{shape_text(inputs.shape)} tokens", GREY),
            (0, 1, "model", f"{weights:,} weights", BLUE),
            (0, 2, "loss", f"{number_text(float(loss.mean()))} nats", ORANGE),
            (1, 0, "learning rate", f"{number_text(config.learning_rate(1))} at first", GREY),
            (1, 1, "optimiser", OPTIMIZERS[config.optimizer], GREEN),
            (1, 2, "gradient", clipped, PINK),
        )
    )
    sheet.arrow(batch.right, net.left)
    sheet.arrow(net.right, cost.left)
    sheet.arrow(batch.top, (batch.top[0], -40), (cost.top[0], -40), cost.top)
    sheet.arrow(cost.bottom, grad.top, weight=STREAM)
    sheet.arrow(rate.right, step.left)
    sheet.arrow(grad.left, step.right)
    sheet.arrow(step.top, net.bottom, weight=STREAM)
    sheet.text((221, -54), f"targets {shape_text(targets.shape)}")
    sheet.text((net.right[0] + 15, 64), "logits")
    sheet.text((net.right[0] + 15, 82), shape_text(logits.shape))
    sheet.text((grad.top[0] - 8, 122), "backward pass", side="end")
    sheet.text((step.top[0] - 8, 122), "new weights", side="end")
    alt = (
        f"A loop. A batch of {shape_text(inputs.shape)} tokens goes into the model of {weights:,} weights, whose "
        "logits meet the targets in the loss. The backward pass makes the gradient of it; the optimiser, with the "
        "learning rate, makes new weights of the gradient, and the model takes the next batch with these."
    )
    return sheet.drawing("training-loop", title="One step of training", alt=alt)


@checked
def draw_accumulation(parts: Sequence[Float[Tensor, " _token"]]) -> Drawing:
    """Micro-batches, given as the losses of their tokens: sums and counts are added up, and divided once."""
    require(0 < len(parts) <= 4, "parts", "must be 1 to 4 in number, to have room", len(parts))
    for i, part in enumerate(parts):
        require(0 < len(part) <= 4, f"parts[{i}]", "must hold 1 to 4 losses, to have room", len(part))
    sheet, sums, counts = Sheet(), [float(part.sum()) for part in parts], [len(part) for part in parts]
    for x, words in ((98, "losses of its tokens"), (260, "sum"), (322, "count"), (394, "gradients")):
        sheet.text((x, -26), words)
    for i, (part, total, count) in enumerate(zip(parts, sums, counts, strict=True)):
        y = 44 * i
        for j, loss in enumerate(part.tolist()):
            sheet.module(Box(20 + 40 * j, y - 13, 36, 26), number_text(loss), colour=BLUE)
        sheet.arrow((20 + 40 * count + 2, y), (238, y))
        sheet.text((260, y), number_text(total))
        sheet.text((322, y), str(count))
        sheet.module(Box.around(394, y, 92, 26), f"{'+ ' if i else ''}gradient {i + 1}", colour=PINK)
        if i:
            sheet.arrow((394, y - 31), (394, y - 13))
    end = 44 * len(parts)
    sheet.line((236, end - 20), (346, end - 20))
    whole, number = sum(sums), sum(counts)
    sheet.text((260, end), number_text(whole), bold=True)
    sheet.text((322, end), str(number), bold=True)
    wrong = sum(total / count for total, count in zip(sums, counts, strict=True)) / len(parts)
    right = f"{number_text(whole)} / {number} = {number_text(whole / number)}"
    sheet.arrow((394, end - 31), (394, end - 11))
    sheet.text((394, end), f"/ {number}", bold=True)
    sheet.text((20, end), f"mean: {right}", side="start", bold=True)
    sheet.text((20, end + 24), f"not the mean of the means, {number_text(wrong)}", side="start")
    sheet.arrow((394, end + 11), (394, end + 34))
    sheet.text((394, end + 44), "one step")
    alt = (
        f"Micro-batches of {' and '.join(map(str, counts))} tokens, one below the other. Their losses and their "
        f"gradients are added up, to {number_text(whole)} over {number} tokens, and divided once, which gives "
        f"{number_text(whole / number)}; then the optimiser takes one step. The mean of the means would be "
        f"{number_text(wrong)}."
    )
    return sheet.drawing("accumulation", title="Gradient accumulation", alt=alt)


@checked
def draw_questions(tokens: Sequence[str]) -> Drawing:
    """A window of tokens as inputs and targets: each input has the token after it for its target."""
    require(2 < len(tokens) <= MOST + 1, "tokens", f"must be 3 to {MOST + 1} in number, to have room", len(tokens))
    sheet, step = Sheet(), 374 / (len(tokens) - 1)
    places = [66 + (i + 0.5) * step for i in range(len(tokens) - 1)]
    inputs = [token_box(sheet, (x, 0), word, width=step - 12) for x, word in zip(places, tokens, strict=False)]
    targets = [
        token_box(sheet, (x, 76), word, width=step - 12, colour=GREEN)
        for x, word in zip(places, tokens[1:], strict=True)
    ]
    sheet.text((4, 0), "inputs", side="start")
    sheet.text((4, 76), "targets", side="start")
    for given, asked in zip(inputs, targets, strict=True):
        sheet.arrow(given.bottom, asked.top)
    for asked, later in zip(targets, inputs[1:], strict=False):
        x, y = later.bottom
        sheet.line((asked.x + asked.width - 5, asked.y), (x - later.width / 2 + 5, y), broken=True)
    sheet.text((221, 110), "arrow: asks for · broken line: the same token")
    words = ", ".join(word.strip() or "a space" for word in tokens)
    alt = (
        f"Two rows of {len(inputs)} boxes, inputs above and targets below, out of the tokens {words}. An arrow leads "
        "from each input to its target, which is the next token; a broken line joins each target to the same token "
        "among the inputs, one place to the right."
    )
    return sheet.drawing("questions", title="Inputs and targets", alt=alt)


@checked
def draw_shift(inputs: Sequence[str], targets: Sequence[str], source: Sequence[str] = ()) -> Drawing:
    """Teacher forcing: the tokens that a decoder is given and those that it should say; a source has an encoder."""
    for field, words, least in (("inputs", inputs, 2), ("source", source, 0)):
        require(least <= len(words) <= MOST, field, f"must be {least} to {MOST} in number, to have room", len(words))
    require(len(targets) == len(inputs), "targets", f"must be {len(inputs)} in number", len(targets))
    require(list(inputs[1:]) == list(targets[:-1]), "inputs", "must be the targets moved by one", list(inputs))
    sheet, columns = Sheet(), max(len(inputs), len(source))
    step = 348 / columns
    rows: list[tuple[str, Number, Sequence[str], str]] = [
        ("targets", -60, targets, GREEN),
        ("inputs", 60, inputs, GREY),
    ]
    stacks = [("decoder", 0, len(inputs))]
    if source:
        rows.append(("source", 184, source, GREY))
        stacks.append(("encoder", 124, len(source)))
    boxes = [sheet.module(Box(66, y - 17, n * step, 34), name, colour=BLUE) for name, y, n in stacks]
    for name, y, words, colour in rows:
        sheet.text((4, y), name, side="start")
        for i, word in enumerate(words):
            box = token_box(sheet, (66 + (i + 0.5) * step, y), word, width=step - 8, colour=colour)
            sheet.arrow(*((box.bottom[0], y + 43), box.bottom) if y < 0 else (box.top, (box.top[0], y - 43)))
    if source:
        sheet.arrow(boxes[1].right, (432, boxes[1].right[1]), (432, 0), boxes[0].right)
    given, wanted, read = (", ".join(word.strip() or "a space" for word in row) for row in (inputs, targets, source))
    alt = (
        f"A decoder with {len(inputs)} places. Below it stand its inputs, {given}; above it the targets, "
        f"{wanted}: the same tokens, moved by one, so that each place is asked for the token that the next "
        "one is given."
    )
    if source:
        alt += f" An encoder that has read {read} feeds it."
    return sheet.drawing("shift", title="Teacher forcing", alt=alt)
