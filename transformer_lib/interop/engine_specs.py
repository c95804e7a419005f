"""Our models in the words of CTranslate2: a config and its weights become a specification, which can be written.

CTranslate2 is an engine for Transformers, written in C++ (Klein et al. 2020, "Efficient and High-Quality Neural Machine
Translation with OpenNMT"). A specification is a tree of parts, each with its weights and settings.

Its vocabulary holds texts and ours ids, so token 7 is the text "7". Its sines stand behind one another where ours
alternate, so sinusoidal positions are handed over as a table. Left out: encoders alone, and what `check_convertible`
refuses.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.checks import require, wrong_kind
from transformer_lib.config import AttentionConfig, Experts, Learned, LinearScaling, Mlp, ModelConfig, Rope, Sinusoidal
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.nn.attention import Attention
from transformer_lib.nn.block import Block
from transformer_lib.nn.embedding import Embedding
from transformer_lib.nn.feedforward import FeedForward, GatedFeedForward
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.norm import LayerNorm, RMSNorm
from transformer_lib.nn.positions import sinusoidal

MOST_HEADS = 2**15 - 1  # which CTranslate2 counts with 16 bits
ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "gelu_tanh": "GELUTanh", "silu": "SWISH"}


@checked
def check_convertible(model: DecoderLM | Seq2Seq) -> None:
    """`ValueError` that names what CTranslate2 has no place for, if the model has such a part."""
    require(not model.training, "model", "must be in eval mode (model.eval()) to be converted", "training mode")
    if isinstance(model, Seq2Seq):
        for side in ("encoder", "decoder"):
            config = getattr(model.config, side)
            _check_stack(config, f"{side}.")
            normed = config.heads.qk_norm
            require(
                not normed, f"{side}.attention.qk_norm", "must be False in an encoder-decoder to be converted", normed
            )
        eps = model.config.encoder.norm.eps, model.config.decoder.norm.eps
        require(eps[0] == eps[1], "encoder.norm.eps", f"must equal the decoder's, {eps[1]}, to be converted", eps[0])
    else:
        _check_stack(model.config, "")
    for name, weight in model.named_parameters():
        require(not weight.is_meta, name, "must hold numbers", "a tensor on the meta device")
        require(bool(weight.isfinite().all()), name, "must be finite", "NaN or infinity")


def _check_stack(config: ModelConfig, side: str) -> None:
    for field, rule, holds in _rules(config):
        value: Any = config
        for name in field.split("."):
            value = getattr(value, name)
        require(holds, side + field, f"{rule} to be converted", value)


def _rules(config: ModelConfig) -> Iterator[tuple[str, str, bool]]:
    """Which field must be what, and whether it is."""
    mixer, part, positions = config.attention, config.feedforward, config.positions
    yield "pattern", "must be empty (layers must be alike)", not config.pattern
    yield "attention", "must be an AttentionConfig", isinstance(mixer, AttentionConfig)
    assert isinstance(mixer, AttentionConfig)
    yield "attention.num_heads", f"must be at most {MOST_HEADS}", mixer.num_heads <= MOST_HEADS
    yield "attention.qk_norm", "must not be 'whole'", mixer.qk_norm != "whole"
    yield "attention.window", "must be None", mixer.window is None
    yield "attention.soft_cap", "must be None", mixer.soft_cap is None
    yield "attention.sinks", "must be False", not mixer.sinks
    yield "attention.gate", "must be False", not mixer.gate
    yield "feedforward", "must not be Experts", not isinstance(part, Experts)
    yield "positions", "must be Learned, Sinusoidal or Rope", isinstance(positions, Learned | Sinusoidal | Rope)
    if isinstance(positions, Rope):
        plain = positions.scaling is None or isinstance(positions.scaling, LinearScaling)
        yield "positions.scaling", "must be None or a LinearScaling", plain
    yield "norm_order", "must be 'pre' or 'post'", config.norm_order in ("pre", "post")
    yield "attention_norm", "must be True", config.attention_norm
    yield "segments", "must be 0", config.segments == 0
    yield "residual_scale", "must be 1", config.residual_scale == 1
    yield "logit_cap", "must be None", config.logit_cap is None


@checked
def specification(model: DecoderLM | Seq2Seq, *, longest: int) -> Any:
    """The model as an object of `ctranslate2.specs`; it holds copies of the weights, in float32 on the CPU.

    `longest` is how many positions a table of sines has. `ValueError` as from `check_convertible`.
    """
    check_convertible(model)
    with needed():
        from ctranslate2.specs import TransformerDecoderModelSpec, TransformerSpec

    if isinstance(model, Seq2Seq):
        sides = model.config.encoder, model.config.decoder
        both = TransformerSpec(_encoder_spec(sides[0]), _decoder_spec(sides[1], cross=True))
        _fill_embedding(both.encoder, both.encoder.embeddings[0], model.encoder.embedding, longest)
        _fill_stack(both.encoder, model.encoder.blocks, model.encoder.final_norm)
        _fill_decoder(both.decoder, model, longest)
        both.register_source_vocabulary(_texts(sides[0].vocab_size))
        both.register_target_vocabulary(_texts(sides[1].vocab_size))
        spec, config = both, sides[1]
        spec.config.decoder_start_token = None  # each call gives its own
    else:
        spec, config = TransformerDecoderModelSpec(_decoder_spec(model.config, cross=False)), model.config
        _fill_decoder(spec.decoder, model, longest)
        spec.register_vocabulary(_texts(config.vocab_size))
    # These have to be tokens of the vocabulary; each call says itself where a text ends, and nothing is unknown.
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "0"
    spec.config.layer_norm_epsilon = config.norm.eps
    return spec


def _texts(vocab_size: int) -> list[str]:
    return [str(token) for token in range(vocab_size)]


# The tree ------------------------------------------------------------------------------------------------------------


def _encoder_spec(config: ModelConfig) -> Any:
    from ctranslate2.specs.transformer_spec import TransformerEncoderSpec

    return TransformerEncoderSpec(config.num_layers, config.heads.num_heads, **_settings(config))


def _decoder_spec(config: ModelConfig, *, cross: bool) -> Any:
    from ctranslate2.specs.transformer_spec import TransformerDecoderSpec

    settings = _settings(config) | {"with_encoder_attention": cross}
    return TransformerDecoderSpec(config.num_layers, config.heads.num_heads, **settings)


def _settings(config: ModelConfig) -> dict[str, Any]:
    """What both sides' constructors are told."""
    from ctranslate2.specs.attention_spec import RotaryScalingType
    from ctranslate2.specs.common_spec import Activation

    heads, activation = config.heads, getattr(config.feedforward, "activation", "silu")  # a SwiGlu names none
    gated = not isinstance(config.feedforward, Mlp)
    settings = {
        "pre_norm": config.norm_order == "pre",
        "activation": Activation[ACTIVATIONS[activation]],
        "layernorm_embedding": config.embedding_norm,
        "ffn_glu": gated,
        "rms_norm": config.norm.kind == "rms",
        "num_heads_kv": None if heads.kv_heads == heads.num_heads else heads.kv_heads,
        "head_dim": config.head_dim,
        "qk_norm": bool(heads.qk_norm),
    }
    if isinstance(config.positions, Rope):
        rope = config.positions
        settings |= {"rotary_dim": config.rotated_dim, "rotary_interleave": False, "rotary_base": rope.theta}
        if isinstance(rope.scaling, LinearScaling):
            settings |= {"rotary_scaling_type": RotaryScalingType.Linear, "rotary_scaling_factor": rope.scaling.factor}
    return settings


