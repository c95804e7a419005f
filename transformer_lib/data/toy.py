"""Authored data: a tiny world in which attention has something to look up.

A program is a row of statements, one token each: `a=3` assigns a value to a name, `a?` asks for it. The answer is what
was assigned to that name most recently. Names assigned once can be answered from a bag of statements; a name assigned
twice can only be answered by whoever knows the order.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked

NAMES = "abcdefghijklmnopqrstuvwxyz"
MOST_VALUES, MOST_TOKENS = 1000, 1 << 24


@checked
class Programs(NamedTuple):
    """A batch of programs; `targets` holds the answer at every question and -100, to be ignored, elsewhere."""

    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    reassigned: Bool[Tensor, "batch time"]  # questions about a name that was assigned more than once


@checked
def programs(batch: int, time: int, *, names: int = 6, values: int = 6, generator: torch.Generator) -> Programs:
    """Random programs: each statement is a question, about a name assigned before, with probability one half.

    Token ids: name * values + value for an assignment, names * values + name for a question; so the vocabulary has
    names * (values + 1) tokens, and a target is a value, 0 to values - 1.
    """
    require_positive(batch=batch, time=time)
    require(batch * time <= MOST_TOKENS, "batch * time", f"must be at most {MOST_TOKENS}", batch * time)
    _check_world(names, values)
    name = torch.randint(names, (batch, time), generator=generator)
    value = torch.randint(values, (batch, time), generator=generator)
    question = torch.rand(batch, time, generator=generator) < 0.5
    targets = torch.full((batch, time), -100)
    reassigned = torch.zeros(batch, time, dtype=torch.bool)
    current = torch.full((batch, names), -100)
    assignments = torch.zeros(batch, names, dtype=torch.int64)
    for t in range(time):
        here = name[:, t : t + 1]
        known = current.gather(1, here)[:, 0]
        question[:, t] &= known >= 0
        targets[:, t] = torch.where(question[:, t], known, -100)
        reassigned[:, t] = question[:, t] & (assignments.gather(1, here)[:, 0] > 1)
        current.scatter_(1, here, torch.where(question[:, t], known, value[:, t])[:, None])
        assignments.scatter_add_(1, here, (~question[:, t : t + 1]).long())
    tokens = torch.where(question, names * values + name, name * values + value)
    return Programs(tokens, targets, reassigned)


@checked
def order_blind_ceiling(batch: Programs, *, names: int = 6, values: int = 6) -> float:
    """The best accuracy on questions about reassigned names to be expected of a reader who does not know the order.

    Such a reader sees how often each value was assigned to the name, and can do no better than answer the most common.
    """
    _check_world(names, values)
    batch = Programs(*batch)  # compares what it holds with its annotations once more
    _check_tokens(batch.tokens, names * (values + 1))
    chances = []
    for row, asked in batch.reassigned.nonzero().tolist():
        name = int(batch.tokens[row, asked]) - names * values
        seen = batch.tokens[row, :asked]
        counts = torch.bincount(seen[(seen < names * values) & (seen // values == name)])
        require(len(counts) > 0, "batch", "must assign to each name before it asks for it", (row, asked))
        chances.append(float(counts.max() / counts.sum()))
    require(bool(chances), "batch", "must hold a question about a reassigned name", 0)
    return sum(chances) / len(chances)


@checked
def render(tokens: Int[Tensor, " time"], *, names: int = 6, values: int = 6) -> list[str]:
    """The statements of one program as text: `a=3` or `a?`."""
    _check_world(names, values)
    _check_tokens(tokens, names * (values + 1))
    ids = tokens.tolist()
    return [
        f"{NAMES[i // values]}={i % values}" if i < names * values else f"{NAMES[i - names * values]}?" for i in ids
    ]


@checked
def tokens_of(program: str, *, names: int = 6, values: int = 6) -> Int[Tensor, " time"]:
    """The inverse of `render`, for statements separated by spaces: `tokens_of("a=3 b=5 a?")`."""
    _check_world(names, values)
    ids = {
        text: index for index, text in enumerate(render(torch.arange(names * (values + 1)), names=names, values=values))
    }
    for statement in program.split():
        require(statement in ids, "program", "must be statements like 'a=3' or 'a?', separated by spaces", statement)
    return torch.tensor([ids[statement] for statement in program.split()])


def _check_world(names: int, values: int) -> None:
    require_positive(names=names, values=values)
    require(names <= len(NAMES), "names", f"must be at most {len(NAMES)}", names)
    require(values <= MOST_VALUES, "values", f"must be at most {MOST_VALUES}", values)


def _check_tokens(tokens: Tensor, size: int) -> None:
    inside = tokens.device.type != "meta" and bool(((tokens >= 0) & (tokens < size)).all())
    require(inside, "tokens", f"must be from 0 to {size - 1}, and have values", tokens)
