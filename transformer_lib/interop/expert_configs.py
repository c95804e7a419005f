"""The `config.json` of Mixtral, Qwen3-MoE and gpt-oss: decoders with experts in the place of a feed-forward network."""

import dataclasses

from transformer_lib.checks import shown
from transformer_lib.config import (
    AttentionConfig,
    ClampedSwish,
    Experts,
    LayerConfig,
    ModelConfig,
    Norm,
    Rope,
    SwiGlu,
    YarnScaling,
)
from transformer_lib.contract import checked
from transformer_lib.interop.layer_types import FULL, SLIDING, number_of_layers, read_layer_types, with_layers
from transformer_lib.interop.reader import Fields, Reader
from transformer_lib.interop.rope_configs import (
    ABSENT,
    qwen_window,
    read_rope,
    read_rope_decoder,
    write_qwen3,
    write_rope_decoder,
)

# What only training asks for: the weight of the loss that balances the experts, and noise on the router's input.
TRAINING = ("router_aux_loss_coef", "output_router_logits", "router_jitter_noise", "initial_context_length")

GPT_OSS_THETA = 150_000.0


@checked
def read_mixtral(reader: Reader) -> ModelConfig:
    """In each layer eight experts, of which a token uses two."""
    pass_over_training(reader)
    experts = Experts(
        num_experts=reader.take("num_local_experts", 8),
        top_k=reader.take("num_experts_per_tok", 2),
        d_ff=reader.take("intermediate_size"),
    )
    attention = AttentionConfig(num_heads=1, window=reader.get("sliding_window"))
    norm = Norm(kind="rms", eps=reader.number("rms_norm_eps", 1e-5))
    return read_rope_decoder(reader, attention, kv_heads=8, feedforward=experts, norm=norm, theta=1e6)


@checked
def write_mixtral(config: ModelConfig) -> Fields:
    fields = write_rope_decoder(config) | {"sliding_window": config.heads.window, "head_dim": config.heads.head_dim}
    if isinstance(config.feedforward, Experts):
        experts = config.feedforward
        fields |= {"num_local_experts": experts.num_experts, "num_experts_per_tok": experts.top_k}
    return fields


@checked
def read_qwen3_moe(reader: Reader) -> ModelConfig:
    """Layers of many small experts; some can be dense."""
    pass_over_training(reader)
    layers = number_of_layers(reader)
    # Since transformers 5 under the other name.
    numbers = [n for name in ("num_experts", "num_local_experts") if (n := reader.get(name)) is not None] or [128]
    if len(set(numbers)) > 1:
        reader.fault(f"num_experts and num_local_experts must be the same, got {shown(numbers)}")
    experts = Experts(
        num_experts=numbers[0],
        top_k=reader.take("num_experts_per_tok", 8),
        d_ff=reader.take("moe_intermediate_size", 768),
        normalised=reader.flag("norm_topk_prob", False),
    )
    step, dense = reader.get("decoder_sparse_step", 1), reader.get("mlp_only_layers") or []
    if type(step) is not int or step < 1 or not isinstance(dense, list):
        reader.fault(f"decoder_sparse_step must be a number, mlp_only_layers a list, got {shown((step, dense))}")
        step, dense = 1, []
    if reader.get("use_sliding_window") and reader.get("sliding_window", 4096) is not None:
        reader.expect(max_window_layers=0)  # which newer versions pass over: their window is that of every layer
    attention = AttentionConfig(
        num_heads=1, qk_norm=True, bias=reader.flag("attention_bias", False), window=qwen_window(reader, full=0)
    )
    model = read_rope_decoder(reader, attention, kv_heads=4, head_dim=None)
    sparse = [index not in dense and (index + 1) % step == 0 for index in range(layers)]
    return with_layers(model, [LayerConfig(feedforward=experts) if each else LayerConfig() for each in sparse])


