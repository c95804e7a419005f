"""Configs refuse what makes no sense, and survive the way through JSON unchanged."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import CONFIG, rejects, unchecked
from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    Learned,
    LinearScaling,
    Llama3Scaling,
    Mlp,
    ModelConfig,
    NoPositions,
    Norm,
    NtkScaling,
    Rope,
    Seq2SeqConfig,
    Sinusoidal,
    SwiGlu,
    YarnScaling,
    from_json,
    to_json,
)
from transformer_lib.models import presets

sizes = st.integers(1, 64)
bases = st.floats(1.5, 1e6)
norms = st.builds(Norm, kind=st.sampled_from(["layer", "rms"]), eps=st.floats(1e-12, 1e-2))
feedforwards = st.one_of(
    st.builds(Mlp, d_ff=sizes, activation=st.sampled_from(["relu", "gelu", "gelu_tanh", "silu"]), bias=st.booleans()),
    st.builds(SwiGlu, d_ff=sizes, bias=st.booleans()),
)
factors = st.floats(1, 64)
scalings = st.one_of(
    st.none(),
    st.builds(LinearScaling, factor=factors),
    st.builds(NtkScaling, factor=factors, original_length=sizes),
    st.builds(
        YarnScaling,
        factor=factors,
        original_length=sizes,
        beta_fast=st.floats(2, 64),
        attention_factor=st.none() | factors,
        truncate=st.booleans(),
    ),
    st.builds(Llama3Scaling, factor=factors, original_length=sizes, high_turns=st.floats(2, 8)),
)
positions = st.one_of(
    st.builds(NoPositions),
    st.builds(Sinusoidal, base=bases),
    st.builds(Learned),
    st.builds(Rope, theta=bases, scaling=scalings),
    st.builds(Alibi),
)


@st.composite
def attentions(draw: st.DrawFn) -> AttentionConfig:
    kv_heads, group = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return AttentionConfig(
        num_heads=kv_heads * group,
        num_kv_heads=kv_heads,
        head_dim=2 + 2 * draw(sizes),
        bias=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        window=draw(st.none() | sizes),
    )


models = st.builds(
    ModelConfig,
    vocab_size=sizes,
    d_model=sizes.map(lambda half: 2 * half),
    num_layers=sizes,
    max_length=sizes,
    attention=attentions(),
    feedforward=feedforwards,
    positions=positions,
    norm=norms,
    norm_order=st.sampled_from(["pre", "post"]),
    dropout=st.floats(0, 0.9),
    tie_embeddings=st.booleans(),
    scale_embeddings=st.booleans(),
    embedding_norm=st.booleans(),
    segments=st.integers(0, 3),
    head_bias=st.booleans(),
)
PRESETS = [
    presets.tiny,
    presets.gpt2,
    presets.llama3_8b,
    presets.qwen3_0_6b,
    presets.bert_base,
    presets.transformer_base,
]


@given(models)
def test_json_is_lossless(config: ModelConfig) -> None:
    pair = Seq2SeqConfig(encoder=config, decoder=config)
    for whole in (config, pair, config.attention, config.norm):
        assert from_json(to_json(whole)) == whole


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.__name__)
def test_presets_survive_json(preset: Any) -> None:
    assert from_json(to_json(preset())) == preset()


BAD_FIELDS = [
    (ModelConfig, {"vocab_size": 0}, ("vocab_size", "at least 1", "0")),
    (ModelConfig, {"d_model": 18}, ("d_model", "divisible by num_heads=4", "18")),
    (ModelConfig, {"d_model": 12}, ("head_dim", "even for Rope", "3")),
    (
        ModelConfig,
        {"positions": Sinusoidal(), "d_model": 15, "attention": AttentionConfig(num_heads=3)},
        ("d_model", "even for Sinusoidal", "15"),
    ),
    (ModelConfig, {"norm_order": "middle"}, ("norm_order", "'pre', 'post'", "'middle'")),
    (ModelConfig, {"dropout": 1.0}, ("dropout", "below 1", "1.0")),
    (ModelConfig, {"dropout": -0.1}, ("dropout", "at least 0", "-0.1")),
    (ModelConfig, {"segments": -1}, ("segments", "from 0", "-1")),
    (AttentionConfig, {"num_heads": 0}, ("num_heads", "at least 1", "0")),
    (AttentionConfig, {"num_heads": 6, "num_kv_heads": 4}, ("num_kv_heads", "divide num_heads=6", "4")),
    (AttentionConfig, {"num_heads": 2, "num_kv_heads": 4}, ("num_kv_heads", "divide num_heads=2", "4")),
    (AttentionConfig, {"num_heads": 2, "num_kv_heads": 0}, ("num_kv_heads", "at least 1", "0")),
    (AttentionConfig, {"num_heads": 2, "head_dim": 0}, ("head_dim", "at least 1", "0")),
    (AttentionConfig, {"num_heads": 2, "window": 0}, ("window", "at least 1", "0")),
    (Mlp, {"d_ff": -1}, ("d_ff", "at least 1", "-1")),
    (Mlp, {"d_ff": 4, "activation": "swish"}, ("activation", "'silu'", "'swish'")),
    (SwiGlu, {"d_ff": 0}, ("d_ff", "at least 1", "0")),
    (Norm, {"kind": "batch"}, ("kind", "'layer', 'rms'", "'batch'")),
    (Norm, {"eps": 0.0}, ("eps", "at least 1e-30", "0.0")),
    (Norm, {"eps": 1e-46}, ("eps", "at least 1e-30", "1e-46")),
    (Norm, {"eps": 2.0}, ("eps", "at most 1", "2.0")),
    (Rope, {"theta": 1.0}, ("theta", "greater than 1", "1.0")),
    (LinearScaling, {"factor": 0.5}, ("factor", "at least 1", "0.5")),
    (NtkScaling, {"factor": 2.0, "original_length": 0}, ("original_length", "at least 1", "0")),
    (YarnScaling, {"factor": 2.0, "original_length": 8, "beta_fast": 1.0}, ("beta_fast", "beta_slow=1.0", "1.0")),
    (
        YarnScaling,
        {"factor": 2.0, "original_length": 8, "attention_factor": 0.0},
        ("attention_factor", "at least 1e-06"),
    ),
    (Llama3Scaling, {"factor": 2.0, "original_length": 8, "low_turns": 4.0}, ("high_turns", "low_turns=4.0", "4.0")),
    (
        ModelConfig,
        {"d_model": 8, "positions": Rope(scaling=NtkScaling(factor=2.0, original_length=8))},
        ("head_dim", "above 2", "2"),
    ),
    (Sinusoidal, {"base": 1}, ("base", "greater than 1", "1")),
    (
        Seq2SeqConfig,
        {"decoder": dataclasses.replace(CONFIG, d_model=32)},
        ("decoder.d_model", "encoder.d_model=16", "32"),
    ),
    (
        Seq2SeqConfig,
        {"decoder": dataclasses.replace(CONFIG, vocab_size=5)},
        ("decoder.vocab_size", "encoder.vocab_size=13", "5"),
    ),
]
BAD_KINDS = [
    (ModelConfig, {"d_model": 16.0}, ("d_model", "whole number", "16.0")),
    (ModelConfig, {"num_layers": True}, ("num_layers", "whole number", "True")),
    (ModelConfig, {"max_length": "9"}, ("max_length", "whole number", "'9'")),
    (ModelConfig, {"positions": "rope"}, ("positions", "Rope", "'rope'")),
    (ModelConfig, {"feedforward": Norm()}, ("feedforward", "a SwiGlu", "Norm(")),
    (ModelConfig, {"attention": None}, ("attention", "AttentionConfig", "None")),
    (ModelConfig, {"dropout": "0.1"}, ("dropout", "number", "'0.1'")),
    (ModelConfig, {"segments": 1.5}, ("segments", "whole number", "1.5")),
    (ModelConfig, {"tie_embeddings": "no"}, ("tie_embeddings", "True or False", "'no'")),
    (AttentionConfig, {"num_heads": 2, "bias": 1}, ("bias", "True or False", "1")),
    (AttentionConfig, {"num_heads": 2, "qk_norm": 1}, ("qk_norm", "True or False", "1")),
    (Norm, {"eps": "tiny"}, ("eps", "number", "'tiny'")),
    (Rope, {"theta": "big"}, ("theta", "number", "'big'")),
    (Rope, {"scaling": "yarn"}, ("scaling", "None", "'yarn'")),
    (LinearScaling, {"factor": "2"}, ("factor", "number", "'2'")),
    (YarnScaling, {"factor": 2.0, "original_length": 8, "truncate": 1}, ("truncate", "True or False", "1")),
    (ModelConfig, {"head_bias": 1}, ("head_bias", "True or False", "1")),
    (Seq2SeqConfig, {"encoder": CONFIG.attention}, ("encoder", "ModelConfig", "AttentionConfig(")),
    (ModelConfig, {"vocab_size": None}, ("vocab_size", "whole number", "None")),
    (ModelConfig, {"norm_order": None}, ("norm_order", "one of 'pre', 'post'", "None")),
    (Norm, {"eps": True}, ("eps", "a number", "True of type bool")),
    (Seq2SeqConfig, {"share_embeddings": 1}, ("share_embeddings", "True or False", "1 of type int")),
]
VALID = {ModelConfig: CONFIG, Seq2SeqConfig: Seq2SeqConfig(encoder=CONFIG, decoder=CONFIG)}


@pytest.mark.parametrize("kind, fields, words", BAD_FIELDS, ids=lambda part: str(part)[:40])
def test_a_field_that_makes_no_sense_is_refused(kind: Any, fields: dict[str, Any], words: tuple[str, ...]) -> None:
    with rejects(*words):
        changed(kind, fields)


@pytest.mark.parametrize("kind, fields, words", BAD_KINDS, ids=lambda part: str(part)[:40])
def test_a_field_of_a_wrong_kind_is_a_type_error(kind: Any, fields: dict[str, Any], words: tuple[str, ...]) -> None:
    with unchecked(), pytest.raises(TypeError) as caught:
        changed(kind, fields)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def changed(kind: Any, fields: dict[str, Any]) -> None:
    if kind in VALID:
        dataclasses.replace(VALID[kind], **fields)
    else:
        kind(**fields)


SIZES = [
    *((ModelConfig, name) for name in ("vocab_size", "d_model", "num_layers", "max_length")),
    *((AttentionConfig, name) for name in ("num_heads", "num_kv_heads", "head_dim", "window")),
    *((kind, "d_ff") for kind in (Mlp, SwiGlu)),
    *((kind, "original_length") for kind in (NtkScaling, YarnScaling, Llama3Scaling)),
]


@pytest.mark.parametrize("kind, name", SIZES)
@pytest.mark.parametrize("size", [0, -1, 2**31, 10**18, 2**63, 10**30])
def test_a_size_beyond_any_machine_is_refused(kind: Any, name: str, size: int) -> None:
    needed = {AttentionConfig: {"num_heads": 2}}.get(kind, {"factor": 2.0} if name == "original_length" else {})
    with rejects(name, "whole number", str(size)):
        changed(kind, {**needed, name: size})


NUMBERS = [
    (Norm, "eps"),
    (Sinusoidal, "base"),
    (Rope, "theta"),
    (ModelConfig, "dropout"),
    *((kind, "factor") for kind in (LinearScaling, NtkScaling, YarnScaling, Llama3Scaling)),
    *((YarnScaling, name) for name in ("beta_fast", "beta_slow", "attention_factor")),
    *((Llama3Scaling, name) for name in ("low_turns", "high_turns")),
]


@pytest.mark.parametrize("kind, name", NUMBERS)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e308, 10**30, -1.0])
def test_a_number_that_gives_nonsense_is_refused(kind: Any, name: str, number: float) -> None:
    needed = {"factor": 2.0, "original_length": 8} if kind in (NtkScaling, YarnScaling, Llama3Scaling) else {}
    with rejects(name, "must", str(number)):
        changed(kind, {**needed, name: number})


def test_sides_of_different_vocabularies_may_keep_their_own_tables() -> None:
    other = dataclasses.replace(CONFIG, vocab_size=5)
    assert Seq2SeqConfig(encoder=CONFIG, decoder=other, share_embeddings=False).decoder.vocab_size == 5


def edited(**change: Any) -> str:
    fields = json.loads(to_json(CONFIG)) | change
    return json.dumps({name: value for name, value in fields.items() if value != "DROP"})


@pytest.mark.parametrize(
    "text, words",
    [
        ("not json", ("JSON",)),
        ("[" * 100_000, ("config",)),
        ('{"type": "Norm", "eps": ' * 300 + "1" + "}" * 300, ("config", "eps")),
        ('{"type": "Norm", "eps": NaN}', ("config", "NaN")),
        ('{"type": "Norm", "eps": -Infinity}', ("config", "-Infinity")),
        ('{"type": "Norm", "eps": 1e999}', ("eps", "inf")),
        ('{"type": "Norm", "eps": ' + "1" * 5000 + "}", ("config",)),
        (edited(num_layers=10**18), ("num_layers", "2147483647", "1000000000000000000")),
        (edited(d_model=2**63), ("d_model", str(2**63))),
        (edited(dropout=True), ("dropout", "True of type bool")),
        (edited(norm_order=None), ("norm_order", "None")),
        ("3", ("config", "3")),
        ("[]", ("config", "[]")),
        ("{}", ("type", "None")),
        ('{"type": "os.system"}', ("type", "'os.system'")),
        ('{"type": ["Norm"]}', ("type", "['Norm']")),
        (edited(colour=1), ("fields of ModelConfig", "'colour'")),
        (edited(vocab_size="DROP"), ("fields of ModelConfig", "'vocab_size'")),
        (edited(vocab_size="many"), ("vocab_size", "'many'")),
        (edited(feedforward={"type": "SwiGlu", "bias": True}), ("fields of SwiGlu", "'d_ff'")),
        (edited(norm={"type": "Rope", "theta": 10.0}), ("norm", "Rope")),
        (edited(norm=None), ("norm", "None")),
    ],
)
def test_foreign_json_is_refused(text: str, words: tuple[str, ...]) -> None:
    with rejects(*words):
        from_json(text)


def test_an_older_file_lacks_what_has_a_default() -> None:
    older = edited(head_bias="DROP", positions={"type": "Rope", "theta": 10_000.0})
    assert from_json(older) == CONFIG


def test_a_config_cannot_be_changed_and_names_every_field() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.d_model = 32  # type: ignore[misc]
    with pytest.raises(TypeError):
        Norm("rms")  # type: ignore[misc]


def test_what_is_left_out_is_derived() -> None:
    assert AttentionConfig(num_heads=6).kv_heads == 6
    assert CONFIG.head_dim == 4
    wide = dataclasses.replace(CONFIG, attention=dataclasses.replace(CONFIG.attention, head_dim=10))
    assert wide.head_dim == 10
