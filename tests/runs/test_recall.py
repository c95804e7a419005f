"""Texts with names to recall, read by a plain interpreter; training and scores on them."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import rejects
from transformer_lib.data.toy import render
from transformer_lib.runs.recall import (
    ASKED,
    LONGEST,
    NAMES,
    PAIRS,
    VALUES,
    learn_recall,
    recall_scores,
    recall_texts,
)


class Told(nn.Module):
    """Reads the text as a program, and so knows every answer; with `first` it never takes a second value."""

    def __init__(self, *, first: bool = False) -> None:
        super().__init__()
        self.first = first

    def forward(self, tokens: Tensor) -> Tensor:
        scores = torch.zeros(*tokens.shape, VALUES)
        for row, ids in enumerate(tokens):
            held: dict[str, str] = {}
            for place, statement in enumerate(render(ids, names=NAMES, values=VALUES)):
                name, value = statement[0], statement[2:]
                if not value:
                    scores[row, place, int(held[name])] = 9.0
                elif name not in held or not self.first:
                    held[name] = value
        return scores


@pytest.mark.parametrize("pairs", PAIRS)
def test_a_text_says_what_its_targets_say(pairs: int) -> None:
    text = recall_texts(5, pairs, 0)
    asked = min(pairs, ASKED)
    assert text.tokens.shape == (5, pairs + pairs // 2 + asked)
    assert (text.targets >= 0).sum(1).tolist() == [asked] * 5
    answers = Told()(text.tokens).argmax(-1)
    assert (answers == text.targets)[text.targets >= 0].all()
    for row in range(5):
        statements = render(text.tokens[row], names=NAMES, values=VALUES)
        given = [statement[0] for statement in statements if "=" in statement]
        assert len(set(given)) == pairs and len(given) == pairs + pairs // 2
        again = {name for name in given if given.count(name) == 2}
        assert text.reassigned[row].tolist() == [s.endswith("?") and s[0] in again for s in statements]


def test_the_longest_text_and_no_two_alike() -> None:
    texts = [recall_texts(64, PAIRS[-1], seed).tokens for seed in (0, 1)]
    assert texts[0].shape[1] == LONGEST and not torch.equal(*texts)
    assert len(texts[0].unique(dim=0)) == 64


def test_scores_of_who_knows_and_of_who_does_not_overwrite() -> None:
    knows, keeps = recall_scores(Told(), rows=64), recall_scores(Told(first=True), rows=64)
    names = [f"{kind} {pairs}" for kind in ("once", "again") for pairs in PAIRS]
    assert knows.keys() == {"choice", *names} and all(knows[name] == 1 for name in names)
    assert all(keeps[f"once {pairs}"] == 1 and 0.1 < keeps[f"again {pairs}"] < 0.4 for pairs in PAIRS)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Embedding(NAMES * (VALUES + 1), VALUES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.scores(tokens)


def test_training_lowers_the_loss_and_stops_where_it_is_lost() -> None:
    torch.manual_seed(0)
    model = Table()
    losses = learn_recall(model, rate=0.1, seed=0, steps=40, batch=8)
    assert len(losses) == 40 and sum(losses[-8:]) < sum(losses[:8])
    with torch.no_grad():
        model.scores.weight.fill_(math.nan)
    assert len(learn_recall(model, rate=0.1, seed=0, steps=40, batch=8)) == 1
    assert math.isnan(recall_scores(model, rows=4)["once 2"])


def test_refused() -> None:
    with rejects("pairs must be"):
        recall_texts(2, NAMES + 1, 0)
    with rejects("rows must be a whole number of at least 1, got 0"):
        recall_texts(0, 3, 0)
    with rejects("rate must be positive and finite, got 0.0"):
        learn_recall(Table(), rate=0.0, seed=0)
