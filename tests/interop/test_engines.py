"""Folders for CTranslate2 against PyTorch: an engine that knows nothing of this library writes the same texts."""

import dataclasses
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
import torch

from tests.oracles import integers, randomise, rejects
from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    Experts,
    Glu,
    LayerConfig,
    Learned,
    LinearAttention,
    LinearScaling,
    Llama3Scaling,
    Mlp,
    ModelConfig,
    NoPositions,
    Norm,
    Rope,
    Seq2SeqConfig,
    Sinusoidal,
    SwiGlu,
)
from transformer_lib.data.batching import pad
from transformer_lib.generation import Conditioned, beam_search, generate
from transformer_lib.generation.generate import pad_left
from transformer_lib.generation.sampling import distribution
from transformer_lib.interop.engine_folder import convert, converted
from transformer_lib.interop.engine_specs import check_convertible
from transformer_lib.interop.engines import EngineLM, EngineSeq2Seq
from transformer_lib.models import DecoderLM, Seq2Seq
from transformer_lib.nn.lora import LoraConfig, add_lora

VOCAB, NEW, STOPS = 53, 12, (7, 11, 3)
GPT2 = ModelConfig(
    vocab_size=VOCAB,
    d_model=24,
    num_layers=2,
    max_length=32,
    attention=AttentionConfig(num_heads=4, bias=True),
    feedforward=Mlp(d_ff=40, activation="gelu_tanh"),
    positions=Learned(),
    norm=Norm(eps=1e-2),
)
RMS = Norm(kind="rms", eps=1e-2)


def like(config: ModelConfig = GPT2, **changes: Any) -> ModelConfig:
    return dataclasses.replace(config, **changes)


LLAMA = like(
    attention=AttentionConfig(num_heads=4, num_kv_heads=2),
    feedforward=SwiGlu(d_ff=32),
    positions=Rope(theta=500.0),
    norm=RMS,
    tie_embeddings=False,
)
VASWANI = like(
    feedforward=Mlp(d_ff=40, activation="relu"), positions=Sinusoidal(), norm_order="post", scale_embeddings=True
)
DECODERS = {
    "GPT-2": GPT2,
    "Llama": LLAMA,
    "Qwen3": like(LLAMA, attention=AttentionConfig(num_heads=4, num_kv_heads=2, head_dim=10, qk_norm=True)),
    "Qwen2, slowed": like(
        LLAMA,
        attention=AttentionConfig(num_heads=4, num_kv_heads=1, bias="qkv"),
        positions=Rope(theta=500.0, scaling=LinearScaling(factor=3.0)),
    ),
    "gains about 1, GEGLU, a scale of its own": like(
        LLAMA,
        norm=Norm(kind="rms", eps=1e-2, centred=True),
        feedforward=Glu(d_ff=32, bias=True),
        attention=AttentionConfig(num_heads=2, scale=0.7),
        scale_embeddings=True,
    ),
    "half of each head turned, norms without bias": like(
        positions=Rope(share=0.5), attention=AttentionConfig(num_heads=2), norm=Norm(bias=False)
    ),
    "post-norm, an embedding's norm, a bias of the head": like(
        VASWANI, embedding_norm=True, head_bias=True, tie_embeddings=False
    ),
}
TRANSLATORS = {
    "Vaswani": Seq2SeqConfig(encoder=VASWANI, decoder=VASWANI),
    "Marian": Seq2SeqConfig(
        encoder=VASWANI, decoder=like(VASWANI, head_bias=True, feedforward=Mlp(d_ff=40, activation="silu"))
    ),
    "tatoeba": Seq2SeqConfig(encoder=like(LLAMA, num_layers=3), decoder=LLAMA),
    "two vocabularies, learned positions": Seq2SeqConfig(
        encoder=like(vocab_size=31, attention=AttentionConfig(num_heads=2, bias=True)),
        decoder=GPT2,
        share_embeddings=False,
    ),
}
PROMPTS = [integers(VOCAB, 1 + seed % 7, seed=seed).tolist() for seed in range(24)]


def lm(config: ModelConfig) -> DecoderLM:
    return randomise(DecoderLM(config), dtype=torch.float32)


def translator(config: Seq2SeqConfig) -> Seq2Seq:
    return randomise(Seq2Seq(config), dtype=torch.float32)


def beams_of(model: Seq2Seq, sources: list[list[int]], **search: Any) -> Any:
    source = pad(sources, 0)
    start = torch.full((len(sources), 1), 2)
    return beam_search(Conditioned(model, source.tokens, source.valid), start, **search)