# Its weights ---------------------------------------------------------------------------------------------------------


def _fill_decoder(spec: Any, model: DecoderLM | Seq2Seq, longest: int) -> None:
    _fill_embedding(spec, spec.embeddings, model.embedding, longest)
    _fill_stack(spec, model.blocks, model.final_norm)
    _fill_linear(spec.projection, model.head)


def _fill_embedding(spec: Any, table: Any, embedding: nn.Module, longest: int) -> None:
    assert isinstance(embedding, Embedding)
    config = embedding.config
    table.weight = _copy(embedding.tokens.weight)
    spec.scale_embeddings = config.scale_embeddings
    match config.positions:
        case Learned():
            assert embedding.positions is not None
            spec.position_encodings.encodings = _copy(embedding.positions.weight)
        case Sinusoidal(base=base):
            require_memory(16 * longest * config.d_model, longest=longest)
            spec.position_encodings.encodings = sinusoidal(torch.arange(longest), config.d_model, base=base)
    if embedding.norm is not None:
        _fill_norm(spec.layernorm_embedding, embedding.norm)


def _fill_stack(spec: Any, blocks: nn.ModuleList, final_norm: nn.Module) -> None:
    for layer, block in zip(spec.layer, blocks, strict=True):
        assert isinstance(block, Block) and isinstance(block.attention, Attention)
        _fill_attention(layer.self_attention, block.attention, block.attention_norm)
        if block.cross_attention is not None:
            _fill_cross_attention(layer.attention, block.cross_attention, block.cross_norm)
        _fill_feedforward(layer.ffn, block.feedforward, block.feedforward_norm)
    if not isinstance(final_norm, nn.Identity):
        _fill_norm(spec.layer_norm, final_norm)


