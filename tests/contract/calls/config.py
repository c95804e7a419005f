"""How each public callable of `transformer_lib.config` is called validly."""

from collections.abc import Callable
from typing import Any

from transformer_lib import config
from transformer_lib.config import experts as of_experts

SMALL = config.ModelConfig(
    vocab_size=11,
    d_model=8,
    num_layers=1,
    max_length=16,
    attention=config.AttentionConfig(num_heads=2),
    feedforward=config.Mlp(d_ff=16),
    positions=config.Rope(),
)
NEAR = config.LayerConfig(attention=config.AttentionConfig(num_heads=2, window=3), positions=config.NoPositions())
LATENT = config.LatentAttention(num_heads=2, head_dim=4, rope_dim=2, value_dim=3, kv_rank=5, q_rank=6, bias=True)
LINEAR = config.LinearAttention(num_heads=2, head_dim=3)
DELTA = config.GatedDelta(num_heads=4, key_dim=3, value_dim=2, num_key_heads=2, conv=3)
EXPERTS = config.Experts(
    **{"num_experts": 4, "top_k": 2, "d_ff": 6, "router": "sigmoid", "correction": True},
    **{"groups": of_experts.Groups(number=2, top=1), "shared": of_experts.SharedExpert(d_ff=3, gated=True)},
)


def _fields() -> dict[str, Any]:
    return {name: getattr(SMALL, name) for name in SMALL.__dataclass_fields__} | {"pattern": (NEAR,)}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "attention.AttentionConfig": lambda: {
        **{"num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "bias": "qkv", "qk_norm": "whole", "window": 3},
        **{"scale": 0.5, "soft_cap": 30.0, "sinks": True, "gate": True},
    },
    "feedforward.Mlp": lambda: {"d_ff": 16, "activation": "relu", "bias": False},
    "feedforward.SwiGlu": lambda: {"d_ff": 16, "bias": True},
    "feedforward.Glu": lambda: {"d_ff": 16, "activation": "gelu_tanh", "bias": True},
    "positions.NoPositions": dict,
    "positions.Sinusoidal": lambda: {"base": 100.0},
    "positions.Learned": dict,
    "positions.Rope": lambda: {"theta": 1e6, "scaling": config.LinearScaling(factor=2.0), "share": 0.5},
    "positions.Rope.rotated": lambda: {"self": config.Rope(share=0.5), "head_dim": 8},
    "positions.Alibi": dict,
    "scaling.LinearScaling": lambda: {"factor": 2.0},
    "scaling.NtkScaling": lambda: {"factor": 2.0, "original_length": 64},
    "scaling.YarnScaling": lambda: {
        **{"factor": 2.0, "original_length": 64, "beta_fast": 32.0, "beta_slow": 1.0},
        **{"attention_factor": 1.1, "truncate": False},
    },
    "scaling.Llama3Scaling": lambda: {**{"factor": 2.0, "original_length": 64, "low_turns": 1.0, "high_turns": 4.0}},
    "mixers.GatedDelta": lambda: {"num_heads": 4, "key_dim": 3, "value_dim": 2, "num_key_heads": 2, "conv": 3},
    "mixers.LatentAttention": lambda: {
        **{"num_heads": 2, "head_dim": 4, "rope_dim": 2, "value_dim": 3, "kv_rank": 5, "q_rank": 6},
        **{"bias": True, "pairs": "interleaved", "score_factor": 1.5},
    },
    "mixers.LatentAttention.absorbing_pays": lambda: {"self": LATENT, "queries": 3, "keys": 5},
    "mixers.LinearAttention": lambda: {"num_heads": 2, "head_dim": 3},
    "experts.ClampedSwish": lambda: {"limit": 7.0, "slope": 1.7},
    "experts.SharedExpert": lambda: {"d_ff": 6, "gated": True},
    "experts.Groups": lambda: {"number": 4, "top": 2, "best": 1},
    "experts.Experts": lambda: {
        **{"num_experts": 4, "top_k": 2, "d_ff": 6, "activation": "silu", "bias": True, "router": "sigmoid"},
        **{"router_bias": True, "normalised": False, "scale": 2.0, "correction": True},
        **{"groups": EXPERTS.groups, "shared": EXPERTS.shared},
    },
    "model.Norm": lambda: {"kind": "rms", "eps": 1e-6, "centred": True},
    "model.LayerConfig": lambda: {
        **{"attention": LATENT, "feedforward": EXPERTS, "positions": config.Rope()},
        **{"norm_order": "part", "attention_norm": True},
    },
    "model.ModelConfig": _fields,
    "model.ModelConfig.with_layer": lambda: {"self": SMALL, "layer": NEAR},
    "model.Seq2SeqConfig": lambda: {"encoder": SMALL, "decoder": SMALL, "share_embeddings": True},
    "plain.require_plain": lambda: {"config": SMALL},
    "words.in_words": lambda: {"config": SMALL},
    "as_json.to_json": lambda: {"config": SMALL},
    "as_json.from_json": lambda: {"text": config.to_json(SMALL)},
}

CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"transformer_lib.config.{name}": call for name, call in PARTS.items()
}

EXCUSED: dict[str, str] = {}
