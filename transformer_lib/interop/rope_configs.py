"""The `config.json` of Llama, Mistral, Qwen2 and Qwen3: decoders with RoPE, which differ in a few fields."""

import dataclasses
import math
from typing import Any

from transformer_lib.checks import shown
from transformer_lib.config import (
    AttentionConfig,
    FeedForwardConfig,
    Glu,
    LatentAttention,
    LinearScaling,
    Llama3Scaling,
    ModelConfig,
    Norm,
    NtkScaling,
    Positions,
    Rope,
    RopeScaling,
    SwiGlu,
    YarnScaling,
)
from transformer_lib.contract import checked
from transformer_lib.interop.reader import Fields, Reader, as_float

ABSENT = object()  # unlike null, which `rope_scaling` has where there is none


@checked
def read_llama(reader: Reader) -> ModelConfig:
    attention = AttentionConfig(num_heads=1, bias=reader.flag("attention_bias", False))
    return read_rope_decoder(reader, attention, kv_heads=None, mlp_bias=reader.flag("mlp_bias", False))


@checked
def read_mistral(reader: Reader) -> ModelConfig:
    attention = AttentionConfig(num_heads=1, window=reader.get("sliding_window", 4096))
    return read_rope_decoder(reader, attention, kv_heads=8)


@checked
def read_qwen2(reader: Reader) -> ModelConfig:
    """Queries, keys and values have a bias, whatever the config says, and what they are added up to has none."""
    attention = AttentionConfig(num_heads=1, bias="qkv", window=qwen_window(reader))
    return read_rope_decoder(reader, attention, kv_heads=32)


@checked
def read_qwen3(reader: Reader) -> ModelConfig:
    bias = reader.flag("attention_bias", False)
    attention = AttentionConfig(num_heads=1, bias=bias, qk_norm=True, window=qwen_window(reader))
    return read_rope_decoder(reader, attention, kv_heads=32, head_dim=128)


@checked
def qwen_window(reader: Reader, *, full: int = 28) -> int | None:
    """The window of all layers, if there is one that is used; the first `full` have none where nothing is said."""
    width = reader.get("sliding_window", 4096)  # which says nothing unless it is used
    width = width if reader.take("use_sliding_window", False) else None
    return width if _kind_of_layers(reader, full, windowed=width is not None) == "sliding_attention" else None


def _kind_of_layers(reader: Reader, full: int, *, windowed: bool) -> str:
    """The one kind that all layers are of: as `layer_types` lists them, or full below `max_window_layers`."""
    layers, full = reader.take("num_hidden_layers"), reader.take("max_window_layers", full)
    listed = reader.get("layer_types")
    if listed is not None:
        if not isinstance(listed, list) or len(listed) != layers:
            reader.fault(f"layer_types must be a list of num_hidden_layers={layers} kinds, got {shown(listed)}")
            return "full_attention"
        kinds = sorted(set(listed))
    elif not windowed or layers <= full:
        kinds = ["full_attention"]
    else:
        kinds = ["sliding_attention"] if full <= 0 else ["full_attention", "sliding_attention"]
    if len(kinds) != 1 or kinds[0] not in ("full_attention", "sliding_attention"):
        reader.fault(f"layer_types must be the same for every layer, full or sliding attention, got {kinds}")
    elif kinds[0] == "sliding_attention" and not windowed:
        reader.fault("layer_types must be full_attention without a sliding_window that is used, got sliding_attention")
    return str(kinds[0]) if kinds else "full_attention"


