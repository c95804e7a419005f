"""The `config.json` of Gemma 3, OLMo 2 and SmolLM3: decoders whose layers differ, or whose norms stand elsewhere."""

import dataclasses
from typing import Any

from transformer_lib.checks import shown
from transformer_lib.config import (
    AttentionConfig,
    ClampedSwish,
    Experts,
    GatedDelta,
    Glu,
    LatentAttention,
    LayerConfig,
    ModelConfig,
    NoPositions,
    Norm,
    Rope,
)
from transformer_lib.contract import checked
from transformer_lib.interop.layer_types import FULL, SLIDING, number_of_layers, read_layer_types, with_layers
from transformer_lib.interop.reader import Fields, Reader, as_float
from transformer_lib.interop.rope_configs import (
    read_rope,
    read_rope_decoder,
    read_rope_fields,
    write_rope,
    write_rope_decoder,
)

GEMMA_EVERY = 6  # layers, of which the last is global
THETAS = {FULL: ("rope_theta", 1e6), SLIDING: ("rope_local_base_freq", 1e4)}  # and what is meant where it is absent


@checked
def read_gemma3(reader: Reader) -> ModelConfig:
    """Five local layers, whose positions turn fast, and a global one; norms before and after each part."""
    layers = number_of_layers(reader)
    every = reader.get("sliding_window_pattern", reader.get("_sliding_window_pattern", GEMMA_EVERY))
    default = [SLIDING if not isinstance(every, int) or (i + 1) % every else FULL for i in range(layers)]
    kinds = read_layer_types(reader, default)
    reader.expect(use_bidirectional_attention=False)
    reader.expect(attn_logit_softcapping=None)  # which their attention passes over, and Gemma 3 has none
    scalar = reader.number("query_pre_attn_scalar", 256.0)
    head_dim = reader.take("head_dim", 256)
    attention = AttentionConfig(
        num_heads=1,
        bias=reader.flag("attention_bias", False),
        qk_norm=True,
        scale=None if scalar == head_dim else scalar**-0.5,
    )
    feedforward = Glu(
        d_ff=reader.take("intermediate_size"), activation=reader.choose("hidden_activation", "gelu_pytorch_tanh")
    )
    far, near = _gemma_ropes(reader)
    model = read_rope_decoder(
        reader,
        attention,
        kv_heads=4,
        head_dim=256,
        feedforward=feedforward,
        positions=far,
        norm=Norm(kind="rms", eps=reader.number("rms_norm_eps", 1e-6), centred=True),
        tied=True,
    )
    bent = reader.get("final_logit_softcapping")
    model = dataclasses.replace(
        model,
        norm_order="both",
        scale_embeddings=True,
        logit_cap=None if bent is None else as_float("final_logit_softcapping", bent),
    )
    window = dataclasses.replace(model.attention, window=reader.get("sliding_window", 4096))
    own = {FULL: LayerConfig(), SLIDING: LayerConfig(attention=window, positions=near)}
    return with_layers(model, [own[kind] for kind in kinds])


def _gemma_ropes(reader: Reader) -> tuple[Rope, Rope]:
    """Those of global and of local layers: since transformers 5 by kind in `rope_parameters`, before by two thetas."""
    found, length = reader.get("rope_parameters"), reader.take("max_position_embeddings")
    if not found:
        far = read_rope(reader, length, theta=THETAS[FULL][1])
        return far, Rope(theta=reader.number(*THETAS[SLIDING]))
    if not isinstance(found, dict) or not {FULL, SLIDING} <= found.keys():
        reader.fault(f"rope_parameters must say of {FULL} and of {SLIDING} layers, got {shown(found)}")
        return Rope(), Rope()
    far, near = (_gemma_rope(reader, kind, found[kind], length) for kind in (FULL, SLIDING))
    said = reader.get("rope_scaling")
    if (
        said is not None
        and read_rope_fields(reader, "rope_scaling", said, length, theta=far.theta).scaling != far.scaling
    ):
        reader.fault(f"rope_scaling must be that of rope_parameters, got {shown(said)}")
    return far, near


def _gemma_rope(reader: Reader, kind: str, fields: Any, length: int) -> Rope:
    """One of `rope_parameters`, with the theta of the older field, or the family's, where it has none."""
    name, default = THETAS[kind]
    said = reader.get(name)
    theta = default if said is None else as_float(name, said)
    rope = read_rope_fields(reader, f"rope_parameters.{kind}", fields, length, theta=theta)
    if said is not None and theta != rope.theta:
        reader.fault(f"{name} must be {rope.theta}, as rope_parameters has it, got {shown(said)}")
    return rope