def _fill_attention(spec: Any, attention: Attention, norm: nn.Module) -> None:
    _fill_norm(spec.layer_norm, norm)
    _fill_linear(spec.linear[0], attention.to_qkv)
    _fill_linear(spec.linear[1], attention.to_out)
    if attention.q_norm is not None and attention.k_norm is not None:
        _fill_norm(spec.q_norm, attention.q_norm)
        _fill_norm(spec.k_norm, attention.k_norm)
    _fill_scale(spec, attention)


def _fill_cross_attention(spec: Any, attention: Attention, norm: nn.Module | None) -> None:
    assert norm is not None
    _fill_norm(spec.layer_norm, norm)
    queries = attention.heads[0] * attention.head_dim
    _fill_linear(spec.linear[0], attention.to_qkv, slice(0, queries))
    _fill_linear(spec.linear[1], attention.to_qkv, slice(queries, None))
    _fill_linear(spec.linear[2], attention.to_out)
    _fill_scale(spec, attention)


def _fill_scale(spec: Any, attention: Attention) -> None:
    if "scale" in attention.shaping:
        spec.queries_scale = float(attention.shaping["scale"])


def _fill_feedforward(spec: Any, part: nn.Module, norm: nn.Module) -> None:
    _fill_norm(spec.layer_norm, norm)
    match part:
        case FeedForward():
            _fill_linear(spec.linear_0, part.to_hidden)
        case GatedFeedForward():
            _fill_linear(spec.linear_0, part.to_gate)  # behind which the activation stands
            _fill_linear(spec.linear_0_noact, part.to_hidden)
    assert isinstance(part, FeedForward | GatedFeedForward)
    _fill_linear(spec.linear_1, part.to_out)


def _fill_linear(spec: Any, linear: nn.Module, rows: slice = slice(None)) -> None:
    if type(linear) is not nn.Linear:  # an adapter on top of one
        raise wrong_kind("model", "made of nn.Linear, without adapters, to be converted", linear)
    spec.weight = _copy(linear.weight[rows])
    if linear.bias is not None:
        spec.bias = _copy(linear.bias[rows])


def _fill_norm(spec: Any, norm: nn.Module) -> None:
    match norm:
        case LayerNorm():
            spec.gamma = _copy(norm.weight)
            spec.beta = torch.zeros_like(spec.gamma) if norm.bias is None else _copy(norm.bias)
        case RMSNorm():
            spec.gamma = _copy(norm.weight) + float(norm.centred)


def _copy(weight: Tensor) -> Tensor:
    """A copy, since quantising writes into what it is given."""
    return weight.detach().to("cpu", torch.float32, copy=True).contiguous()
