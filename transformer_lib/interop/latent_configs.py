"""The `config.json` of DeepSeek-V3 and of Qwen3-Next: what is kept of a token is less than keys and values."""

import dataclasses
import math
from typing import Any

from transformer_lib.checks import shown
from transformer_lib.config import (
    AttentionConfig,
    Experts,
    GatedDelta,
    Groups,
    LatentAttention,
    LayerConfig,
    ModelConfig,
    Norm,
    Rope,
    SharedExpert,
    SwiGlu,
    YarnScaling,
)
from transformer_lib.contract import checked
from transformer_lib.interop.expert_configs import pass_over_training
from transformer_lib.interop.layer_types import FULL, number_of_layers, read_layer_types, with_layers
from transformer_lib.interop.reader import Fields, Reader, as_float
from transformer_lib.interop.rope_configs import read_rope_decoder, write_rope_decoder

LATENT_EPS = 1e-6  # of the norms of DeepSeek's latents, which stands in its code, not in its config
LINEAR = "linear_attention"


@checked
def read_deepseek_v3(reader: Reader) -> ModelConfig:
    """Latent attention everywhere; experts with a shared one in all layers but the first few."""
    pass_over_training(reader)
    for name in ("aux_loss_alpha", "seq_aux", "ep_size", "num_nextn_predict_layers", "num_mtp_layers"):
        reader.get(name)  # training, machines, and layers that `drop` leaves out
    reader.expect(topk_method="noaux_tc", scoring_func="sigmoid", moe_layer_freq=1)
    reader.expect(rms_norm_eps=LATENT_EPS)
    layers, heads = number_of_layers(reader), reader.take("num_attention_heads", 128)
    reader.expect(num_key_value_heads=heads)
    turned, unturned = reader.take("qk_rope_head_dim", 64), reader.take("qk_nope_head_dim", 128)
    reader.expect(head_dim=turned, qk_head_dim=turned + unturned)  # said a second time
    width = reader.take("moe_intermediate_size", 2048)
    shared = reader.get("n_shared_experts", 1)
    experts = Experts(
        num_experts=reader.take("n_routed_experts", 256),
        top_k=reader.take("num_experts_per_tok", 8),
        d_ff=width,
        router="sigmoid",
        normalised=reader.flag("norm_topk_prob", True),
        scale=reader.number("routed_scaling_factor", 2.5),
        correction=True,
        groups=Groups(number=reader.take("n_group", 8), top=reader.take("topk_group", 4)),
        shared=SharedExpert(d_ff=shared * width) if shared else None,
    )
    latent = LatentAttention(
        num_heads=heads,
        head_dim=unturned,
        rope_dim=turned,
        value_dim=reader.take("v_head_dim", 128),
        kv_rank=reader.take("kv_lora_rank", 512),
        q_rank=reader.get("q_lora_rank", 1536),  # null: queries are made of the stream
        bias=reader.flag("attention_bias", False),
        pairs="interleaved" if reader.flag("rope_interleave", True) else "half",
        score_factor=_score_factor(reader),
    )
    model = read_rope_decoder(reader, latent, kv_heads=None)
    dense = reader.get("first_k_dense_replace", 3)
    if type(dense) is not int or dense < 0:
        reader.fault(f"first_k_dense_replace must be a whole number, got {shown(dense)}")
        dense = 0
    return with_layers(
        model, [LayerConfig() if index < dense else LayerConfig(feedforward=experts) for index in range(layers)]
    )


def _score_factor(reader: Reader) -> float:
    """What YaRN multiplies the scores with: the square of 0.1 mscale_all_dim ln(factor) + 1."""
    for name in ("rope_parameters", "rope_scaling"):
        fields = reader.get(name)
        if not isinstance(fields, dict) or not fields.get("mscale_all_dim"):
            continue
        if "yarn" in (fields.get("rope_type"), fields.get("type")):
            scale, factor = (as_float(key, fields.get(key)) for key in ("mscale_all_dim", "factor"))
            return (0.1 * scale * math.log(factor) + 1) ** 2 if factor > 1 else 1.0
    return 1.0


@checked
def write_deepseek_v3(config: ModelConfig) -> Fields:
    layers = config.layers
    sparse = [index for index, layer in enumerate(layers) if isinstance(layer.feedforward, Experts)]
    first = sparse[0] if sparse else len(layers)
    plain = next((layer for layer in layers if isinstance(layer.feedforward, SwiGlu)), layers[0])
    fields: dict[str, Any] = write_rope_decoder(plain) | {"first_k_dense_replace": first}
    latent = config.attention
    if isinstance(latent, LatentAttention):
        fields |= {
            "num_attention_heads": latent.num_heads,
            "num_key_value_heads": latent.num_heads,
            "head_dim": latent.rope_dim,
            "qk_head_dim": latent.head_dim + latent.rope_dim,
            "qk_nope_head_dim": latent.head_dim,
            "qk_rope_head_dim": latent.rope_dim,
            "v_head_dim": latent.value_dim,
            "kv_lora_rank": latent.kv_rank,
            "q_lora_rank": latent.q_rank,
            "attention_bias": latent.bias,
            "rope_interleave": latent.pairs == "interleaved",
        }
        _write_score_factor(fields, config, latent)
    if sparse:
        fields |= _write_experts(layers[first].feedforward)
    return fields


