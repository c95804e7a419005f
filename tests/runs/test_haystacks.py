"""The practice for long texts, read again token by token: what is asked can be known, by the look it needs."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.runs.haystacks import (
    ANSWER,
    ASK,
    BALLOT,
    FACT,
    KEYS,
    LAWFUL,
    LAWS,
    MARK,
    MARKS,
    RECALL,
    VALUES,
    VOCABULARY,
    VOTE,
    WORD,
    WORDS,
    haystack_loss,
    haystack_scores,
    haystacks,
    learn_haystacks,
)


def read(text: list[int]) -> list[tuple[int, int, int]]:
    """What each token asks for, by reading from left to right: kind, target and distance, or -1, -100 and 0."""
    known: dict[int, tuple[int, int]] = {}
    balance, found = 0, []
    for t, token in enumerate(text):
        kind, target, distance = -1, -100, 0
        if FACT <= token < ASK:
            known[(token - FACT) // VALUES] = (token - FACT) % VALUES, t
        elif ASK <= token < MARK:
            value, stood = known[token - ASK]
            kind, target, distance = RECALL, ANSWER + value, t - stood
        elif MARK <= token < VOTE:
            balance += 1 if token > MARK else -1
        elif token == VOTE:
            assert balance != 0
            kind, target = BALLOT, MARK + (balance > 0)
        if 0 < t < len(text) - 1 and text[t - 1] < WORDS and text[t + 1] < WORDS and kind == -1:
            kind, target = WORD, text[t + 1]
        found.append((kind, target, distance))
    return found


@pytest.mark.parametrize("time", [32, 64, 200])
def test_every_target_is_what_a_reader_finds(time: int) -> None:
    texts = haystacks(20, time, seed=1)
    for row in range(20):
        found = list(zip(*(part[row].tolist() for part in texts[1:]), strict=True))
        assert [(kind, target, distance) for target, kind, distance in found] == read(texts.tokens[row].tolist())


def test_a_text_holds_the_same_facts_and_marks_however_long_it_is() -> None:
    for time in (32, 64, 512):
        tokens = haystacks(10, time, seed=2).tokens
        facts = (tokens >= FACT) & (tokens < ASK)
        assert (facts.sum(1) == KEYS).all()
        assert (((tokens >= MARK) & (tokens < VOTE)).sum(1) == MARKS).all()
        keys = [
            sorted((row[here] - FACT).div(VALUES, rounding_mode="floor").tolist())
            for row, here in zip(tokens, facts, strict=True)
        ]
        assert keys == [list(range(KEYS))] * 10
        assert ((tokens >= ASK) & (tokens < MARK)).sum(1).max() <= time // 8
        assert int(tokens.max()) < ANSWER < VOCABULARY  # no answer is ever written down


def test_words_follow_the_law_of_their_text() -> None:
    texts = haystacks(200, 256, seed=3)
    word = texts.tokens < WORDS
    both = word[:, :-2] & word[:, 2:]
    laws = [torch.randperm(WORDS, generator=torch.Generator().manual_seed(law)) for law in range(LAWS)]
    shares = torch.stack(
        [
            ((law[texts.tokens[:, :-2].clamp(max=WORDS - 1)] == texts.tokens[:, 2:]) & both).sum(1) / both.sum(1)
            for law in laws
        ]
    )
    best = shares.max(0)
    assert sorted(set(best.indices.tolist())) == list(range(LAWS))
    assert abs(best.values.mean().item() - (LAWFUL + (1 - LAWFUL) / WORDS)) < 0.01


def test_the_same_seed_gives_the_same_texts_and_training() -> None:
    assert all((a == b).all() for a, b in zip(haystacks(4, seed=5), haystacks(4, seed=5), strict=True))
    assert (haystacks(4, seed=5).tokens != haystacks(4, seed=6).tokens).any()
    curves = [learn_haystacks(bigram(), rate=0.01, seed=seed, steps=5) for seed in (3, 3, 4)]
    assert curves[0] == curves[1] != curves[2]
    assert abs(curves[0][0] - math.log(VOCABULARY)) < 1


def test_a_rate_that_is_too_high_ends_the_training() -> None:
    losses = learn_haystacks(bigram(), rate=1e30, seed=0, steps=40)
    assert len(losses) <= 40


def test_the_loss_is_the_mean_of_three_means() -> None:
    texts = haystacks(3, seed=0)
    logits = torch.randn(3, 64, VOCABULARY, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nats = F.cross_entropy(logits.flatten(0, 1), texts.targets.flatten(), reduction="none").view(3, 64)
    means = [nats[texts.kinds == kind].mean().item() for kind in (WORD, RECALL, BALLOT)]
    assert abs(haystack_loss(logits, texts).item() - sum(means) / 3) < 1e-12


def bigram() -> nn.Module:
    torch.manual_seed(0)
    return nn.Embedding(VOCABULARY, VOCABULARY)


class Reader(nn.Module):
    """Answers everything right that stands at most `reach` tokens back, and knows nothing of words."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, VOCABULARY)
        for row, text in enumerate(tokens.tolist()):
            for t, (kind, target, distance) in enumerate(read(text)):
                if kind == BALLOT or (kind == RECALL and distance <= self.reach):
                    logits[row, t, target] = 9.0
        return logits


def test_scores_tell_a_short_look_from_a_long_one() -> None:
    short, long = (haystack_scores(Reader(reach), time=128, rows=8) for reach in (31, 128))
    assert short["votes"] == long["votes"] == long["recall"] == 1 > short["recall"]
    assert short["recall by distance"] == [1, 1, 1, 0, 0]
    assert long["recall by distance"] == [1] * 5
    assert abs(short["words"] - math.log(VOCABULARY)) < 1e-6
    assert len(short["words by place"]) == 5 and all(
        abs(x - math.log(VOCABULARY)) < 1e-6 for x in short["words by place"]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: haystacks(0, 64, seed=0), "batch must be a whole number of at least 1, got 0"),
        (lambda: haystacks(1, 31, seed=0), "time must be at least 32, got 31"),
        (lambda: learn_haystacks(bigram(), rate=0.0, seed=0, steps=1), "rate must be positive and finite, got 0.0"),
        (
            lambda: learn_haystacks(bigram(), rate=0.1, seed=0, steps=0),
            "steps must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_refusals(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
