"""What `book.check` knows of the exercises of `chapters/frontier/scale.ipynb`."""

import math

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.numbers import Numbers

_REACHED = 0.5 * 989.4e12  # FLOPs a second of an H100 at half of its peak
_BETWEEN = 16 * 54 * 24 * 3600 / 419  # seconds between failures of 1,024 GPUs


def _minutes(between: float, factor: int = 2) -> float:
    return math.sqrt(factor * 60 * between) / 60


def _lost(every: int | float) -> float:
    return 100 * (60 / every + every / (2 * _BETWEEN))


_BEST = 60 * _minutes(_BETWEEN)

EXERCISES: dict[str, Exercise] = {
    "ex-scale-bubble": Numbers(
        right={"share of the time": 7 / 23, "micro-batches": 134, "with four slices": 34},
        wrong={
            "That is the wait for each unit of *work*. All time is the wait and the work together.": {
                "share of the time": 7 / 16
            },
            "A pipeline waits for its stages *less one*.": {"share of the time": 8 / 24},
            "You set $7/m < 1/20$. A twentieth of the time is a nineteenth of the work.": {"micro-batches": 141},
            "With 133 it is exactly 5 %, and it should be below.": {"micro-batches": 133},
            "The slices divide the bubble by 4: the number of micro-batches becomes smaller, and not larger.": {
                "with four slices": 533
            },
        },
        tolerance=0.005,
        why="With fewer micro-batches than stages less one the formula is above 1, so it is no share of the time.",
    ),
    "ex-scale-account": Numbers(
        right={"ddp": 8, "fsdp2": 192, "kept for a step": 8},
        wrong={
            "You counted how often, and not the bytes. A number in float32 has four.": {
                "ddp": 2,
                "fsdp2": 48,
                "kept for a step": 2,
            },
            "Data parallelism sends once a step, after the last micro-batch.": {"ddp": 128},
            "That is one micro-batch. FSDP gathers and scatters in each of the 16.": {"fsdp2": 12},
            "The weights are gathered forward *and* backward, and the gradient is scattered: three exchanges.": {
                "fsdp2": 128
            },
            "Kept for a step, the weights are gathered once, and the gradient is scattered once.": {
                "kept for a step": 128
            },
        },
        why="And kept for a micro-batch costs as much as gathering in bfloat16: 8 bytes in each, for blocks.",
    ),
    "ex-scale-fit": Numbers(
        right={"recomputed": 3, "not recomputed": 15},
        wrong={
            "You filled all of the 80 GB. The plan leaves a tenth to the allocator.": {
                "recomputed": 2,
                "not recomputed": 8,
            },
            "You left out what is gathered at one moment: it stays whole, however many GPUs there are.": {
                "recomputed": 2,
                "not recomputed": 9,
            },
            "You looked at powers of two only. Sharding works with any number.": {
                "recomputed": 4,
                "not recomputed": 16,
            },
            "You divided everything by the number of GPUs. The activations stay whole, and so does what is gathered.": {
                "recomputed": 2,
                "not recomputed": 3,
            },
        },
        why="Without recomputation 57 GB of activations and 6 of gathered weights leave 9 for the sharded 128.",
    ),
    "ex-scale-hide": Numbers(
        right={"texts": 2},
        wrong={
            "You took the peak. The GPU reaches the measured share of it, so it computes longer.": {"texts": 5},
            "You counted the eighth of the card twice: each GPU has an eighth of the card, and each ring an eighth of "
            "the bytes.": {"texts": 11},
            "It takes more than 11,000 tokens, and a text has 8,192. Round up.": {"texts": 1},
        },
        why="The number of weights cancels. What counts is the peak that is reached, beside the link.",
    ),
    "ex-scale-sums": Numbers(
        right={"fast links": 140 / 9 * _REACHED / 450e9, "cards": 140 / 9 * _REACHED / 50e9},
        wrong={
            "You took the whole peak. The GPUs reach half of it.": {
                "fast links": 280 / 9 * _REACHED / 450e9,
                "cards": 280 / 9 * _REACHED / 50e9,
            },
            "There the sums take as long as the computing. They should take a tenth.": {
                "fast links": 14 / 9 * _REACHED / 450e9,
                "cards": 14 / 9 * _REACHED / 50e9,
            },
            "You counted the two sums of the way forward. The way back has two more.": {
                "fast links": 70 / 9 * _REACHED / 450e9,
                "cards": 70 / 9 * _REACHED / 50e9,
            },
            "You let each send its vector once. An all-reduce among 8 sends $2\\cdot\\frac78$ of it.": {
                "fast links": 80 / 9 * _REACHED / 450e9,
                "cards": 80 / 9 * _REACHED / 50e9,
            },
        },
        tolerance=150,
        why="Computing grows with $d^2$, the sums with $d$. No model is wide enough for the cards.",
    ),
    "ex-scale-save": Numbers(
        right={"minutes": _BEST / 60, "lost, %": _lost(_BEST), "lost at six hours, %": _lost(6 * 3600)},
        wrong={
            "That is for 16,384 GPUs. With 1,024 failures come 16 times more rarely.": {
                "minutes": _minutes(_BETWEEN / 16)
            },
            "You scaled the wrong way: fewer GPUs fail more rarely.": {"minutes": _minutes(_BETWEEN / 256)},
            "You left out the 2. A failure destroys half an interval on average.": {
                "minutes": _minutes(_BETWEEN, factor=1)
            },
            "That is what goes into saves. As much again is lost by failures.": {"lost, %": _lost(_BEST) / 2},
            "A failure destroys half of the six hours on average, and not all.": {
                "lost at six hours, %": 100 * (60 / 21_600 + 21_600 / _BETWEEN)
            },
        },
        tolerance=0.1,
        why="At the best interval both parts are equal. Half of it loses as much as twice of it.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
