"""What `book.check` knows of the exercises of `chapters/frontier/performance.ipynb`."""

from typing import Any

import torch

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.nn.tiled import Running, absorb, start

SHARES = {"products": 0.5, "softmax": 0.25, "adamw": 0.1, "rest": 0.15}
ROWS, VOCAB, WIDTH = 8 * 1024, 50_257, 768
WEIGHTS = 4 * VOCAB * WIDTH / 1e9  # GB of the head's matrix, and of its gradient


def _gain(**factors: int | float) -> float:
    return 1 / sum(share / factors.get(part, 1.0) for part, share in SHARES.items())


# Two softmaxes over two halves of the keys ---------------------------------------------------------------------------


def _joined(one: Running, two: Running) -> Running:
    top = torch.maximum(one.peak, two.peak)
    a, b = (one.peak - top).exp(), (two.peak - top).exp()
    return Running(top, one.total * a + two.total * b, one.out * a + two.out * b)


def _added(one: Running, two: Running) -> Running:
    return Running(torch.maximum(one.peak, two.peak), one.total + two.total, one.out + two.out)


def _exchanged(one: Running, two: Running) -> Running:
    top = torch.maximum(one.peak, two.peak)
    a, b = (two.peak - top).exp(), (one.peak - top).exp()
    return Running(top, one.total * a + two.total * b, one.out * a + two.out * b)


def _half_rescaled(one: Running, two: Running) -> Running:
    return _joined(one, two)._replace(out=one.out + two.out)


def _from_the_first(one: Running, two: Running) -> Running:
    b = (two.peak - one.peak).exp()
    return Running(one.peak, one.total + two.total * b, one.out + two.out * b)


def _averaged(one: Running, two: Running) -> Running:
    right = _joined(one, two)
    return right._replace(out=right.total * (one.out / one.total + two.out / two.total) / 2)


def _halves() -> list[list[Any]]:
    generator = torch.Generator().manual_seed(0)

    def seen(queries: int, keys: int) -> Running:
        scores, values = (torch.randn(n, m, generator=generator).double() for n, m in ((queries, keys), (keys, 2)))
        return absorb(start(scores[:, :1], values), 2 * scores, values)

    return [[seen(queries, 3), seen(queries, 4)] for queries in (1, 3)]


EXERCISES: dict[str, Exercise] = {
    "ex-perf-amdahl": Numbers(
        right={
            "softmax and mask": _gain(softmax=5),
            "AdamW": _gain(adamw=2),
            "both": _gain(softmax=5, adamw=2),
            "only products": 2,
        },
        wrong={
            "The time falls by a fifth, to 0.8. That is a gain of $1/0.8$ and not of 1.2.": {"softmax and mask": 1.2},
            "You made softmax and mask vanish. A fifth of their quarter is left.": {"softmax and mask": 4 / 3},
            "You multiplied the two gains. They nearly multiply, but what adds up exactly is the time that is left: "
            "0.75.": {"both": _gain(softmax=5) * _gain(adamw=2)},
            "You added the two gains. Add up the time that is left instead, and take one over it.": {
                "both": _gain(softmax=5) + _gain(adamw=2) - 1
            },
            "Half of the time is left, so the step is twice as fast, and not one and a half times.": {
                "only products": 1.5
            },
        },
        tolerance=0.004,
        why="However fast everything else becomes, what nobody touches bounds the gain.",
    ),
    "ex-perf-merge": Function(
        right=_joined,
        wrong={
            "You added the sums as they are. They are measured from two different peaks.": _added,
            "The factors are exchanged: a state is multiplied by the exponential of its *own* peak minus the greater "
            "one.": _exchanged,
            "You rescaled the sum and not the values. Both were made with the same exponentials.": _half_rescaled,
            "You measure from the first peak. If the second is much greater, its factor overflows: take the greater of "
            "the two.": _from_the_first,
            "The two outputs are averaged evenly. The half with the greater exponentials must weigh more.": _averaged,
        },
        cases=_halves,
        properties={
            "Three parts are needed: the peak, the sum and the weighted values.": lambda function, one, two: (
                len(function(one, two)) == 3
            ),
            "The order of the two halves must not matter.": lambda function, one, two: all(
                torch.allclose(a, b) for a, b in zip(function(one, two), function(two, one), strict=True)
            ),
        },
        tolerance=1e-8,
        why="Grouping does not matter either, so many processors can share the keys of one query.",
    ),
    "ex-perf-window": Numbers(
        right={"with the window": 540, "causal": 2080},
        wrong={
            "The first blocks of queries have fewer blocks before them: the first eight rows lack 8, 7, ... 1.": {
                "with the window": 9 * 64
            },
            "You left out a block: $w - 1$ keys before the *first* query of a block reach into the eighth block before "
            "it, and its own comes on top.": {"with the window": 8 * 64 - 28},
            "You left the diagonal out. A block of queries sees itself.": {"causal": 64 * 63 // 2},
            "Those are all tiles. Under a causal mask those above the diagonal are not made.": {"causal": 64 * 64},
        },
        why="Nine tiles for each block of queries: the work grows with $T$ and no longer with $T^2$.",
    ),
    "ex-perf-logits": Numbers(
        right={
            "GB of logits": ROWS * VOCAB * 4 / 1e9,
            "chunks": 11,
            "chunks of 16 MiB": 99,
            "GB for the gradient": 22 * WEIGHTS,
            "GB with 16 MiB": 198 * WEIGHTS,
        },
        wrong={
            "That is one text. There are 8 of them.": {"GB of logits": 1024 * VOCAB * 4 / 1e9},
            "Those are GiB, of $2^{30}$ bytes. A GB has $10^9$.": {"GB of logits": ROWS * VOCAB * 4 / 2**30},
            "You rounded down, and the last rows are in no chunk.": {"chunks": 10, "chunks of 16 MiB": 98},
            "Each chunk reads the gradient *and* writes it: twice its bytes.": {
                "GB for the gradient": 11 * WEIGHTS,
                "GB with 16 MiB": 99 * WEIGHTS,
            },
            "That is the gradient read and written once. Each of the chunks does so.": {
                "GB for the gradient": 2 * WEIGHTS,
                "GB with 16 MiB": 2 * WEIGHTS,
            },
        },
        tolerance=0.05,
        why="Small chunks move more bytes for the gradient than they save for the logits.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-perf-fuse": "the count depends on how PyTorch cuts the equation up, and the gain on the machine"
}
