"""The names that decoders since Llama share, and those of the families whose layers differ."""

from collections.abc import Mapping

from transformer_lib.contract import checked
from transformer_lib.interop.layouts import Split, alternating, by_head, by_key_head, rates_by_key_head, under_name
from transformer_lib.interop.names import Computed, Family

LAYER = "model.layers.*"


@checked
def projections(prefix: str, *names: str) -> tuple[str, ...]:
    """The modules of these names within one."""
    return tuple(f"{prefix}.{name}" for name in names)


@checked
def llama_like(
    model_type: str,
    architecture: str,
    names: Mapping[str, tuple[str, ...]] | None = None,
    *,
    computed: Mapping[str, Computed] | None = None,
    splits: Mapping[str, Split] | None = None,
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
        computed=dict(computed or {}),
        splits=dict(splits or {}),
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
        f"{LAYER}.mlp.experts.down_proj": under_name(_stacked("down_proj", kind="weight"), transposed=True),
        f"{LAYER}.mlp.experts.down_proj_bias": under_name(_stacked("down_proj", kind="bias")),
    },
)
DEEPSEEK_V3 = llama_like(
    "deepseek_v3",
    "DeepseekV3ForCausalLM",
    _experts("mlp.gate", "mlp.experts.#.", "gate_proj", "up_proj", "down_proj")
    | {
        "blocks.*.experts.router.correction": (f"{LAYER}.mlp.gate.e_score_correction_bias",),
        "blocks.*.experts.shared.to_gate": (f"{LAYER}.mlp.shared_experts.gate_proj",),
        "blocks.*.experts.shared.to_hidden": (f"{LAYER}.mlp.shared_experts.up_proj",),
        "blocks.*.experts.shared.to_out": (f"{LAYER}.mlp.shared_experts.down_proj",),
        "blocks.*.latent.to_q_latent": (f"{LAYER}.self_attn.q_a_proj",),
        "blocks.*.latent.q_norm": (f"{LAYER}.self_attn.q_a_layernorm",),
        "blocks.*.latent.to_q": (f"{LAYER}.self_attn.q_b_proj",),
        "blocks.*.latent.uncompressed.to_q": (f"{LAYER}.self_attn.q_proj",),  # which stands for all three
        "blocks.*.latent.to_latent": (f"{LAYER}.self_attn.kv_a_proj_with_mqa",),
        "blocks.*.latent.latent_norm": (f"{LAYER}.self_attn.kv_a_layernorm",),
        "blocks.*.latent.to_kv": (f"{LAYER}.self_attn.kv_b_proj",),
        "blocks.*.latent.to_out": (f"{LAYER}.self_attn.o_proj",),
    },
)
_QUERY, _GATE = (f"{LAYER}.self_attn.q_proj.{part}.weight" for part in ("query", "gate"))
_QKV, _Z, _RATES = (f"{LAYER}.linear_attn.{part}.weight" for part in ("qkv", "z", "rates"))
QWEN3_NEXT = llama_like(
    "qwen3_next",
    "Qwen3NextForCausalLM",
    _experts("mlp.gate", "mlp.experts.#.", "gate_proj", "up_proj", "down_proj")
    | {
        "blocks.*.attention.to_qkv": projections(f"{LAYER}.self_attn", "q_proj.query", "k_proj", "v_proj"),
        "blocks.*.attention.to_gate": (f"{LAYER}.self_attn.q_proj.gate",),
        "blocks.*.experts.shared.to_gate": (f"{LAYER}.mlp.shared_expert.gate_proj",),
        "blocks.*.experts.shared.to_hidden": (f"{LAYER}.mlp.shared_expert.up_proj",),
        "blocks.*.experts.shared.to_out": (f"{LAYER}.mlp.shared_expert.down_proj",),
        "blocks.*.experts.shared_gate": (f"{LAYER}.mlp.shared_expert_gate",),
        "blocks.*.delta.to_qkv": (_QKV.removesuffix(".weight"),),
        "blocks.*.delta.to_gate": (_Z.removesuffix(".weight"),),
        "blocks.*.delta.to_rates": (_RATES.removesuffix(".weight"),),
        "blocks.*.delta.conv": (f"{LAYER}.linear_attn.conv1d",),
        "blocks.*.delta.log_rate": (f"{LAYER}.linear_attn.A_log",),
        "blocks.*.delta.step_bias": (f"{LAYER}.linear_attn.dt_bias",),
        "blocks.*.delta.norm": (f"{LAYER}.linear_attn.norm",),
        "blocks.*.delta.to_out": (f"{LAYER}.linear_attn.out_proj",),
    },
    splits={
        f"{LAYER}.self_attn.q_proj.weight": by_head(_QUERY, _GATE),
        f"{LAYER}.linear_attn.in_proj_qkvz.weight": by_key_head(_QKV, _Z),
        f"{LAYER}.linear_attn.in_proj_ba.weight": rates_by_key_head(_RATES),
    },
)
MIXED = (GEMMA3, OLMO2, SMOLLM3, MIXTRAL, QWEN3_MOE, GPT_OSS, DEEPSEEK_V3, QWEN3_NEXT)
