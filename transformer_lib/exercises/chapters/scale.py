"""What `book.check` knows of the exercises of `chapters/frontier/scale.ipynb`."""

import math

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.numbers import Numbers

REACHED = 0.5 * 989.4e12  # FLOPs a second, half of the peak of an H100
FAST, CARDS = 450e9, 50e9  # bytes a second, inside a machine and through a card
BETWEEN = 54 * 24 * 3600 / 419 * 16  # seconds between two failures of 1024 GPUs
SAVE = 60.0


def _width(factor: int | float, link: int | float) -> float:
    """From how many thousand channels on the sums take a tenth of the computing, `factor` times the right one."""
    return factor * 140 / 9 * REACHED / link / 1000


def _lost(every: int | float) -> float:
    return 100 * (SAVE / every + every / (2 * BETWEEN))


EXERCISES: dict[str, Exercise] = {
    "ex-scale-bubble": Numbers(
        right={"waits": 7 / 23, "micro-batches": 134, "with slices": 34},
        wrong={
            "That is waiting over *work*. All time is both together: $7/(16 + 7)$.": {"waits": 7 / 16},
            "You let all 8 stages wait. The work of one stage is no waiting: $7/16$ of the work.": {"waits": 8 / 24},
            "You held waiting over *work* against 5 %. Of all time it is 5 % at a nineteenth of the work.": {
                "micro-batches": 141,
                "with slices": 36,
            },
            "At 133 it is 5 % exactly. It shall be below.": {"micro-batches": 133},
            "Slices divide the bubble. With four of them a quarter of the micro-batches suffices.": {
                "with slices": 536
            },
        },
        tolerance=0.003,
        why="The formula is a share of the work, and can be above 1.",
    ),
    "ex-scale-account": Numbers(
        right={"ddp": 8, "fsdp2": 192, "kept for a step": 8},
        wrong={
            "That is FSDP for *one* micro-batch. It sends with every pass.": {"fsdp2": 12},
            "DDP adds the gradients of all micro-batches up in its own memory, and sends them once.": {"ddp": 128},
            "In each micro-batch the weights travel twice and the gradient once: three times 4 bytes, not twice.": {
                "fsdp2": 128
            },
            "What is kept for the step is gathered once, and its gradient scattered once, after all micro-batches.": {
                "kept for a step": 128
            },
        },
        why="Keeping for a micro-batch and gathering in bfloat16 send the same for the blocks: 8 bytes.",
    ),
    "ex-scale-fit": Numbers(
        right={"recomputed": 3, "without": 15},
        wrong={
            "On two the sum is 76 GB. That is below 80, but above the nine tenths that the plan allows.": {
                "recomputed": 2
            },
            "Numbers of GPUs need not be powers of two here. Asked is the smallest that fits.": {
                "recomputed": 4,
                "without": 16,
            },
            "What is gathered takes its room on every GPU too: embedding, head and two blocks.": {"without": 9},
            "Of 80 GB, nine tenths are planned with, and what is gathered takes 6 of them.": {"without": 6},
        },
        why="Activations and gathered weights stay; only the 16 bytes are divided.",
    ),
    "ex-scale-hide": Numbers(
        right={"texts": 2},
        wrong={
            "A text and a half is needed, so one computes for a shorter time than it sends.": {"texts": 1},
            "You counted the eighth of the card alone. Each of the eight rings has an eighth of the bytes, too.": {
                "texts": 12
            },
            "You let the GPU compute at its peak. It reaches the measured share, and so has more time to send in.": {
                "texts": 5
            },
        },
        why="The number of weights cancels: what counts is the speed that is reached, over that of the link.",
    ),
    "ex-scale-sums": Numbers(
        right={"thousands, fast": _width(1, FAST), "thousands, cards": _width(1, CARDS)},
        wrong={
            "You took the whole peak. The GPUs reach half of it.": {
                "thousands, fast": _width(2, FAST),
                "thousands, cards": _width(2, CARDS),
            },
            "You left out that of 8 parts 7 travel: an all-reduce sends $2\\cdot\\tfrac78$ times the vector.": {
                "thousands, fast": _width(8 / 7, FAST),
                "thousands, cards": _width(8 / 7, CARDS),
            },
            "An all-reduce sends the vector nearly twice: once until the sums are made, once until all have them.": {
                "thousands, fast": _width(1 / 2, FAST),
                "thousands, cards": _width(1 / 2, CARDS),
            },
            "There the sums take as long as the computing. They are to take a tenth.": {
                "thousands, fast": _width(1 / 10, FAST),
                "thousands, cards": _width(1 / 10, CARDS),
            },
        },
        tolerance=0.2,
        why="The share falls as $1/d$, and no model is wide enough for the cards.",
    ),
    "ex-scale-save": Numbers(
        right={
            "minutes": math.sqrt(2 * SAVE * BETWEEN) / 60,
            "lost, %": _lost(math.sqrt(2 * SAVE * BETWEEN)),
            "six hours, %": _lost(6 * 3600),
        },
        wrong={
            "The 2 under the root is missing: a failure destroys half an interval on average.": {
                "minutes": math.sqrt(SAVE * BETWEEN) / 60
            },
            "That is for 16,384 GPUs. With a sixteenth of them failures come 16 times more rarely.": {
                "minutes": math.sqrt(2 * SAVE * BETWEEN / 16) / 60
            },
            "You counted the saves alone. As much is lost again by failures.": {
                "lost, %": 100 * SAVE / math.sqrt(2 * SAVE * BETWEEN)
            },
            "A failure destroys half of the six hours on average, and not all of them.": {
                "six hours, %": 100 * (SAVE / 21_600 + 21_600 / BETWEEN)
            },
        },
        tolerance=0.06,
        why="At the best interval both parts are equal. Half of it loses as much as twice of it.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