@checked
def write_qwen3_moe(config: ModelConfig) -> Fields:
    layers = config.layers
    dense = [index for index, layer in enumerate(layers) if isinstance(layer.feedforward, SwiGlu)]
    experts = next((layer.feedforward for layer in layers if isinstance(layer.feedforward, Experts)), None)
    fields = write_qwen3(layers[dense[0]] if dense else layers[0]) | {
        "decoder_sparse_step": 1,
        "mlp_only_layers": dense,
    }
    if experts is None:
        return fields
    return fields | {
        "num_experts": experts.num_experts,
        "num_local_experts": experts.num_experts,
        "num_experts_per_tok": experts.top_k,
        "moe_intermediate_size": experts.d_ff,
        "norm_topk_prob": experts.normalised,
    }


@checked
def read_gpt_oss(reader: Reader) -> ModelConfig:
    """Local and global layers take turns; every head has a sink, every projection a bias."""
    pass_over_training(reader)
    layers = number_of_layers(reader)
    kinds = read_layer_types(reader, [FULL if index % 2 else SLIDING for index in range(layers)])
    experts = Experts(
        num_experts=reader.take("num_local_experts", 128),
        top_k=_top_k(reader),
        d_ff=reader.take("intermediate_size", 2880),
        activation=ClampedSwish(limit=reader.number("swiglu_limit", 7.0), slope=reader.number("swiglu_alpha", 1.702)),
        bias=True,
        router_bias=True,
    )
    reader.expect(attention_bias=True)
    attention = AttentionConfig(num_heads=1, bias=True, sinks=True)
    norm = Norm(kind="rms", eps=reader.number("rms_norm_eps", 1e-5))
    rope = _gpt_oss_rope(reader)
    model = read_rope_decoder(
        reader, attention, kv_heads=8, head_dim=64, feedforward=experts, positions=rope, norm=norm
    )
    window = dataclasses.replace(model.attention, window=reader.get("sliding_window", 128))
    own = {FULL: LayerConfig(), SLIDING: LayerConfig(attention=window)}
    return with_layers(model, [own[kind] for kind in kinds])


def _gpt_oss_rope(reader: Reader) -> Rope:
    """As the config says; where it says nothing, that of the published models."""
    said = [reader.get(name, ABSENT) for name in ("rope_parameters", "rope_scaling")]
    if any(isinstance(fields, dict) for fields in said):
        return read_rope(reader, reader.take("max_position_embeddings"), theta=GPT_OSS_THETA)
    if said[1] is not ABSENT:  # null is no scaling in transformers 4, and passed over in transformers 5
        reader.fault(f"rope_scaling must be an object, or rope_parameters, got {shown(said[1])}")
    yarn = YarnScaling(factor=32.0, original_length=4096, truncate=False)
    return Rope(theta=reader.number("rope_theta", GPT_OSS_THETA), scaling=yarn)


def _top_k(reader: Reader) -> int:
    """It has had two names."""
    numbers = [n for name in ("num_experts_per_tok", "experts_per_token") if (n := reader.get(name)) is not None] or [4]
    if len(set(numbers)) > 1:
        reader.fault(f"num_experts_per_tok and experts_per_token must be the same, got {shown(numbers)}")
    return numbers[0]


@checked
def write_gpt_oss(config: ModelConfig) -> Fields:
    windows = [layer.heads.window for layer in config.layers]
    fields = write_rope_decoder(config) | {
        "attention_bias": True,
        "sliding_window": next((window for window in windows if window is not None), 128),
        "layer_types": [FULL if window is None else SLIDING for window in windows],
    }
    experts = config.feedforward
    if isinstance(experts, Experts) and isinstance(experts.activation, ClampedSwish):
        fields |= {"num_local_experts": experts.num_experts, "num_experts_per_tok": experts.top_k}
        fields |= {"swiglu_limit": experts.activation.limit, "swiglu_alpha": experts.activation.slope}
    return fields


@checked
def pass_over_training(reader: Reader) -> None:
    """Account for the fields of experts that only training asks for."""
    for name in TRAINING:
        reader.get(name)
