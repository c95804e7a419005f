"""What changed from one published model to another, as the code reads it from their configs, and as their papers say.

The expected words are written by hand from the papers and model cards; the chapter on the modern block prints the same
from the same files.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from transformer_lib.config import Alibi, LatentAttention, LinearAttention, ModelConfig, in_words
from transformer_lib.interop.configs import read_config
from transformer_lib.models.presets import bert_base, gpt2, llama3_8b, qwen3_0_6b, tiny, transformer_base

PUBLISHED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "published.json").read_text())
ROOT = Path(__file__).parents[2]


def said(name: str) -> dict[str, str]:
    if name == "Transformer":
        return in_words(transformer_base().decoder)
    config = read_config(PUBLISHED[name])
    assert isinstance(config, ModelConfig)
    return in_words(config)


CHANGES: dict[tuple[str, str], dict[str, str]] = {
    ("Transformer", "gpt2"): {
        "positions": "learned, added",
        "where they stand": "before the part",
        "feed-forward": "MLP, GELU (tanh)",
        "biases": "q, k, v, attention's output, feed-forward",
        "embeddings": "as they are",
    },
    ("gpt2", "Llama-2-7b-hf"): {
        "positions": "RoPE",
        "norms": "RMSNorm",
        "feed-forward": "gated, SiLU",
        "biases": "none",
        "head": "weights of its own",
    },
    ("Llama-2-7b-hf", "Qwen2.5-7B-Instruct"): {"attention": "7 queries a key", "biases": "q, k, v"},
    ("Llama-2-7b-hf", "Mixtral-8x7B"): {
        "attention": "4 queries a key",
        "feed-forward": "2 of 8 experts (gated, SiLU; softmax router)",
    },
    ("Llama-2-7b-hf", "OLMo-2-1B"): {"where they stand": "after the part", "QK-norm": "all heads as one"},
    ("Meta-Llama-3-8B", "Qwen3-8B"): {"QK-norm": "per head"},
    ("Llama-2-7b-hf", "SmolLM3-3B"): {
        "positions": "none in 9 of 36 layers, RoPE in 27",
        "attention": "4 queries a key",
        "head": "the embedding's weights",
    },
    ("Mixtral-8x7B", "gpt-oss-20b"): {
        "positions": "RoPE (Yarn)",
        "attention": "8 queries a key",
        "window": "128 in 12 of 24 layers, none in 12",
        "sinks": "one a head",
        "feed-forward": "4 of 32 experts (gated, clamped; softmax router)",
        "biases": "q, k, v, attention's output, experts, router",
    },
    ("Mixtral-8x7B", "Qwen3-30B-A3B"): {
        "attention": "8 queries a key",
        "QK-norm": "per head",
        "feed-forward": "8 of 128 experts (gated, SiLU; softmax router)",
    },
    ("Qwen3-30B-A3B", "Qwen3-Next-80B-A3B"): {
        "positions": "RoPE on 25 % of a head in 12 of 48 layers, none in 36",
        "norms": "RMSNorm, gain 1 + w",
        "attention": "8 queries a key in 12 of 48 layers, gated delta rule in 36",
        "gate": "sigmoid",
        "feed-forward": "10 of 512 experts and a shared one (gated, SiLU; softmax router)",
    },
}


@pytest.mark.parametrize("pair", CHANGES)
def test_what_changed_between_two_models(pair: tuple[str, str]) -> None:
    old, new = map(said, pair)
    assert {part: words for part, words in new.items() if words != old[part]} == CHANGES[pair]


def test_layers_that_differ_are_counted() -> None:
    gemma, modern, deepseek = said("gemma-3-1b-it"), said("ModernBERT-base"), said("DeepSeek-V3")
    assert gemma["window"] == "none in 4 of 26 layers, 512 in 22"
    assert gemma["where they stand"] == "before and after it" and gemma["embeddings"] == "times sqrt(d)"
    assert modern["where they stand"].startswith("before the part, attention without in 1 of 22 layers")
    assert modern["norms"] == "LayerNorm without bias" and modern["window"] == "none in 8 of 22 layers, 65 in 14"
    assert deepseek["attention"] == "latent" and deepseek["QK-norm"] == "none"
    assert deepseek["feed-forward"].startswith("gated, SiLU in 3 of 61 layers, 8 of 256 experts and a shared one")
    assert "sigmoid router, balanced by a bias" in deepseek["feed-forward"]


def test_every_kind_of_part_has_words() -> None:
    kinds = [gpt2(), llama3_8b(), qwen3_0_6b(), bert_base(), transformer_base().encoder]
    small = tiny()
    changed: list[dict[str, Any]] = [
        {"positions": Alibi(), "residual_scale": 0.5, "logit_cap": 30.0},
        {"attention": LinearAttention(num_heads=4)},
        {"attention": LatentAttention(num_heads=2, head_dim=4, rope_dim=2, value_dim=3, kv_rank=5, bias=True)},
    ]
    kinds += [ModelConfig(**{name: getattr(small, name) for name in small.__dataclass_fields__} | c) for c in changed]
    lines = [in_words(kind) for kind in kinds]
    assert len({tuple(line) for line in lines}) == 1 and all(all(line.values()) for line in lines)
    assert [line["attention"] for line in lines[-2:]] == ["linear", "latent"]
    assert lines[-3]["caps"] == "logits" and lines[-3]["positions"] == "ALiBi"
    assert lines[-1]["biases"] == "latents" and lines[3]["embeddings"] == "normalised"
