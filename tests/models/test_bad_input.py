"""What a caller can get wrong is refused in words: the field, the rule and the value received."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.oracles import CONFIG, integers, randomise, rejects
from transformer_lib.config import Learned, Seq2SeqConfig
from transformer_lib.models import DecoderLM, Encoder, Seq2Seq
from transformer_lib.nn import KVCache

LEARNED = dataclasses.replace(CONFIG, positions=Learned(), max_length=6, segments=2)
DECODER, ENCODER = randomise(DecoderLM(LEARNED)), randomise(Encoder(LEARNED))
SEQ2SEQ = randomise(Seq2Seq(Seq2SeqConfig(encoder=LEARNED, decoder=LEARNED)))
TOKENS = integers(13, 2, 4)

BAD_TOKENS = [
    (TOKENS.float(), ("integer type", "float32")),
    (TOKENS > 3, ("integer type", "bool")),
    (TOKENS.to(torch.int16), ("integer type", "int16")),
    (TOKENS[0], ("axes batch, time", "(4,)")),
    (TOKENS[:, :0], ("at least one token", "(2, 0)")),
    (torch.tensor([[1, 13]]), ("below vocab_size=13", "13")),
    (torch.tensor([[1, -1]]), ("must not be negative", "-1")),
]
BAD_VALID = [
    (torch.ones(2, 4), ("boolean", "float32")),
    (torch.ones(2, 4, dtype=torch.int64), ("boolean", "int64")),
    (TOKENS[:, :3] >= 0, ("shape of the tokens, (2, 4)", "(2, 3)")),
    (TOKENS[:1] >= 0, ("shape of the tokens, (2, 4)", "(1, 4)")),
]


@pytest.mark.parametrize("tokens, words", BAD_TOKENS, ids=["float", "bool", "int16", "axes", "empty", "high", "low"])
def test_bad_tokens(tokens: Tensor, words: tuple[str, ...]) -> None:
    for model in (DECODER, ENCODER):
        with rejects("tokens", *words):
            model(tokens)
    with rejects("source", *words):
        SEQ2SEQ(tokens, TOKENS)
    with rejects("target", *words):
        SEQ2SEQ(TOKENS, tokens)


@pytest.mark.parametrize("valid, words", BAD_VALID, ids=["float", "int", "time", "batch"])
def test_bad_valid(valid: Tensor, words: tuple[str, ...]) -> None:
    for model in (DECODER, ENCODER):
        with rejects("valid", *words):
            model(TOKENS, valid=valid)
    with rejects("source_valid", *words):
        SEQ2SEQ(TOKENS, TOKENS, source_valid=valid)
    with rejects("target_valid", *words):
        SEQ2SEQ(TOKENS, TOKENS, target_valid=valid)


@pytest.mark.parametrize(
    "positions, words",
    [
        (torch.zeros(2, 4), ("integer type", "float32")),
        (torch.arange(3)[None], ("shape (1, 4) or (2, 4)", "3")),
        (torch.arange(4), ("shape (1, 4) or (2, 4)", "4")),
        (torch.arange(4)[None] + 3, ("below max_length=6", "6")),
        (torch.arange(4)[None] - 1, ("-1",)),
    ],
    ids=["float", "time", "axes", "high", "low"],
)
def test_bad_positions(positions: Tensor, words: tuple[str, ...]) -> None:
    with rejects("positions", *words):
        DECODER(TOKENS, positions=positions)


def test_a_text_longer_than_the_position_table() -> None:
    longer = integers(13, 2, 7)
    for model in (DECODER, ENCODER):
        model(longer[:, :6])
        with rejects("positions", "below max_length=6", "got 6"):
            model(longer)
    with rejects("positions", "below max_length=6", "got 6"):
        SEQ2SEQ(TOKENS, longer)
    cache = DECODER.new_cache(2, 8)
    DECODER(TOKENS, cache=cache)
    with rejects("positions", "below max_length=6", "got 7"):
        DECODER(TOKENS, cache=cache)
    assert cache.length == 4


@pytest.mark.parametrize(
    "segments, words",
    [
        (torch.zeros(2, 4), ("integer type", "float32")),
        (torch.full((2, 4), 2), ("below vocab_size=2", "2")),
        (torch.zeros(2, 3, dtype=torch.int64), ("shape", "(2, 3)")),
        (torch.zeros(1, 4, dtype=torch.int64), ("shape", "(1, 4)")),
    ],
    ids=["float", "high", "time", "batch"],
)
def test_bad_segments(segments: Tensor, words: tuple[str, ...]) -> None:
    with rejects("segments", *words):
        ENCODER(TOKENS, segments=segments)


def test_segments_without_a_table() -> None:
    with rejects("segments", "config", "0"):
        Encoder(CONFIG)(TOKENS, segments=torch.zeros_like(TOKENS))


def test_a_cache_that_is_full_or_of_another_batch() -> None:
    cache = DECODER.new_cache(2, 5)
    DECODER(TOKENS, cache=cache)
    with rejects("cache", "room for 1", "2"):
        DECODER(TOKENS[:, :2], cache=cache)
    with rejects("tokens", "batch of 2", "1"):
        DECODER(TOKENS[:1, :1], cache=cache)
    assert cache.length == 4
    cache = SEQ2SEQ.new_cache(2, 3)
    with rejects("cache", "room for 3", "4"):
        SEQ2SEQ.decode(TOKENS, SEQ2SEQ.encode(TOKENS), cache=cache)


@pytest.mark.parametrize(
    "change", [{"num_layers": 3}, {"d_model": 32}, {"attention": dataclasses.replace(CONFIG.attention, num_kv_heads=4)}]
)
def test_a_cache_made_for_another_model(change: dict[str, Any]) -> None:
    cache = KVCache(dataclasses.replace(LEARNED, **change), 2, 8, dtype=torch.float64)
    with rejects("cache", "model"):
        DECODER(TOKENS, cache=cache)


def test_a_target_with_other_rows_than_the_source() -> None:
    with rejects("target", "as many rows as the source, 2", "1"):
        SEQ2SEQ(TOKENS, TOKENS[:1])
