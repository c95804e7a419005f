"""How the readers and writers of the families whose layers differ are called validly, and what their tensors pass."""

from collections.abc import Callable
from typing import Any

import torch

from transformer_lib.config import LayerConfig, ModelConfig, Rope

_SIZES: dict[str, Any] = {
    **{"vocab_size": 13, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": False},
}
_FEW = {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
FIELDS: dict[str, dict[str, Any]] = {
    "gemma3_text": _SIZES | {"head_dim": 8, "sliding_window": 3, "sliding_window_pattern": 2},
    "olmo2": _SIZES,
    "smollm3": _SIZES,
    "mixtral": _SIZES | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": _SIZES | _FEW,
    "gpt_oss": _SIZES | {"head_dim": 8, "sliding_window": 3, "num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": _SIZES
    | {
        **{"first_k_dense_replace": 1, "n_routed_experts": 8, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2},
        **{"moe_intermediate_size": 8, "num_key_value_heads": 4, "q_lora_rank": 6, "kv_lora_rank": 10},
        **{"qk_rope_head_dim": 4, "qk_nope_head_dim": 6, "v_head_dim": 5},
    },
    "qwen3_next": _SIZES
    | _FEW
    | {
        **{"shared_expert_intermediate_size": 5, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
        **{"linear_key_head_dim": 4, "linear_value_head_dim": 6},
    },
    "modernbert": {
        **{"vocab_size": 13, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4},
        **{"num_attention_heads": 4, "max_position_embeddings": 64, "local_attention": 4},
    },
}
PLACES = {
    "mixed_configs": {"gemma3": "gemma3_text", "olmo2": "olmo2", "smollm3": "smollm3"},
    "expert_configs": {"mixtral": "mixtral", "qwen3_moe": "qwen3_moe", "gpt_oss": "gpt_oss"},
    "latent_configs": {"deepseek_v3": "deepseek_v3", "qwen3_next": "qwen3_next"},
    "modernbert_configs": {"modernbert": "modernbert"},
}


def reader(kind: str) -> Any:
    from transformer_lib.interop.reader import Reader

    return Reader(FIELDS[kind], None)


def config(kind: str) -> ModelConfig:
    from transformer_lib.interop.configs import read_config

    found = read_config(FIELDS[kind] | {"model_type": kind})
    assert isinstance(found, ModelConfig)
    return found


def _read(kind: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"reader": reader(kind)}


def _write(kind: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"config": config(kind)}


def _rope() -> dict[str, Any]:
    fields = {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}
    return {"reader": reader("olmo2"), "name": "rope_parameters", "fields": fields, "length": 64, "theta": 1e4}


def _decoder() -> dict[str, Any]:
    from transformer_lib.config import AttentionConfig, Norm, SwiGlu

    return {
        **{"reader": reader("olmo2"), "attention": AttentionConfig(num_heads=4), "kv_heads": 2, "head_dim": 8},
        **{"mlp_bias": False, "feedforward": SwiGlu(d_ff=24), "positions": Rope(), "norm": Norm(kind="rms")},
        **{"theta": 1e4, "share": 0.5, "tied": True},
    }


READING: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"{file}.read_{name}": _read(kind) for file, kinds in PLACES.items() for name, kind in kinds.items()},
    **{f"{file}.write_{name}": _write(kind) for file, kinds in PLACES.items() for name, kind in kinds.items()},
    "expert_configs.pass_over_training": _read("mixtral"),
    "mixed_configs.mixed_type": _write("gemma3_text"),
    "layer_types.with_layers": lambda: {
        "config": config("olmo2"),
        "layers": [LayerConfig(), LayerConfig(attention_norm=True)] * 2,
    },
    "layer_types.read_layer_types": lambda: {
        **{"reader": reader("gemma3_text"), "default": ["full_attention"] * 4, "known": ("full_attention",)}
    },
    "layer_types.number_of_layers": _read("olmo2"),
    "rope_configs.qwen_window": lambda: {"reader": reader("olmo2"), "full": 0},
    "rope_configs.read_rope_decoder": _decoder,
    "rope_configs.read_rope": lambda: {"reader": reader("olmo2"), "length": 64, "theta": 1e4, "share": 0.5},
    "rope_configs.read_rope_fields": _rope,
    "rope_configs.write_rope_decoder": _write("olmo2"),
    "rope_configs.write_rope": lambda: {"positions": Rope(share=0.5)},
}
LAYOUTS: dict[str, Callable[[], dict[str, Any]]] = {
    "layouts.Split": lambda: {
        **{"*parts": ["a", "b"], "apart": lambda whole, layer: whole.chunk(2)},
        **{"together": lambda parts, layer: torch.cat(list(parts))},
    },
    "layouts.halves": lambda: {"first": "a", "second": "b"},
    "layouts.alternating": lambda: {"first": "a", "second": "b", "transposed": True},
    "layouts.under_name": lambda: {"name": "a", "transposed": True},
    "layouts.by_head": lambda: {"first": "a", "second": "b"},
    "layouts.by_key_head": lambda: {"qkv": "a", "gate": "b"},
    "layouts.rates_by_key_head": lambda: {"name": "a"},
    "llama_names.projections": lambda: {"*names": ["model", "a", "b"]},
    "llama_names.llama_like": lambda: {
        **{"model_type": "like", "architecture": "LikeForCausalLM", "names": {"head": ("out",)}}
    },
}
CALLS = {f"transformer_lib.interop.{name}": call for name, call in (READING | LAYOUTS).items()}
