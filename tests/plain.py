"""What tests share that needs no PyTorch: a config, and errors that say what was wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
import pytest

from transformer_lib.config import AttentionConfig, ModelConfig, Rope, SwiGlu

CONFIG = ModelConfig(
    vocab_size=13,
    d_model=16,
    num_layers=2,
    max_length=24,
    attention=AttentionConfig(num_heads=4, num_kv_heads=2),
    feedforward=SwiGlu(d_ff=24),
    positions=Rope(),
)


@contextmanager
def unchecked() -> Iterator[None]:
    """The library without the run-time check of its annotations, as its users have it, which takes a fraction of the
    time where calls are small and many. As `@unchecked()` it stands before a test."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@contextmanager
def rejects(*words: str) -> Iterator[None]:
    """A `ValueError` whose message holds all the words: the field, the rule and the value received."""
    with unchecked(), pytest.raises(ValueError) as caught:
        yield
    for word in words:
        assert word in str(caught.value), str(caught.value)