def compare(theirs: Any, ours: Any, stop_ids: Collection[int]) -> int:
    """How many best texts are the same; the others have equal scores, or the search ended where texts are cut."""
    same = 0
    for row, text in enumerate(ours.best()):
        if theirs.best()[row] == text:
            same += 1
            torch.testing.assert_close(theirs.scores[row, 0], ours.scores[row, 0], atol=1e-4, rtol=1e-4)
        elif not (stop_ids and bool((theirs.lengths[row] == NEW).any())):
            assert abs(float(theirs.scores[row, 0] - ours.scores[row, 0])) < 1e-4
    return same


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_writes_the_same(name: str, tmp_path: Path) -> None:
    """A token that is not the same was as likely, but for rounding, and a few such ties there may be."""
    model = lm(DECODERS[name])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    convert(model, tmp_path / "engine")
    engine = EngineLM(tmp_path / "engine")
    assert engine.config == model.config
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    tokens, valid = pad_left(PROMPTS)
    theirs = engine.generate(PROMPTS, max_new_tokens=NEW)
    ours = generate(model, tokens, valid=valid, max_new_tokens=NEW).rows()
    assert sum(a == b for a, b in zip(theirs, ours, strict=True)) >= len(PROMPTS) - 2
    whole = [prompt + text for prompt, text in zip(PROMPTS, theirs, strict=True)]
    tokens_read, real = pad(whole, 0)
    with torch.inference_mode():
        logits = model(tokens_read, valid=real).log_softmax(-1)
    for row, (prompt, probs) in enumerate(zip(PROMPTS, engine.log_probs(whole), strict=True)):
        read = logits[row, : len(probs)]
        own = read.gather(1, torch.tensor(whole[row])[1:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(probs), own, atol=1e-4, rtol=1e-4)  # sums in float32, layer on layer
        assert float((read.amax(1) - own)[len(prompt) - 1 :].max()) < 1e-4
    for stop_ids in ((), STOPS):
        search = {"beams": 4, "max_new_tokens": NEW, "stop_ids": stop_ids}
        found = engine.beam_search(PROMPTS, **search)
        assert compare(found, beam_search(model, tokens, valid=valid, **search), stop_ids) >= 0.9 * len(PROMPTS)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_an_encoder_decoder_writes_the_same(name: str, tmp_path: Path) -> None:
    model = translator(TRANSLATORS[name])
    convert(model, tmp_path / "engine")
    engine = EngineSeq2Seq(tmp_path / "engine")
    sources = [[token % model.config.encoder.vocab_size for token in prompt] for prompt in PROMPTS]
    for beams, stop_ids, penalty in ((1, STOPS, 1.0), (4, (), 1.0), (4, STOPS, 0.6)):
        search = {"beams": beams, "max_new_tokens": NEW, "stop_ids": stop_ids, "length_penalty": penalty}
        theirs = engine.beam_search(sources, start_id=2, **search)
        assert compare(theirs, beams_of(model, sources, **search), stop_ids) >= 0.9 * len(sources)


def test_stops_and_forbidden_tokens(tmp_path: Path) -> None:
    model = lm(LLAMA)
    convert(model, tmp_path / "engine")
    engine = EngineLM(tmp_path / "engine")
    tokens, valid = pad_left(PROMPTS)
    plain = engine.generate(PROMPTS, max_new_tokens=NEW)
    limits = {"max_new_tokens": NEW, "stop_ids": STOPS, "forbidden_ids": [0, plain[0][0], plain[1][-1]]}
    theirs, ours = engine.generate(PROMPTS, **limits), generate(model, tokens, valid=valid, **limits).rows()
    assert theirs == ours != plain
    assert any(text[-1] in STOPS and len(text) < NEW for text in theirs)
    assert not {token for text in theirs for token in text} & {*limits["forbidden_ids"]}


def test_sampling_follows_the_probabilities(tmp_path: Path) -> None:
    """Of 4,000 draws, the shares lie within four standard deviations of the model's own law."""
    model = lm(GPT2)
    convert(model, tmp_path / "engine")
    drawn = {"max_new_tokens": 1, "temperature": 2.0, "top_k": 5}
    engine = EngineLM(tmp_path / "engine", seed=3)
    found = [token for [token] in engine.generate([[4, 9]] * 4000, **drawn)]
    with torch.inference_mode():
        wanted = distribution(model(torch.tensor([[4, 9]]))[:, -1], temperature=2.0, top_k=5)[0]
    shares = torch.bincount(torch.tensor(found), minlength=VOCAB) / len(found)
    assert bool(((shares - wanted).abs() <= 4 * (wanted * (1 - wanted) / len(found)).sqrt() + 1e-6).all())
    again = EngineLM(tmp_path / "engine", seed=3)
    assert again.generate([[4, 9]] * 4000, **drawn) == [[token] for token in found]
    assert again.generate([[4, 9]] * 4000, **drawn) != [[token] for token in found]  # it goes on from there


def test_int8_is_smaller_and_near(tmp_path: Path) -> None:
    model = lm(like(LLAMA, d_model=64, num_layers=2, attention=AttentionConfig(num_heads=4), vocab_size=VOCAB))
    for compute in ("float32", "int8"):
        convert(model, tmp_path / compute, compute=compute)
    exact, rounded = EngineLM(tmp_path / "float32"), EngineLM(tmp_path / "int8")
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("int8", "float32")]
    assert sizes[0] < 0.4 * sizes[1]
    gaps = torch.tensor(exact.log_probs(PROMPTS[6:7])) - torch.tensor(rounded.log_probs(PROMPTS[6:7]))
    assert 0 < float(gaps.abs().max()) < 1.0
    assert [len(text) for text in rounded.generate(PROMPTS, max_new_tokens=NEW)] == [NEW] * len(PROMPTS)
    assert len(rounded.beam_search(PROMPTS[:2], beams=3, max_new_tokens=4).best()) == 2