@checked
def write_gemma3(config: ModelConfig) -> Fields:
    layers = config.layers
    kinds = [FULL if layer.heads.window is None else SLIDING for layer in layers]
    far, near = (_first(layers, kinds, kind) for kind in (FULL, SLIDING))
    ropes = {
        kind: write_rope(layer.positions).get("rope_parameters", {}) for kind, layer in ((FULL, far), (SLIDING, near))
    }
    attention = layers[0].heads
    fields = write_rope_decoder(far)
    fields.pop("hidden_act")
    older = {"rope_local_base_freq": near.positions.theta} if isinstance(near.positions, Rope) else {}
    return (
        fields
        | older
        | {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": config.head_dim if attention.scale is None else _scalar(attention.scale),
            "attn_logit_softcapping": None,
            "final_logit_softcapping": config.logit_cap,
            "attention_bias": attention.bias is True,
            "sliding_window": near.heads.window or 4096,
            "layer_types": kinds,
            "rope_parameters": ropes,
        }
    )


def _first(layers: tuple[ModelConfig, ...], kinds: list[str], kind: str) -> ModelConfig:
    return layers[kinds.index(kind)] if kind in kinds else layers[0]


def _scalar(scale: float) -> int | float:
    """The number whose inverse square root is the scale, a whole one if there is."""
    whole = round(scale**-2)
    return whole if whole and whole**-0.5 == scale else scale**-2


@checked
def read_olmo2(reader: Reader) -> ModelConfig:
    """Norms after each part, and one norm over the queries of all heads, one over the keys."""
    attention = AttentionConfig(num_heads=1, bias=reader.flag("attention_bias", False), qk_norm="whole")
    norm = Norm(kind="rms", eps=reader.number("rms_norm_eps", 1e-5))
    model = read_rope_decoder(reader, attention, kv_heads=None, norm=norm)
    return dataclasses.replace(model, norm_order="part")


@checked
def write_olmo2(config: ModelConfig) -> Fields:
    fields = write_rope_decoder(config) | {"attention_bias": config.heads.bias is True}
    fields.pop("head_dim")
    return fields


@checked
def read_smollm3(reader: Reader) -> ModelConfig:
    """A Llama in which every fourth layer knows no positions."""
    layers = number_of_layers(reader)
    every = reader.get("no_rope_layer_interval", 4)
    turned = reader.get("no_rope_layers")
    if turned is None and type(every) is int and every > 0:
        turned = [int((i + 1) % every != 0) for i in range(layers)]
    if not isinstance(turned, list) or len(turned) != layers or any(flag not in (0, 1) for flag in turned):
        reader.fault(
            f"no_rope_layers must be a list of {layers} numbers, 1 for rope and 0 for none, got {shown(turned)}"
        )
        turned = [1] * layers
    windowed = reader.flag("use_sliding_window", False)
    width = reader.get("sliding_window")
    default = [SLIDING if windowed and width is not None and not flag else FULL for flag in turned]
    kinds = read_layer_types(reader, default)
    attention = AttentionConfig(num_heads=1, bias=reader.flag("attention_bias", False))
    mlp_bias = reader.flag("mlp_bias", False)
    model = read_rope_decoder(reader, attention, kv_heads=4, mlp_bias=mlp_bias, theta=2e6, tied=True)
    own: dict[tuple[str, int], LayerConfig] = {}
    for kind, flag in set(zip(kinds, turned, strict=True)):
        window = dataclasses.replace(model.attention, window=width) if kind == SLIDING else None
        own[kind, flag] = LayerConfig(attention=window, positions=None if flag else NoPositions())
    return with_layers(model, [own[key] for key in zip(kinds, turned, strict=True)])


@checked
def write_smollm3(config: ModelConfig) -> Fields:
    layers = config.layers
    turned = next((layer for layer in layers if isinstance(layer.positions, Rope)), layers[0])
    windows = [layer.heads.window for layer in layers]
    width = next((window for window in windows if window is not None), None)
    fields: dict[str, Any] = write_rope_decoder(turned)
    fields.pop("head_dim")
    return fields | {
        "no_rope_layers": [int(isinstance(layer.positions, Rope)) for layer in layers],
        "no_rope_layer_interval": 4,
        "use_sliding_window": width is not None,
        "sliding_window": width,
        "layer_types": [FULL if window is None else SLIDING for window in windows],
        "attention_bias": config.heads.bias is True,
        "mlp_bias": layers[0].feedforward.bias is True,
    }


@checked
def mixed_type(config: ModelConfig) -> str | None:
    """The family with experts, norms elsewhere or layers of several kinds that a config is of; None of another."""
    experts = next((layer.feedforward for layer in config.layers if isinstance(layer.feedforward, Experts)), None)
    kinds = {type(layer.attention) for layer in config.layers}
    if LatentAttention in kinds:
        return "deepseek_v3"
    if GatedDelta in kinds:
        return "qwen3_next"
    if experts is not None:
        if isinstance(experts.activation, ClampedSwish):
            return "gpt_oss"
        return "qwen3_moe" if config.heads.qk_norm else "mixtral"
    match config.norm_order:
        case "both":
            return "gemma3_text"
        case "part":
            return "olmo2"
    return "smollm3" if any(isinstance(layer.positions, NoPositions) for layer in config.pattern) else None
