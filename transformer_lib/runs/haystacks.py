"""A practice for long texts: words that follow from near ones, and facts that only a long look can find.

A text holds the same few facts and marks however long it is; what grows is the number of words and questions between
them. The loss on words is what one measures on running text; questions measure recall, votes the look at everything.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked

WORDS, LAWS, KEYS, VALUES, MARKS = 16, 2, 4, 4, 7
LAWFUL = 0.8  # how often a word follows by the law of its text; otherwise any does
TIME = 64  # tokens of the texts that are trained on
SHORTEST = 32  # tokens, so that all have room
# The vocabulary: words, facts (key * VALUES + value), questions, two marks, the vote, and the answers.
FACT = WORDS
ASK = FACT + KEYS * VALUES
MARK = ASK + KEYS
VOTE = MARK + 2
ANSWER = VOTE + 1
VOCABULARY = ANSWER + VALUES
WORD, RECALL, BALLOT = 0, 1, 2  # what a target is: the next word, the answer to a question, that to a vote
CHOICE, REPORT = 998, 999  # seeds of the texts that a rate is chosen by, and of those that are reported


@checked
class Haystacks(NamedTuple):
    """A batch of texts; `targets` is -100 and `kinds` -1 where nothing can be known.

    `distances` says how many tokens back the fact stands that a question is about, and is 0 elsewhere.
    """

    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    kinds: Int[Tensor, "batch time"]
    distances: Int[Tensor, "batch time"]


@checked
def haystacks(batch: int, time: int = TIME, *, seed: int) -> Haystacks:
    """Random texts of `time` tokens, with a fact for each of `KEYS` keys and `MARKS` marks wherever they fall.

    A fact is one token, of a key and a value. A question, one token of eight, names a key, and the target there is its
    value. A vote, one token of twenty, asks which of the two marks stood more often so far. All other tokens are
    words; by the law of its text, one of `LAWS`, a word follows from the word two places before it, and where both are
    words, the later is the target one place before. No answer is ever written down.
    """
    require_positive(batch=batch)
    require(time >= SHORTEST, "time", f"must be at least {SHORTEST}", time)
    generator = torch.Generator().manual_seed(seed)
    several = [KEYS, time // 8, MARKS, time // 20]
    places = torch.rand(batch, time, generator=generator).argsort(1)
    fact, ask, mark, vote, word = (
        torch.zeros(batch, time, dtype=torch.bool).scatter(1, part, True)
        for part in places.split([*several, time - sum(several)], dim=1)
    )

    keys = torch.rand(batch, KEYS, generator=generator).argsort(1)  # in the order in which they are stated
    values = torch.randint(VALUES, (batch, KEYS), generator=generator)
    stated = fact.cumsum(1)
    asked = (torch.rand(batch, time, generator=generator) * stated).long()
    number = torch.where(fact, stated - 1, asked)  # of a fact, in that order
    key, value = keys.gather(1, number.clamp(min=0)), values.gather(1, number.clamp(min=0))
    answer = ask & (stated > 0)
    side = torch.randint(2, (batch, time), generator=generator)
    balance = torch.where(mark, 2 * side - 1, 0).cumsum(1)
    ballot = vote & (balance != 0)
    word |= (ask & ~answer) | (vote & ~ballot)  # where there is nothing to ask about yet

    tokens = _words(batch, time, generator)
    targets, kinds, distances = (torch.full_like(tokens, fill) for fill in (-100, -1, 0))
    follows = F.pad(word[:, :-2] & word[:, 2:], (1, 1))
    targets[follows], kinds[follows] = tokens.roll(-1, 1)[follows], WORD
    tokens[fact] = (FACT + key * VALUES + value)[fact]
    tokens[mark], tokens[ballot] = (MARK + side)[mark], VOTE
    tokens[answer], targets[answer], kinds[answer] = (ASK + key)[answer], (ANSWER + value)[answer], RECALL
    targets[ballot], kinds[ballot] = (MARK + (balance > 0).long())[ballot], BALLOT
    stands = fact.nonzero()[:, 1].view(batch, KEYS).gather(1, number.clamp(min=0))
    distances[answer] = (torch.arange(time) - stands)[answer]
    return Haystacks(tokens, targets, kinds, distances)


def _words(batch: int, time: int, generator: torch.Generator) -> Tensor:
    """A text of words alone, each by the law of its text from the word two places before it, or at random."""
    laws = torch.stack([torch.randperm(WORDS, generator=torch.Generator().manual_seed(law)) for law in range(LAWS)])
    law = laws[torch.randint(LAWS, (batch,), generator=generator)]
    words = torch.randint(WORDS, (batch, time), generator=generator)
    lawful = torch.rand(batch, time, generator=generator) < LAWFUL
    for t in range(2, time):
        words[:, t] = torch.where(lawful[:, t], law.gather(1, words[:, t - 2 : t - 1])[:, 0], words[:, t])
    return words


@checked
def haystack_loss(logits: Float[Tensor, "batch time vocab"], texts: Haystacks) -> Float[Tensor, ""]:
    """The mean of the losses on words, questions and votes in nats, so that each of the three counts the same."""
    kinds = [texts.kinds == kind for kind in (WORD, RECALL, BALLOT)]
    return torch.stack([F.cross_entropy(logits[kind], texts.targets[kind]) for kind in kinds]).mean()


@checked
def learn_haystacks(
    model: nn.Module, *, rate: float, seed: int, steps: int, batch: int = 16, time: int = TIME
) -> list[float]:
    """Train `model` in place on texts of `time` tokens, and give the loss of every step in nats.

    AdamW with betas 0.9 and 0.99, gradients no longer than 1; the rate rises over a tenth of the steps, stays, and
    falls to 0 over the last four tenths. Training ends when a loss is no longer finite.
    """
    require_positive(steps=steps, batch=batch)
    require(rate > 0 and math.isfinite(rate), "rate", "must be positive and finite", rate)
    data = haystacks(steps * batch, time, seed=seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
    losses: list[float] = []
    for step, parts in enumerate(zip(*(part.split(batch) for part in data), strict=True)):
        up, down = (step + 1) / (0.1 * steps), (steps - step) / (0.4 * steps)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, up, down)
        texts = Haystacks(*parts)
        loss = haystack_loss(model(texts.tokens), texts)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return losses


@checked
@torch.no_grad()
def haystack_scores(model: nn.Module, *, time: int = TIME, rows: int = 64) -> dict[str, float | list[float]]:
    """How a model does in the second half of texts of `time` tokens, and where in them.

    `words` is the loss in nats, `recall` and `votes` are shares of right answers. `words by place` holds the loss in
    stretches of the whole text that end at 8, 16, 32, ... tokens, and `recall by distance` the share of right answers
    to questions in the second half whose fact stands less than 8, 16, 32, ... tokens back. NaN where nothing is asked.
    """
    texts = haystacks(rows, time, seed=REPORT)
    logits = model(texts.tokens)
    right = (logits.argmax(-1) == texts.targets).double()
    nats = F.cross_entropy(logits.flatten(0, 1), texts.targets.flatten(), reduction="none").view(rows, time).double()
    place = torch.arange(time).expand(rows, -1)
    late = place >= time // 2
    word, recall, ballot = (texts.kinds == kind for kind in (WORD, RECALL, BALLOT))
    ends = [2**power for power in range(3, math.ceil(math.log2(time)) + 1)]
    steps = list(zip([0, *ends], ends, strict=False))
    return {
        "words": nats[word & late].mean().item(),
        "recall": right[recall & late].mean().item(),
        "votes": right[ballot & late].mean().item(),
        "words by place": [nats[word & (place >= low) & (place < high)].mean().item() for low, high in steps],
        "recall by distance": [
            right[recall & late & (texts.distances >= low) & (texts.distances < high)].mean().item()
            for low, high in steps
        ],
    }
