"""Encoders with a head for a task: padding changes nothing, and dropout is for training alone.

That they are the models that others publish, `tests/interop` shows.
"""

import dataclasses

import pytest
import torch
from torch import nn

from tests.oracles import CONFIG, close, integers, randomise, rejects
from transformer_lib.config import Learned
from transformer_lib.models import SequenceClassifier, SpanFinder, TokenClassifier

SMALL = dataclasses.replace(CONFIG, positions=Learned(), segments=2, norm_order="post", dropout=0.3)
TOKENS, SEGMENTS = integers(CONFIG.vocab_size, 2, 9), integers(2, 2, 9, seed=1)
VALID = torch.arange(9) < torch.tensor([[9], [4]])
MODELS = {
    "sequence": lambda: SequenceClassifier(SMALL, ("bad", "good", "so so")),
    "sequence, relu": lambda: SequenceClassifier(SMALL, ("bad", "good"), pooling="relu"),
    "token": lambda: TokenClassifier(SMALL, ("O", "B", "I")),
    "span": lambda: SpanFinder(SMALL),
}
models = pytest.mark.parametrize("name", MODELS)


def output(model: nn.Module, tokens: torch.Tensor, valid: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    found = model(tokens, valid=valid, segments=segments)
    return torch.stack(found, dim=-1) if isinstance(found, tuple) else found


@models
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(name: str, side: str) -> None:
    model = randomise(MODELS[name]())
    rows = [valid if side == "right" else valid.flip(0) for valid in VALID]
    whole = output(model, TOKENS, torch.stack(rows), SEGMENTS)
    for i, valid in enumerate(rows):
        alone = output(
            model,
            TOKENS[i : i + 1, valid],
            torch.ones(1, int(valid.sum()), dtype=torch.bool),
            SEGMENTS[i : i + 1, valid],
        )
        close(whole[i] if "sequence" in name else whole[i, valid], alone[0])


@models
def test_dropout_is_for_training(name: str) -> None:
    model, everything = randomise(MODELS[name]()), torch.ones_like(VALID)
    first, second = (output(model, TOKENS, everything, SEGMENTS) for _ in range(2))
    assert torch.equal(first, second)
    model.train()
    model.encoder.eval()
    first, second = (output(model, TOKENS, everything, SEGMENTS) for _ in range(2))
    assert torch.equal(first, second) == (name == "span")  # whose head has none


def test_labels_have_names() -> None:
    for kind in (SequenceClassifier, TokenClassifier):
        assert kind(SMALL, ("no", "yes")).labels == ("no", "yes")
        with rejects("labels must be at least one, got ()"):
            kind(SMALL, ())