@checked
def read_rope_decoder(
    reader: Reader,
    attention: AttentionConfig | LatentAttention,
    *,
    kv_heads: int | None,
    head_dim: int | None = None,
    mlp_bias: bool = False,
    feedforward: FeedForwardConfig | None = None,
    positions: Rope | None = None,
    norm: Norm | None = None,
    theta: float = 10_000.0,
    share: float | None = None,
    tied: bool = False,
) -> ModelConfig:
    """What these decoders have in common; the arguments are what a family has otherwise, or where nothing is said."""
    if not isinstance(feedforward, Glu):
        reader.expect(hidden_act="silu")
    length = reader.take("max_position_embeddings")
    if feedforward is None:
        feedforward = SwiGlu(d_ff=reader.take("intermediate_size"), bias=mlp_bias)
    if isinstance(attention, AttentionConfig):
        attention = dataclasses.replace(
            attention,
            num_heads=reader.take("num_attention_heads"),
            num_kv_heads=reader.get("num_key_value_heads", kv_heads),
            head_dim=reader.get("head_dim", head_dim),
        )
    return ModelConfig(
        vocab_size=reader.take("vocab_size"),
        d_model=reader.take("hidden_size"),
        num_layers=reader.take("num_hidden_layers"),
        max_length=length,
        attention=attention,
        feedforward=feedforward,
        positions=positions or read_rope(reader, length, theta=theta, share=share),
        norm=norm or Norm(kind="rms", eps=reader.number("rms_norm_eps", 1e-6)),
        dropout=reader.dropout(attention_dropout=0.0),
        tie_embeddings=reader.take("tie_word_embeddings", tied),
    )


@checked
def read_rope(reader: Reader, length: int, *, theta: float = 10_000.0, share: float | None = None) -> Rope:
    """The one rope that both spellings describe; `theta` is that of the family, where none is given.

    So is `share`, in families that can rotate a part of the channels.

    Since transformers 5 everything is in `rope_parameters`; before, in `rope_theta` and `rope_scaling`. Each version
    passes over what the other writes, so a config that says two things is two models.
    """
    thetas = {"rope_theta": reader.get("rope_theta")}
    shares = {} if share is None else {"partial_rotary_factor": reader.get("partial_rotary_factor")}
    found: dict[str, RopeScaling | None] = {}
    for name in ("rope_parameters", "rope_scaling"):
        fields = reader.get(name, ABSENT)
        if fields is ABSENT or (name == "rope_parameters" and not fields):
            continue
        if not isinstance(fields, dict | None):
            reader.fault(f"{name} must be an object or null, got {shown(fields)}")
            continue
        fields = {key: value for key, value in (fields or {}).items() if value is not None}
        thetas[f"{name}.rope_theta"] = fields.pop("rope_theta", None)
        if share is not None:
            shares[f"{name}.partial_rotary_factor"] = fields.pop("partial_rotary_factor", None)
        found[name] = _read_scaling(reader, name, fields, length)
    given = {name: as_float(name, theta) for name, theta in thetas.items() if theta is not None}
    rotated = {name: as_float(name, part) for name, part in shares.items() if part is not None}
    for values, what in ((found, "scaling"), (given, "theta"), (rotated, "share")):
        if any(value != next(iter(values.values())) for value in values.values()):
            reader.fault(f"the rope must have one {what}, got {values}")
    return Rope(
        theta=next(iter(given.values()), theta),
        scaling=next(iter(found.values()), None),
        share=next(iter(rotated.values()), 1.0 if share is None else share),
    )


@checked
def read_rope_fields(reader: Reader, name: str, fields: Any, length: int, *, theta: float) -> Rope:
    """The rope of one kind of layer, whose fields stand in one object; `theta` is meant where that says nothing."""
    if not isinstance(fields, dict):
        reader.fault(f"{name} must be an object, got {shown(fields)}")
        return Rope()
    own = {key: value for key, value in fields.items() if value is not None}
    theta = as_float(f"{name}.rope_theta", own.pop("rope_theta", theta))
    return Rope(theta=theta, scaling=_read_scaling(reader, name, own, length))


def _read_scaling(reader: Reader, name: str, fields: Fields, length: int) -> RopeScaling | None:
    kinds = [fields.pop(key) for key in ("rope_type", "type") if key in fields] or ["default"]
    if any(kind != kinds[0] for kind in kinds):
        reader.fault(f"{name} must have one type, got {kinds}")
    scaling: RopeScaling | None = None
    match kinds[0]:
        case "default":
            pass
        case "linear":
            scaling = LinearScaling(factor=_pop(fields, "factor"))
        case "dynamic":
            scaling = NtkScaling(factor=_pop(fields, "factor"), original_length=length)
        case "yarn":
            scaling = _read_yarn(fields, length)
        case "llama3":
            scaling = Llama3Scaling(
                factor=_pop(fields, "factor"),
                original_length=fields.pop("original_max_position_embeddings", length),
                low_turns=_pop(fields, "low_freq_factor"),
                high_turns=_pop(fields, "high_freq_factor"),
            )
        case kind:
            reader.fault(f"rope_type must be default, linear, dynamic, yarn or llama3, got {kind!r}")
            return None
    if fields.get("partial_rotary_factor", 1.0) in (None, 1.0):  # every channel turns
        fields.pop("partial_rotary_factor", None)
    if fields:
        reader.fault(f"the rope of type {kinds[0]!r} has fields that are not honoured: {shown(fields)}")
    return scaling


