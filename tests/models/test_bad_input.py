"""What a caller can get wrong is refused in words: the field, the rule and the value received."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import CONFIG, integers, randomise, rejects
from transformer_lib.config import AttentionConfig, Learned, Seq2SeqConfig
from transformer_lib.models import (
    DecoderLM,
    Encoder,
    MaskedLMHead,
    PooledHead,
    Seq2Seq,
    SequenceHead,
    SpanHead,
    TokenHead,
)
from transformer_lib.nn import KeyValues, KVCache

LEARNED = dataclasses.replace(CONFIG, positions=Learned(), max_length=6, segments=2)
DECODER, ENCODER = randomise(DecoderLM(LEARNED)), randomise(Encoder(LEARNED))
SEQ2SEQ = randomise(Seq2Seq(Seq2SeqConfig(encoder=LEARNED, decoder=LEARNED)))
TOKENS = integers(13, 2, 4)

BAD_TOKENS = [
    (TOKENS.float(), ("integer type", "float32")),
    (TOKENS > 3, ("integer type", "bool")),
    (TOKENS.to(torch.int16), ("integer type", "int16")),
    (TOKENS[0], ("axes batch, ", "(4,)")),
    (TOKENS[:, :0], ("at least one token", "(2, 0)")),
    (torch.tensor([[1, 13]] * 2), ("below vocab_size=13", "13")),
    (torch.tensor([[1, -1]] * 2), ("must not be negative", "-1")),
]
BAD_VALID = [
    (torch.ones(2, 4), ("boolean", "float32")),
    (torch.ones(2, 4, dtype=torch.int64), ("boolean", "int64")),
    (TOKENS[:, :3] >= 0, ("as the arguments before it, 4", "3")),
    (TOKENS[:1] >= 0, ("the same batch as the arguments before it, 2", "1")),
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
        (torch.arange(3)[None], ("the same time as the arguments before it, 4", "3")),
        (torch.arange(4), ("axes #batch, time", "(4,)")),
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
        (torch.zeros(2, 3, dtype=torch.int64), ("the same time as", "3")),
        (torch.zeros(1, 4, dtype=torch.int64), ("the same batch as", "1")),
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
    with rejects("target", "the same batch as the arguments before it, 2", "1"):
        SEQ2SEQ(TOKENS, TOKENS[:1])
    with rejects("target", "as many rows as the source, 2", "1"):
        SEQ2SEQ.decode(TOKENS[:1], SEQ2SEQ.encode(TOKENS))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": torch.float32}, ("type of the model", "float64", "float32")),
        ({"dtype": torch.float64, "device": "meta"}, ("device of the model", "cpu", "meta")),
    ],
)
def test_a_cache_of_another_type_or_device(options: dict[str, Any], words: tuple[str, ...]) -> None:
    cache = KVCache(LEARNED, 2, 8, **options)
    with rejects("cache", *words):
        DECODER(TOKENS, cache=cache)
    with rejects("cache", *words):
        SEQ2SEQ.decode(TOKENS, SEQ2SEQ.encode(TOKENS), cache=cache)
    assert cache.length == 0


def test_tokens_on_another_device_and_objects_of_another_kind() -> None:
    for model in (DECODER, ENCODER):
        with rejects("tokens", "device", "cpu", "meta"):
            model(TOKENS.to("meta"))
        with pytest.raises(TypeError, match=r"tokens must be a Tensor, got \[\[1, 2\]\] of type list"):
            model([[1, 2]])
        with pytest.raises(TypeError, match="config must be a ModelConfig, got None of type NoneType"):
            type(model)(None)


def test_a_memory_of_another_model() -> None:
    memory = SEQ2SEQ.encode(TOKENS)
    k, v = memory.layers[0]
    wrong = [
        (memory._replace(layers=memory.layers[:1]), ("memory", "2 layers", "1")),
        (memory._replace(layers=[KeyValues(k[:, :1], v[:, :1])] * 2), ("memory", "(2, 2, 4, 4)", "(2, 1, 4, 4)")),
        (memory._replace(layers=[KeyValues(k, v.float())] * 2), ("memory", "float64", "float32")),
        (memory._replace(valid=TOKENS[:, 1:] >= 0), ("memory.valid", "(2, 4)", "(2, 3)")),
    ]
    for other, words in wrong:
        with rejects(*words):
            SEQ2SEQ.decode(TOKENS, other)
    for parts in ({"layers": None}, {"layers": [None, None]}, {"layers": [KeyValues(k, v)._replace(v=None)] * 2}):
        with pytest.raises(TypeError, match=r"memory\.layers must be a list of KeyValues"):
            SEQ2SEQ.decode(TOKENS, memory._replace(**parts))


def test_what_a_beam_continues_must_be_said_of_every_slot() -> None:
    for keys in (2, 4):
        cache = DECODER.new_cache(2, 6)
        DECODER(TOKENS[:, :2], cache=cache)
        with rejects("past", "3 slots", str(keys)):
            DECODER(TOKENS[:, :1], cache=cache, past=torch.ones(2, 1, keys, dtype=torch.bool))


@pytest.mark.parametrize(
    "change", [{"num_layers": 10**9}, {"d_model": 2**30, "num_layers": 100}, {"vocab_size": 2**31 - 1}]
)
def test_a_model_that_no_memory_could_hold(change: dict[str, Any]) -> None:
    wide = {"d_model": 2**20} if "vocab_size" in change else {}
    config = dataclasses.replace(CONFIG, **(wide | change))
    for build in (DecoderLM, Encoder, lambda config: Seq2Seq(Seq2SeqConfig(encoder=config, decoder=config))):
        with rejects("config", "must not ask for more than", "GB of memory of cpu"):
            build(config)


def test_vectors_that_do_not_fit_a_head() -> None:
    small = dataclasses.replace(CONFIG, d_model=4, attention=AttentionConfig(num_heads=2))
    heads: list[tuple[str, Any]] = [
        *(("x", head(4, 3)) for head in (TokenHead, SequenceHead, PooledHead)),
        *(("x", head) for head in (SpanHead(4), MaskedLMHead(small, nn.Embedding(13, 4)))),
        ("x", DecoderLM(small).logits),
    ]
    for field, head in heads:
        head(torch.zeros(2, 3, 4))
        with rejects(field, "vectors of 4 numbers", "(2, 3, 5)"):
            head(torch.zeros(2, 3, 5))
        with rejects(field, "float32", "float64"):
            head(torch.zeros(2, 3, 4).double())
        with torch.autocast("cpu", torch.bfloat16):
            head(torch.zeros(2, 3, 4).bfloat16())
    with rejects("embedding", "(13, 16)", "(13, 4)"):
        MaskedLMHead(CONFIG, nn.Embedding(13, 4))
