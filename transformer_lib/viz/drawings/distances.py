"""How far a model sees: the angles that RoPE has turned through, and the tokens that an output can rest on.

Left out: cross-attention, and layers that keep a recurrent state.
"""

import math
from collections.abc import Mapping

import torch

from transformer_lib.checks import require, require_positive
from transformer_lib.config import ModelConfig, NoPositions, Rope
from transformer_lib.contract import checked
from transformer_lib.nn.positions import rope_frequencies
from transformer_lib.viz.diagram import BLUE, FULL, NONE, ORANGE, Box, Drawing, Sheet
from transformer_lib.viz.parts import number_text

MOST_PAIRS, MOST_ROPES, MOST_TOKENS, MOST_STACKS = 16, 3, 40, 3  # what the sheets have room for
ROW = 24


@checked
def draw_turns(ropes: Mapping[str, Rope], head_dim: int, *, trained: int, read: int) -> Drawing:
    """How far each channel pair turns, in parts of a full turn, by name of a `Rope`: when trained, and when it reads.

    What was trained is the first of the ropes, over `trained` tokens; each reads over `read`.
    """
    require(0 < len(ropes) <= MOST_ROPES, "ropes", f"must be 1 to {MOST_ROPES} in number", len(ropes))
    require_positive(trained=trained, read=read)
    pairs = next(iter(ropes.values())).rotated(head_dim) // 2
    require(pairs <= MOST_PAIRS, "head_dim", f"must have at most {MOST_PAIRS} pairs, to have room", head_dim)
    turns = {name: _turns(rope, head_dim, read) for name, rope in ropes.items()}
    seen = _turns(next(iter(ropes.values())), head_dim, trained)
    sheet, new = Sheet(), dict.fromkeys(ropes, 0)
    step = 330 / len(ropes)
    sheet.text((8, -24), "i", side="start", bold=True)
    for column, name in enumerate(ropes):
        left = 106 + column * step
        sheet.text((left + (step - 14) / 2, -24), name, bold=True)
        for pair in range(pairs):
            bar = Box(left, pair * ROW - 8, step - 14, 16)
            known, reached = min(seen[pair], 1.0), min(turns[name][pair], 1.0)
            sheet.area(Box(bar.x, bar.y, bar.width * min(known, reached), bar.height), colour=BLUE, amount=FULL)
            if reached > known + 1e-9:
                new[name] += 1
                rest = bar.width * (reached - known)
                sheet.area(Box(bar.x + bar.width * known, bar.y, rest, bar.height), colour=ORANGE, amount=FULL)
            sheet.tensor(bar, colour=NONE)
    for pair in range(pairs):
        sheet.text((8, pair * ROW), str(pair), side="start")
        sheet.text((94, pair * ROW), number_text(trained / seen[pair]), side="end")
    sheet.text((94, -24), "one turn", side="end", bold=True)
    end = pairs * ROW + 8
    sheet.legend((106, end), [(BLUE, f"seen in {trained} tokens"), (ORANGE, f"new in {read}")])
    told = "; ".join(f"{name}: {count} of {pairs} pairs reach new angles" for name, count in new.items())
    alt = (
        f"For each of {pairs} channel pairs a bar, whose whole length is a full turn; filled as far as the pair turns "
        f"over {read} tokens, in one colour where training on {trained} tokens came, in another beyond. {told}."
    )
    return sheet.drawing("turns", title="How far each pair has turned", alt=alt)


def _turns(rope: Rope, head_dim: int, length: int) -> list[float]:
    """Full turns of each pair over a text of this length."""
    positions = torch.tensor([[length - 1]])  # the last: some scalings look at how far a text goes
    width = rope.rotated(head_dim)
    frequencies = rope_frequencies(positions, width, rope.theta, rope.scaling, torch.float64).flatten()
    return (frequencies * length / (2 * math.pi)).tolist()


@checked
def draw_reach(stacks: Mapping[str, ModelConfig], *, tokens: int) -> Drawing:
    """Which of so many tokens the output at the last one can rest on, layer by layer, for each stack by its name."""
    require(0 < len(stacks) <= MOST_STACKS, "stacks", f"must be 1 to {MOST_STACKS} in number", len(stacks))
    require(0 < tokens <= MOST_TOKENS, "tokens", f"must be 1 to {MOST_TOKENS}", tokens)
    sheet, top, told = Sheet(), 0.0, []
    step = 300 / tokens
    for name, config in stacks.items():
        reached = _reached(config, tokens)
        sheet.text((8, top), name, side="start", bold=True)
        sheet.text((434, top), f"reach: {tokens - reached[0]} of {tokens} tokens", side="end")
        told.append(f"{name}: {tokens - reached[0]} of {tokens} tokens")
        for level in range(len(reached) - 1, -1, -1):
            y = top + 24 + (len(reached) - 1 - level) * 20
            sheet.text((8, y), _words(config, level), side="start")
            for token in range(tokens):
                colour = BLUE if token >= reached[level] else NONE
                sheet.area(Box(134 + token * step, y - 7, step - 1.5, 14), colour=colour, amount=0.6)
            sheet.tensor(Box(133, y - 8, 300, 16), colour=NONE)
        top += 24 + len(reached) * 20 + 16
    alt = (
        "For each stack rows of cells, one for each token; inputs are the lowest row, each layer a row above. Filled "
        f"is what the output at the last token can rest on. {'; '.join(told)}."
    )
    return sheet.drawing("reach", title="How far a stack of layers reaches", alt=alt)


def _reached(config: ModelConfig, tokens: int) -> list[int]:
    """The first token that matters at each level: the inputs, then the output of each layer."""
    first = [tokens - 1]
    for layer in reversed(config.layers):
        window = layer.heads.window
        first.append(0 if window is None else max(0, first[-1] - window + 1))
    return first[::-1]


def _words(config: ModelConfig, level: int) -> str:
    if level == 0:
        return "input"
    layer = config.layers[level - 1]
    window = layer.heads.window
    positions = ", NoPE" if isinstance(layer.positions, NoPositions) else ""
    return f"layer {level}: {'all' if window is None else f'last {window}'}{positions}"