def _write_score_factor(fields: Fields, config: ModelConfig, latent: LatentAttention) -> None:
    scaling = config.positions.scaling if isinstance(config.positions, Rope) else None
    if not isinstance(scaling, YarnScaling) or latent.score_factor == 1.0:
        return
    said = (math.sqrt(latent.score_factor) - 1) / (0.1 * math.log(scaling.factor))
    for name in ("rope_parameters", "rope_scaling"):
        fields[name] = dict(fields[name]) | {"mscale_all_dim": round(said, 9)}


def _write_experts(experts: Any) -> Fields:
    if not isinstance(experts, Experts) or experts.groups is None:
        return {}
    shared = 0 if experts.shared is None else experts.shared.d_ff // experts.d_ff
    return {
        "n_routed_experts": experts.num_experts,
        "num_experts_per_tok": experts.top_k,
        "moe_intermediate_size": experts.d_ff,
        "n_shared_experts": shared,
        "n_group": experts.groups.number,
        "topk_group": experts.groups.top,
        "norm_topk_prob": experts.normalised,
        "routed_scaling_factor": experts.scale,
    }


@checked
def read_qwen3_next(reader: Reader) -> ModelConfig:
    """Three layers of the gated delta rule and one of gated attention, with experts in all."""
    pass_over_training(reader)
    layers = number_of_layers(reader)
    every = reader.get("full_attention_interval", 4)
    default = [FULL if isinstance(every, int) and every > 0 and (i + 1) % every == 0 else LINEAR for i in range(layers)]
    kinds = read_layer_types(reader, default, known=(FULL, LINEAR))
    experts = Experts(
        num_experts=reader.take("num_experts", 512),
        top_k=reader.take("num_experts_per_tok", 10),
        d_ff=reader.take("moe_intermediate_size", 512),
        normalised=reader.flag("norm_topk_prob", True),
        shared=SharedExpert(d_ff=reader.take("shared_expert_intermediate_size", 512), gated=True),
    )
    delta = GatedDelta(
        num_heads=reader.take("linear_num_value_heads", 32),
        num_key_heads=reader.take("linear_num_key_heads", 16),
        key_dim=reader.take("linear_key_head_dim", 128),
        value_dim=reader.take("linear_value_head_dim", 128),
        conv=reader.take("linear_conv_kernel_dim", 4),
    )
    reader.expect(attention_bias=False, decoder_sparse_step=1)
    dense = reader.get("mlp_only_layers") or []
    if not isinstance(dense, list):
        reader.fault(f"mlp_only_layers must be a list, got {shown(dense)}")
        dense = []
    attention = AttentionConfig(num_heads=1, qk_norm=True, gate=True)
    norm = Norm(kind="rms", eps=reader.number("rms_norm_eps", 1e-6), centred=True)
    model = read_rope_decoder(reader, attention, kv_heads=2, head_dim=256, norm=norm, share=0.25)
    own = {FULL: LayerConfig(), LINEAR: LayerConfig(attention=delta)}
    sparse = LayerConfig(feedforward=experts)
    return with_layers(
        model,
        [
            own[kind] if index in dense else dataclasses.replace(own[kind], feedforward=sparse.feedforward)
            for index, kind in enumerate(kinds)
        ],
    )


@checked
def write_qwen3_next(config: ModelConfig) -> Fields:
    layers = config.layers
    usual = next((layer for layer in layers if isinstance(layer.attention, AttentionConfig)), layers[0])
    dense = [index for index, layer in enumerate(layers) if isinstance(layer.feedforward, SwiGlu)]
    width = layers[dense[0]].feedforward.d_ff if dense else config.feedforward.d_ff
    fields = write_rope_decoder(usual) | {
        "intermediate_size": width,
        "layer_types": [LINEAR if isinstance(layer.attention, GatedDelta) else FULL for layer in layers],
        "mlp_only_layers": dense,
        "decoder_sparse_step": 1,
        "attention_bias": False,
    }
    delta = next((layer.attention for layer in layers if isinstance(layer.attention, GatedDelta)), None)
    if delta is not None:
        fields |= {
            "linear_num_value_heads": delta.num_heads,
            "linear_num_key_heads": delta.key_heads,
            "linear_key_head_dim": delta.key_dim,
            "linear_value_head_dim": delta.value_dim,
            "linear_conv_kernel_dim": delta.conv,
        }
    experts = next((layer.feedforward for layer in layers if isinstance(layer.feedforward, Experts)), None)
    if experts is not None and experts.shared is not None:
        fields |= {
            "num_experts": experts.num_experts,
            "num_experts_per_tok": experts.top_k,
            "moe_intermediate_size": experts.d_ff,
            "shared_expert_intermediate_size": experts.shared.d_ff,
            "norm_topk_prob": experts.normalised,
        }
    return fields
