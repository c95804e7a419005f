"""What `book.check` knows of the exercises of `chapters/frontier/memory.ipynb`."""

import math

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.numbers import Numbers

# A prefix that is fetched once for all rows --------------------------------------------------------------------------


def _shared(B: int, T: int, S: int) -> float:
    return 4 * B * T / (S + B * (T - S))


def _shared_cases() -> list[list[int]]:
    return [[1, 10, 0], [2, 10, 5], [8, 100, 100], [32, 2048, 1200], [1000, 2048, 1200]]


# The cache of a layer with a window ----------------------------------------------------------------------------------


def _rolled(q: Tensor, k: Tensor, v: Tensor, w: int, scale: float | None = None) -> Tensor:
    return torch.stack([_seen(q, k, v, range(max(0, t - w + 1), t + 1), t, scale) for t in range(len(q))])


def _seen(q: Tensor, k: Tensor, v: Tensor, keys: range, t: int, scale: float | None = None) -> Tensor:
    scale = 1 / math.sqrt(q.shape[1]) if scale is None else scale
    return (q[t] @ k[list(keys)].T * scale).softmax(dim=0) @ v[list(keys)]


def _keeps_the_first(q: Tensor, k: Tensor, v: Tensor, w: int) -> Tensor:
    return torch.stack([_seen(q, k, v, range(min(t + 1, w)), t) for t in range(len(q))])


def _empty_slots_count(q: Tensor, k: Tensor, v: Tensor, w: int) -> Tensor:
    slots_k, slots_v, outs = torch.zeros(w, k.shape[1]).to(k), torch.zeros(w, v.shape[1]).to(v), []
    for t in range(len(q)):
        slots_k[t % w], slots_v[t % w] = k[t], v[t]
        outs.append((q[t] @ slots_k.T / math.sqrt(q.shape[1])).softmax(dim=0) @ slots_v)
    return torch.stack(outs)


def _kept_after(q: Tensor, k: Tensor, v: Tensor, w: int) -> Tensor:
    """The new token is written after the query has looked: the first sees nothing."""
    none = torch.zeros(1, v.shape[1]).to(v)
    rest = [_seen(q, k, v, range(max(0, t - w), t), t)[None] for t in range(1, len(q))]
    return torch.cat([none, *rest])


def _rolled_cases() -> list[list[Tensor | int]]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 2, 1), (5, 2, 3), (11, 4, 4)]
    return [[*torch.randn(3, t, d, generator=generator, dtype=torch.float64), w] for t, d, w in shapes]


