"""The parts of a block of 2026: attention with norms and a gate inside, and a residual stream that is several."""

from itertools import pairwise

import torch

from transformer_lib.checks import require, require_sizes
from transformer_lib.config import ModelConfig, Rope
from transformer_lib.contract import checked
from transformer_lib.nn.block import build_mixer
from transformer_lib.nn.norm import build_norm
from transformer_lib.viz.diagram import BLUE, GREEN, ORANGE, PINK, Box, Drawing, Point, Sheet
from transformer_lib.viz.parts import NORM, STREAM, norm_text

COLUMNS = (112, 207, 302, 395)  # queries, keys, values, gate
FORK = -72  # where the branch parts
MOST_STREAMS = 8  # that stand side by side on a sheet


@checked
def draw_attention_inside(config: ModelConfig) -> Drawing:
    """What stands between the stream and the sum in the attention of a config: its norms, turns, sinks and gate."""
    heads, sheet, middle, stream = config.heads, Sheet(), COLUMNS[1], 30
    with torch.device("meta"):
        attention, norm = build_mixer(config), build_norm(config.norm, config.d_model)
    out = attention.to_out
    assert isinstance(out, torch.nn.Linear)
    sheet.text((stream + 22, 12), f"$X$: $T$ × {config.d_model}")
    first = sheet.module(Box.around(middle, -46, 112, 26), norm_text(norm), colour=NORM)
    sheet.line((stream, 0), (stream, -12), weight=STREAM)
    sheet.line((stream, -12), (middle, -12))
    sheet.arrow((middle, -12), first.bottom)
    sheet.line(first.top, (middle, FORK))
    sheet.line((COLUMNS[0], FORK), (COLUMNS[3 if heads.gate else 2], FORK))
    top = _looked(sheet, config)
    if heads.gate:
        times = sheet.sign((middle, top[1] - 30), "×")
        gate = sheet.module(Box.around(COLUMNS[3], -110, 86, 28), f"gate: {out.in_features}", colour=ORANGE)
        squash = sheet.module(Box.around(COLUMNS[3], gate.y - 32, 72, 24), "sigmoid", colour=ORANGE)
        sheet.arrow((COLUMNS[3], FORK), gate.bottom)
        sheet.arrow(gate.top, squash.bottom)
        sheet.arrow(squash.top, (COLUMNS[3], times.centre[1]), times.right)
        sheet.arrow(top, times.bottom)
        top = times.top
    words = f"{out.in_features} → {out.out_features}"
    back = sheet.module(Box.around(middle, top[1] - 36, 112, 28), words, colour=BLUE)
    plus = sheet.sign((stream, back.y - 18))
    sheet.arrow(top, back.bottom)
    sheet.arrow(back.top, (middle, back.y - 18), plus.right)
    sheet.arrow((stream, -12), plus.bottom, weight=STREAM)
    sheet.arrow(plus.top, (stream, plus.y - 22), weight=STREAM)
    return sheet.drawing("attention-inside", title="Attention in a block of 2026", alt=_inside(config))


def _looked(sheet: Sheet, config: ModelConfig) -> Point:
    """Queries, keys and values, what is done to the first two, and the softmax; gives back where its result leaves."""
    heads = config.heads
    done = [("norm", NORM)] if heads.qk_norm else []
    done += [("turn", PINK)] if isinstance(config.positions, Rope) else []
    tops: list[Point] = []
    for name, x, count in zip("qkv", COLUMNS, (heads.num_heads, heads.kv_heads, heads.kv_heads), strict=False):
        box = sheet.module(Box.around(x, -110, 86, 28), f"${name}$: {count} × {config.head_dim}", colour=BLUE)
        sheet.arrow((x, FORK), box.bottom)
        for words, colour in done if name != "v" else []:
            above = sheet.module(Box.around(x, box.y - 32, 62, 24), words, colour=colour)
            sheet.arrow(box.top, above.bottom)
            box = above
        tops.append(box.top)
    level = min(y for _, y in tops) - 22
    words = "softmax with a sink, sum of values" if heads.sinks else "softmax, sum of values"
    sheet.module(Box(COLUMNS[0] - 50, level - 28, COLUMNS[2] - COLUMNS[0] + 100, 28), words, colour=BLUE)
    for top in tops:
        sheet.arrow(top, (top[0], level))
    return COLUMNS[1], level - 28


def _inside(config: ModelConfig) -> str:
    """The drawing in words."""
    heads = config.heads
    inside = (
        ("a norm on queries and keys", heads.qk_norm),
        ("a turn by position on both", isinstance(config.positions, Rope)),
        ("a sink in the softmax", heads.sinks),
        ("a sigmoid gate on what the heads bring", heads.gate),
    )
    named = ", ".join(words for words, has in inside if has)
    return (
        f"The attention part of a block of width {config.d_model}, read from the bottom up: a norm on the branch, "
        f"{heads.num_heads} queries for {heads.kv_heads} keys and values of width {config.head_dim}"
        f"{', with ' + named if named else ''}; the result is projected and added to the stream."
    )


@checked
def draw_streams(streams: int, d_model: int) -> Drawing:
    """One part of a block with several residual streams: it reads a sum of them, and writes to each."""
    require_sizes(streams=streams, d_model=d_model)
    require(2 <= streams <= MOST_STREAMS, "streams", f"must be from 2 to {MOST_STREAMS} to be drawn", streams)
    sheet, step = Sheet(), min(34, 176 // streams)
    places = [24 + step * i for i in range(streams)]
    right = 330
    sheet.text((places[0] - 14, 12), f"{streams} streams, each $T$ × {d_model}", side="start")
    read = sheet.module(Box.around(right, -48, 128, 28), f"read: 1 × {streams}", colour=GREEN)
    for x in places:
        sheet.line((x, 0), (x, -16), weight=STREAM)
    sheet.line((places[0], -16), (right, -16))
    sheet.arrow((right, -16), read.bottom)
    part = sheet.module(Box.around(right, -102, 128, 34), "norm, part", colour=BLUE)
    sheet.arrow(read.top, part.bottom)
    write = sheet.module(Box.around(right, -158, 128, 28), f"write: {streams} × 1", colour=GREEN)
    sheet.arrow(part.top, write.bottom)
    mix = sheet.module(
        Box(places[0] - 14, -116, places[-1] - places[0] + 28, 30), f"mix: {streams} × {streams}", colour=PINK
    )
    level = -210
    for x in places:
        sheet.line((x, -16), (x, mix.y + 30), weight=STREAM)
        plus = sheet.sign((x, level))
        sheet.arrow((x, mix.y), plus.bottom, weight=STREAM)
        sheet.arrow(plus.top, (x, level - 34), weight=STREAM)
    sheet.line(write.top, (right, level))
    sheet.arrow((right, level), (places[-1] + 10, level))
    for left, after in pairwise(places):
        sheet.line((left + 10, level), (after - 10, level))
    alt = (
        f"A part beside {streams} residual streams of width {d_model}, read from the bottom up. It reads one weighted "
        f"sum of them. Meanwhile the streams pass through a {streams} by {streams} matrix that mixes them. What the "
        "part gives is then added to each, with a weight of its own."
    )
    return sheet.drawing("streams", title="A part of a block with several residual streams", alt=alt)
