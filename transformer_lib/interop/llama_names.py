"""The names that decoders since Llama share, and those of the families whose layers differ."""

from collections.abc import Mapping
from typing import Any

from transformer_lib.contract import checked
from transformer_lib.interop.layouts import alternating, renamed
from transformer_lib.interop.names import Family

LAYER = "model.layers.*"


@checked
def projections(prefix: str, *names: str) -> tuple[str, ...]:
    """The modules of these names within one."""
    return tuple(f"{prefix}.{name}" for name in names)


@checked
def llama_like(
    model_type: str, architecture: str, names: Mapping[str, tuple[str, ...]] | None = None, **parts: Any
) -> Family:
    """A family with Llama's names, but for these."""
    own = {
        "embedding.tokens": ("model.embed_tokens",),
        "blocks.*.attention_norm": (f"{LAYER}.input_layernorm",),
        "blocks.*.attention.to_qkv": projections(f"{LAYER}.self_attn", "q_proj", "k_proj", "v_proj"),
        "blocks.*.attention.q_norm": (f"{LAYER}.self_attn.q_norm",),
        "blocks.*.attention.k_norm": (f"{LAYER}.self_attn.k_norm",),
        "blocks.*.attention.to_out": (f"{LAYER}.self_attn.o_proj",),
        "blocks.*.feedforward_norm": (f"{LAYER}.post_attention_layernorm",),
        "blocks.*.feedforward.to_gate": (f"{LAYER}.mlp.gate_proj",),
        "blocks.*.feedforward.to_hidden": (f"{LAYER}.mlp.up_proj",),
        "blocks.*.feedforward.to_out": (f"{LAYER}.mlp.down_proj",),
        "final_norm": ("model.norm",),
        "head": ("lm_head",),
    }
    return Family(
        model_type=model_type,
        architectures={architecture: "DecoderLM"},
        prefix="model.",
        names=own | dict(names or {}),
        tied={"lm_head.weight": "model.embed_tokens.weight"},
        **parts,
    )


def _experts(router: str, prefix: str, gate: str, hidden: str, out: str) -> dict[str, tuple[str, ...]]:
    own = {"router.to_scores": router, "to_gate": prefix + gate, "to_hidden": prefix + hidden, "to_out": prefix + out}
    return {f"blocks.*.experts.{ours}": (f"{LAYER}.{theirs}",) for ours, theirs in own.items()}


def _stacked(name: str, *, kind: str) -> str:
    return f"{LAYER}.mlp.experts.{name}.{kind}"


GEMMA3 = llama_like(
    "gemma3_text",
    "Gemma3ForCausalLM",
    {
        "blocks.*.attention_out_norm": (f"{LAYER}.post_attention_layernorm",),
        "blocks.*.feedforward_norm": (f"{LAYER}.pre_feedforward_layernorm",),
        "blocks.*.feedforward_out_norm": (f"{LAYER}.post_feedforward_layernorm",),
    },
)
OLMO2 = llama_like(
    "olmo2",
    "Olmo2ForCausalLM",
    {
        "blocks.*.attention_norm": (f"{LAYER}.post_attention_layernorm",),
        "blocks.*.feedforward_norm": (f"{LAYER}.post_feedforward_layernorm",),
    },
)
SMOLLM3 = llama_like("smollm3", "SmolLM3ForCausalLM")
MIXTRAL = llama_like(
    "mixtral",
    "MixtralForCausalLM",
    _experts("block_sparse_moe.gate", "block_sparse_moe.experts.#.", "w1", "w3", "w2"),
)
QWEN3_MOE = llama_like(
    "qwen3_moe", "Qwen3MoeForCausalLM", _experts("mlp.gate", "mlp.experts.#.", "gate_proj", "up_proj", "down_proj")
)
GPT_OSS = llama_like(
    "gpt_oss",
    "GptOssForCausalLM",
    _experts("mlp.router", "mlp.experts.", "gate_proj", "up_proj", "down_proj")
    | {"blocks.*.attention.sinks": (f"{LAYER}.self_attn.sinks",)},
    splits={
        f"{LAYER}.mlp.experts.gate_up_proj": alternating(
            _stacked("gate_proj", kind="weight"), _stacked("up_proj", kind="weight"), transposed=True
        ),
        f"{LAYER}.mlp.experts.gate_up_proj_bias": alternating(
            _stacked("gate_proj", kind="bias"), _stacked("up_proj", kind="bias"), transposed=False
        ),
        f"{LAYER}.mlp.experts.down_proj": renamed(_stacked("down_proj", kind="weight"), transposed=True),
        f"{LAYER}.mlp.experts.down_proj_bias": renamed(_stacked("down_proj", kind="bias")),
    },
)
MIXED = (GEMMA3, OLMO2, SMOLLM3, MIXTRAL, QWEN3_MOE, GPT_OSS)