def _read_yarn(fields: Fields, length: int) -> YarnScaling:
    factor, own = _pop(fields, "factor"), fields.pop("attention_factor", None)
    scale, scale_all = (fields.pop(name, None) for name in ("mscale", "mscale_all_dim"))
    if own is None and scale and scale_all:  # DeepSeek's way of giving it
        own = (0.1 * scale * math.log(factor) + 1) / (0.1 * scale_all * math.log(factor) + 1)
    return YarnScaling(
        factor=factor,
        original_length=fields.pop("original_max_position_embeddings", length),
        beta_fast=_pop(fields, "beta_fast", 32.0),
        beta_slow=_pop(fields, "beta_slow", 1.0),
        attention_factor=None if own is None else as_float("attention_factor", own),
        truncate=fields.pop("truncate", True),
    )


def _pop(fields: Fields, name: str, default: float | None = None) -> float:
    value = fields.pop(name, None)
    return as_float(f"rope {name}", default if value is None else value)


@checked
def write_rope_decoder(config: ModelConfig) -> Fields:
    """The fields that these decoders have in common."""
    usual: Fields = {}
    if isinstance(config.attention, AttentionConfig):
        heads = config.attention
        usual |= {"num_attention_heads": heads.num_heads, "num_key_value_heads": heads.kv_heads}
        usual |= {"head_dim": config.head_dim}
    return usual | {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers,
        "max_position_embeddings": config.max_length,
        "intermediate_size": config.feedforward.d_ff,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm.eps,
        **write_rope(config.positions),
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tie_embeddings,
    }


@checked
def write_llama(config: ModelConfig) -> Fields:
    biases = {"attention_bias": config.heads.bias, "mlp_bias": config.feedforward.bias}
    return write_rope_decoder(config) | biases


@checked
def write_mistral(config: ModelConfig) -> Fields:
    return write_rope_decoder(config) | {"sliding_window": config.heads.window}


@checked
def write_qwen2(config: ModelConfig) -> Fields:
    window = config.heads.window
    return write_rope_decoder(config) | {
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "max_window_layers": config.num_layers if window is None else 0,
    }


@checked
def write_qwen3(config: ModelConfig) -> Fields:
    return write_qwen2(config) | {"attention_bias": config.heads.bias}


@checked
def write_rope(positions: Positions) -> Fields:
    """Both spellings: each version of transformers passes over the other's, and takes a plain rope without a word."""
    if not isinstance(positions, Rope):
        return {}
    theta, scaling = positions.theta, _write_scaling(positions.scaling)
    parameters = {"rope_theta": theta, "rope_type": "default"} | (scaling or {})
    share = {} if positions.share == 1.0 else {"partial_rotary_factor": positions.share}
    return {"rope_parameters": parameters | share, "rope_theta": theta, "rope_scaling": scaling, **share}


def _write_scaling(scaling: RopeScaling | None) -> Fields | None:
    match scaling:
        case None:
            return None
        case LinearScaling(factor=factor):
            return {"rope_type": "linear", "factor": factor}
        case NtkScaling(factor=factor):
            return {"rope_type": "dynamic", "factor": factor}
        case YarnScaling() as yarn:
            fields: Fields = {"rope_type": "yarn", "factor": yarn.factor, "beta_fast": yarn.beta_fast}
            fields |= {"beta_slow": yarn.beta_slow, "truncate": yarn.truncate}
            fields |= {} if yarn.attention_factor is None else {"attention_factor": yarn.attention_factor}
        case Llama3Scaling() as llama3:
            fields = {"rope_type": "llama3", "factor": llama3.factor}
            fields |= {"low_freq_factor": llama3.low_turns, "high_freq_factor": llama3.high_turns}
    return fields | {"original_max_position_embeddings": scaling.original_length}