def test_bfloat16_runs_where_the_processor_can(tmp_path: Path) -> None:
    convert(lm(LLAMA), tmp_path / "engine", compute="bfloat16")
    if "bfloat16" in ctranslate2.get_supported_compute_types("cpu"):
        assert len(EngineLM(tmp_path / "engine").generate([[1, 2]], max_new_tokens=3)[0]) == 3
    else:
        rejects(lambda: EngineLM(tmp_path / "engine"), "compute must be one of .* on this processor, got 'bfloat16'")


def test_a_table_of_sines_has_an_end(tmp_path: Path) -> None:
    convert(lm(VASWANI), tmp_path / "engine", longest=6)
    engine = EngineLM(tmp_path / "engine")
    assert engine.context == 6 and len(engine.generate([[1, 2, 3]], max_new_tokens=4)[0]) == 4
    rejects(lambda: engine.generate([[1, 2, 3]], max_new_tokens=5), "prompts must make no text of more than the 6 pos")
    convert(lm(VASWANI), tmp_path / "usual")
    assert EngineLM(tmp_path / "usual").context == 2 * VASWANI.max_length + 64


# What is refused.

REFUSED = {
    "pattern must be empty": like(pattern=(LayerConfig(), LayerConfig(feedforward=SwiGlu(d_ff=8)))),
    "attention.window must be None .* got 3": like(attention=AttentionConfig(num_heads=4, window=3)),
    "attention.soft_cap must be None": like(attention=AttentionConfig(num_heads=4, soft_cap=3.0)),
    "attention.sinks must be False": like(attention=AttentionConfig(num_heads=4, sinks=True)),
    "attention.gate must be False": like(attention=AttentionConfig(num_heads=4, gate=True)),
    "attention.qk_norm must not be 'whole'": like(attention=AttentionConfig(num_heads=4, qk_norm="whole")),
    "attention must be an AttentionConfig": like(attention=LinearAttention(num_heads=4)),
    "feedforward must not be Experts": like(feedforward=Experts(num_experts=2, top_k=1, d_ff=8)),
    "positions must be Learned, Sinusoidal or Rope .* got Alibi": like(positions=Alibi()),
    "positions must be Learned, Sinusoidal or Rope": like(positions=NoPositions()),
    "positions.scaling must be None or a LinearScaling": like(
        positions=Rope(scaling=Llama3Scaling(factor=4.0, original_length=6))
    ),
    "norm_order must be 'pre' or 'post' .* got 'both'": like(norm_order="both"),
    "attention_norm must be True": like(attention_norm=False),
    "segments must be 0": like(segments=2),
    "residual_scale must be 1 .* got 0.5": like(residual_scale=0.5),
    "logit_cap must be None": like(logit_cap=3.0),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_the_engine_has_no_place_for(words: str) -> None:
    rejects(lambda: check_convertible(DecoderLM(REFUSED[words]).eval()), words)


def test_a_model_that_is_not_ready(tmp_path: Path) -> None:
    rejects(lambda: convert(DecoderLM(GPT2), tmp_path / "a"), "model must be in eval mode")
    broken = lm(GPT2)
    with torch.no_grad():
        broken.final_norm.weight[0] = torch.nan
    rejects(lambda: convert(broken, tmp_path / "a"), "final_norm.weight must be finite")
    normed = Seq2SeqConfig(encoder=DECODERS["Qwen3"], decoder=DECODERS["Qwen3"])
    rejects(lambda: convert(translator(normed), tmp_path / "a"), "encoder.attention.qk_norm must be False")
    uneven = Seq2SeqConfig(encoder=like(norm=Norm(eps=1e-3)), decoder=GPT2)
    rejects(lambda: convert(translator(uneven), tmp_path / "a"), "encoder.norm.eps must equal the decoder's, 0.01")
    adapted = lm(GPT2)
    add_lora(adapted, LoraConfig(rank=2))
    with pytest.raises(TypeError, match=r"model must be made of nn.Linear, without adapters"):
        convert(adapted.eval(), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_changed_or_is_another(tmp_path: Path) -> None:
    convert(lm(GPT2), tmp_path / "engine")
    rejects(lambda: convert(lm(GPT2), tmp_path / "engine"), "path must not exist yet")
    rejects(lambda: EngineLM(tmp_path / "none"), "folder must be a folder that `convert` wrote")
    rejects(lambda: EngineSeq2Seq(tmp_path / "engine"), "folder must hold a model with a Seq2SeqConfig, got 'ModelConf")
    weights = tmp_path / "engine" / "model.bin"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    rejects(lambda: EngineLM(tmp_path / "engine"), "model.bin must have the sha256 recorded")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> EngineLM:
    folder = tmp_path_factory.mktemp("engines") / "engine"
    convert(lm(GPT2), folder)
    return EngineLM(folder)


CALLS: dict[str, Callable[[EngineLM], Any]] = {
    "prompts must not be empty": lambda engine: engine.generate([], max_new_tokens=1),
    "prompts must not be empty, got ": lambda engine: engine.generate([[]], max_new_tokens=1),
    "prompts must be below the vocabulary of 53, got 53": lambda engine: engine.generate([[53]], max_new_tokens=1),
    "prompts must not be negative, got -1": lambda engine: engine.generate([[-1]], max_new_tokens=1),
    "prompts must make no text of more than the 32 pos": lambda engine: engine.generate([[1]], max_new_tokens=33),
    "temperature must be 0 or from 0.0001 to 10000, got -1": lambda engine: engine.generate(
        [[1]], max_new_tokens=1, temperature=-1.0
    ),
    "top_k must be from 1 to 53": lambda engine: engine.generate([[1]], max_new_tokens=1, temperature=1.0, top_k=54),
    "top_p must be above 0": lambda engine: engine.generate([[1]], max_new_tokens=1, temperature=1.0, top_p=0.0),
    "stop_ids must be at least 0": lambda engine: engine.generate([[1]], max_new_tokens=1, stop_ids=[53]),
    "forbidden_ids must leave a token": lambda engine: engine.generate(
        [[1]], max_new_tokens=1, forbidden_ids=range(53)
    ),
    "max_new_tokens must be a whole number": lambda engine: engine.generate([[1]], max_new_tokens=0),
    "beams must be at most the vocabulary of 53": lambda engine: engine.beam_search([[1]], beams=54, max_new_tokens=1),
    "length_penalty must be at most": lambda engine: engine.beam_search(
        [[1]], beams=2, max_new_tokens=9, length_penalty=1e9
    ),
    "texts must have at least two tokens each": lambda engine: engine.log_probs([[1], [1, 2]]),
}


@pytest.mark.parametrize("words", CALLS)
def test_wrong_values(words: str, engine: EngineLM) -> None:
    rejects(lambda: CALLS[words](engine), words)


def test_a_cache_holds_each_content_once(tmp_path: Path) -> None:
    model = lm(GPT2)
    first = converted(model, tmp_path / "cache", compute="int8")
    stamp = (first / "model.bin").stat().st_mtime_ns
    assert converted(model, tmp_path / "cache", compute="int8") == first
    assert (first / "model.bin").stat().st_mtime_ns == stamp
    assert converted(model, tmp_path / "cache") != first
    with torch.no_grad():
        model.final_norm.bias[0] += 1
    assert converted(model, tmp_path / "cache", compute="int8") != first
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_what_is_said_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    for call in (lambda: convert(lm(GPT2), tmp_path / "a"), lambda: converted(lm(GPT2), tmp_path)):
        with pytest.raises(
            ModuleNotFoundError, match=r"ctranslate2 is needed .* pip install .transformer_lib\[engines\]"
        ):
            call()
    assert list(tmp_path.iterdir()) == []