EXERCISES: dict[str, Exercise] = {
    "ex-mem-window": Numbers(
        right={"bytes": 2**29, "texts": 32, "texts without the window": 4},
        wrong={
            "You shared the window out among the layers. It limits each of the 32 layers by itself.": {
                "bytes": 2**29 // 32
            },
            "You counted 32 heads of keys and values. Eight are kept; the others only ask.": {"bytes": 2**31},
            "Keys *and* values are kept: twice as much.": {"bytes": 2**28},
            "You counted all 32,768 tokens. Each layer keeps the newest 4,096.": {"bytes": 2**32},
            "These are numbers. Each has two bytes, and there are as many for the values as for the keys.": {
                "bytes": 2**27
            },
        },
        why="A token takes 131,072 bytes, and each of the 32 layers keeps 4,096 of them.",
    ),
    "ex-mem-group": Numbers(
        right={"n": 128},
        wrong={
            "You counted the step and forgot the minimum: together they have 32 bits.": {"n": 64},
            "You counted step and minimum in bytes. All here is in bits.": {"n": 16},
            "You left out the 4 bits of the number itself: $4 + 32/n = 4.25$.": {"n": 32 / 4.25},
        },
        tolerance=0.01,
        why="But by channel a group is complete only when 128 tokens have come, and until then they have 16 bits.",
    ),
    "ex-mem-prefix": Function(
        right=_shared,
        wrong={
            "You multiplied the whole by $B$. The tokens of its own are still fetched for one row each.": (
                lambda B, T, S: 4 * B
            ),
            "That is without sharing: the prefix is fetched again for every row.": lambda B, T, S: 4 + 0 * B,
            "You counted the FLOPs of one row. All $B$ rows compute with what was fetched.": lambda B, T, S: (
                4 * T / (S + B * (T - S))
            ),
            "You left out the FLOPs on the prefix. It is fetched once, but every row computes with all of it.": (
                lambda B, T, S: 4 * B * (T - S) / (S + B * (T - S))
            ),
            "You took the bytes of the keys alone. The values are fetched as well.": lambda B, T, S: (
                2 * _shared(B, T, S)
            ),
        },
        cases=_shared_cases,
        properties={
            "With $S = 0$ nothing is shared, and it must be 4.": lambda function, B, T, S: (
                abs(function(B, T, 0) - 4) < 1e-9
            ),
            "More rows that share a prefix must not lower it.": lambda function, B, T, S: (
                function(B + 1, T, S) >= function(B, T, S) - 1e-9
            ),
        },
        tolerance=1e-9,
        why="For many rows it tends to $4T/(T - S)$: the tokens of their own set the limit.",
    ),
    "ex-mem-rope": Numbers(
        right={"dimensions": 8},
        wrong={
            "That is the number of pairs. Each pair brings two matrices, one for its cosine and one for its sine.": {
                "dimensions": 4
            },
            "There is one product for each distance, but they depend on each other: all are sums of the same few.": {
                "dimensions": 200
            },
            "The width of the latent bounds the rank of each *product*, and not how many of the products differ.": {
                "dimensions": 5
            },
            "That is the space of all $5\\times 8$ matrices. The products reach a small part of it.": {
                "dimensions": 40
            },
        },
        why="$d_k$ matrices in the place of one: it is possible to absorb with RoPE, but it does not pay.",
    ),
    "ex-mem-margin": Numbers(
        right={"fewest steps": 8, "fewest read again": 128},
        wrong={
            "At 0 texts enter soonest, but they are thrown out most, and a little margin costs no step.": {
                "fewest steps": 0
            },
            "At 128 fewest are thrown out, but so much room stands empty that fewer texts run at once.": {
                "fewest steps": 128
            },
            "What is read again falls with every further page of margin. Look at the largest.": {
                "fewest read again": 8
            },
            "Without a margin the most tokens are read again, and not the fewest.": {"fewest read again": 0},
        },
        why="Which is best depends on what a token read again costs beside a step.",
    ),
    "ex-mem-rolling": Function(
        right=_rolled,
        wrong={
            "You look at all tokens up to this one. The ring has $w$ slots: token $t$ goes into slot `t % w`.": (
                lambda q, k, v, w: _rolled(q, k, v, len(q))
            ),
            "You keep one token too many: a window of $w$ has $w$ keys with the token itself among them.": (
                lambda q, k, v, w: _rolled(q, k, v, w + 1)
            ),
            "You keep the first $w$ tokens for ever. A new one must take the place of the oldest.": _keeps_the_first,
            "At the beginning empty slots take part: a key of 0 has the score 0, and that is a weight. Look at the "
            "filled ones only.": _empty_slots_count,
            "You write the new token after the query has looked. A token sees itself.": _kept_after,
            "The scale is missing: divide the scores by $\\sqrt{d_k}$.": lambda q, k, v, w: _rolled(
                q, k, v, w, scale=1.0
            ),
        },
        cases=_rolled_cases,
        properties={
            "The first token sees itself alone, so it must get its own value.": lambda function, q, k, v, w: (
                torch.allclose(function(q, k, v, w)[0], v[0])
            ),
            "The output must have the shape of the values.": lambda function, q, k, v, w: (
                function(q, k, v, w).shape == v.shape
            ),
        },
        tolerance=1e-8,
        why="Softmax and sum do not care in which order the keys stand, and every filled slot may be seen.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-mem-values": "it measures a model that the chapter has trained, and asks what the result says of a rule",
}
