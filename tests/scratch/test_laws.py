"""The NumPy Transformer without PyTorch beside it: differences, the ends of the range, sums over leading axes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import CONFIG
from transformer_lib import scratch
from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig, Norm
from transformer_lib.scratch import functions as f
from transformer_lib.scratch import pencil

GPT2 = dataclasses.replace(
    CONFIG,
    attention=AttentionConfig(num_heads=4, bias=True),
    feedforward=Mlp(d_ff=24, activation="gelu_tanh"),
    positions=Learned(),
)
LLAMA = dataclasses.replace(CONFIG, norm=Norm(kind="rms", eps=1e-3), tie_embeddings=False)


def test_softmax_and_cross_entropy_hold_at_the_ends_of_the_range() -> None:
    scores = np.array([[0.0, 1e4, -1e4], [-np.inf, 3.0, 3.0]])
    np.testing.assert_allclose(f.softmax(scores), [[0, 1, 0], [0, 0.5, 0.5]], atol=1e-12)
    total, count = f.cross_entropy(scores[:1], np.array([0]))
    assert (total, count) == (1e4, 1)
    assert f.cross_entropy(scores, np.array([-100, -100])) == (0.0, 0)
    assert (f.cross_entropy_backward(scores, np.array([-100, 1])) == [[0, 0, 0], [0, -0.5, 0.5]]).all()


@pytest.mark.parametrize("family", [GPT2, LLAMA], ids=["like GPT-2", "like Llama"])
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 6))
def test_backward_is_the_slope_of_the_loss(family: ModelConfig, seed: int, time: int, vocab: int) -> None:
    """A central difference along a random direction in the space of all weights."""
    config = dataclasses.replace(family, vocab_size=vocab, d_model=8, num_layers=1, max_length=4)
    random = np.random.default_rng(seed)
    weights = scratch.initial_weights(config, seed=seed, std=0.5)
    tokens, targets = random.integers(vocab, size=(2, 2, time))
    direction = {name: random.normal(size=weight.shape) for name, weight in weights.items()}

    def loss(step: float) -> float:
        moved = {name: weight + step * direction[name] for name, weight in weights.items()}
        return float(scratch.cross_entropy(scratch.forward(config, moved, tokens)["logits"], targets)[0])

    stages = scratch.forward(config, weights, tokens)
    d_logits = scratch.cross_entropy_backward(stages["logits"], targets)
    gradients, _ = scratch.backward(config, weights, tokens, stages, d_logits)
    slope = sum((gradients[name] * direction[name]).sum() for name in weights)
    size = sum(np.abs(gradients[name] * direction[name]).sum() for name in weights)
    assert abs(slope - (loss(1e-5) - loss(-1e-5)) / 2e-5) < 1e-6 * (1 + size)


def test_leading_axes_are_free() -> None:
    weights, tokens = pencil.pencil_weights(), np.array([[[0, 2, 0], [1, 3, 1]]])
    stages = scratch.forward(pencil.CONFIG, weights, tokens)
    gradients, _ = scratch.backward(pencil.CONFIG, weights, tokens, stages, np.ones_like(stages["logits"]))
    sums = dict.fromkeys(weights, 0.0)
    for row, logits in zip(tokens[0], stages["logits"][0], strict=True):
        alone = scratch.forward(pencil.CONFIG, weights, row)
        np.testing.assert_allclose(alone["logits"], logits, rtol=1e-12)
        found, _ = scratch.backward(pencil.CONFIG, weights, row, alone, np.ones_like(logits))
        sums = {name: sums[name] + found[name] for name in weights}
    for name in weights:
        np.testing.assert_allclose(gradients[name], sums[name], rtol=1e-10, atol=1e-12)


def test_training_learns_to_count() -> None:
    """Ten tokens whose successor is one more, modulo ten; that each step is PyTorch's stands in `test_scratch.py`."""
    config = dataclasses.replace(LLAMA, vocab_size=10, feedforward=Mlp(d_ff=32), tie_embeddings=True)
    weights, random = scratch.initial_weights(config, seed=0, std=0.2), np.random.default_rng(0)
    moments, losses = scratch.Moments.zeros(weights), []
    for _ in range(30):
        tokens = (random.integers(10, size=(8, 1)) + np.arange(6)) % 10
        stages = scratch.forward(config, weights, tokens)
        total, count = scratch.cross_entropy(stages["logits"], (tokens + 1) % 10)
        d_logits = scratch.cross_entropy_backward(stages["logits"], (tokens + 1) % 10) / count
        gradients, _ = scratch.backward(config, weights, tokens, stages, d_logits)
        scratch.clip(gradients, 100.0)
        scratch.adamw_step(weights, gradients, moments, lr=0.02, weight_decay=0.1)
        losses.append(total / count)
    assert losses[0] > 2.2 and losses[-1] < 0.1


def test_the_pencil_weights_are_quarters_and_the_embedding_is_orthonormal() -> None:
    for name, weight in pencil.pencil_weights().items():
        assert (weight * 4 == (weight * 4).round()).all(), name
    table = pencil.pencil_weights()["embedding.tokens.weight"]
    assert (table @ table.T == np.eye(4)).all()
    assert [pencil.VOCABULARY[i] for i in pencil.TOKENS[1:]] == [pencil.VOCABULARY[i] for i in pencil.TARGETS[:-1]]
