"""Hugging Face's `config.json` and our configs, in both directions.

Every field of a `config.json` is accounted for: it becomes part of our config, or must have the one value that our
models stand for, or is known to leave the numbers alone. Anything else is a `ValueError` that lists it. A field that is
absent has the default that Hugging Face gives it. What is written is read back, so a model that the format cannot
describe is refused rather than altered.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from transformer_lib.config import (
    AttentionConfig,
    Learned,
    Mixer,
    Mlp,
    ModelConfig,
    Norm,
    Seq2SeqConfig,
    Sinusoidal,
    require,
)
from transformer_lib.contract import checked
from transformer_lib.interop.encoder_configs import (
    read_bert,
    read_distilbert,
    read_roberta,
    write_bert,
    write_distilbert,
    write_roberta,
)
from transformer_lib.interop.expert_configs import (
    read_gpt_oss,
    read_mixtral,
    read_qwen3_moe,
    write_gpt_oss,
    write_mixtral,
    write_qwen3_moe,
)
from transformer_lib.interop.latent_configs import (
    read_deepseek_v3,
    read_qwen3_next,
    write_deepseek_v3,
    write_qwen3_next,
)
from transformer_lib.interop.layer_types import MOST_LAYERS
from transformer_lib.interop.mixed_configs import (
    read_gemma3,
    read_olmo2,
    read_smollm3,
    write_gemma3,
    write_olmo2,
    write_smollm3,
)
from transformer_lib.interop.modernbert_configs import read_modernbert, write_modernbert
from transformer_lib.interop.reader import Fields, Reader, activation_of
from transformer_lib.interop.rope_configs import (
    read_llama,
    read_mistral,
    read_qwen2,
    read_qwen3,
    write_llama,
    write_mistral,
    write_qwen2,
    write_qwen3,
)

Config = ModelConfig | Seq2SeqConfig


@checked
def read_config(fields: Fields, *, dropout: float | None = None) -> Config:
    """Our config for theirs; `dropout` replaces their several rates, which matter in training only."""
    kind = model_type_of(fields)
    reader = Reader(fields, dropout)
    try:
        config = _READERS[kind](reader)
    except (ValueError, TypeError, AttributeError, OverflowError, ZeroDivisionError) as error:
        reader.check()  # what is missing is the better explanation
        raise ValueError(f"config.json must describe a model: {error}") from error
    reader.finish()
    return config


@checked
def model_type_of(fields: Fields) -> str:
    """The family that a `config.json` is of; without a `model_type`, as in BERT's first years, it has to be a BERT."""
    kind = fields.get("model_type")
    if kind is None and fields.keys() >= _OLD_BERT and fields.get("type_vocab_size") != 1:  # as RoBERTa has it
        kind = "bert"
    require(isinstance(kind, str) and kind in _READERS, "model_type", f"must be one of {sorted(_READERS)}", kind)
    return str(kind)


@checked
def write_config(config: Config, model_type: str) -> Fields:
    """Their fields for our config; `ValueError` naming what `model_type` cannot express.

    Dropout may be lost: only the formats of GPT-2 and of encoders have our one rate. A trained model has no use for it.
    """
    require(model_type in _WRITERS, "model_type", f"must be one of {sorted(_WRITERS)}", model_type)
    kind = Seq2SeqConfig if model_type == "marian" else ModelConfig
    require(isinstance(config, kind), "config", f"must be a {kind.__name__} for {model_type!r}", config)
    fields = {"model_type": model_type} | _WRITERS[model_type](config)
    back, own = (_parts(part) for part in (read_config(fields, dropout=0.0), config))
    lost = [line for name, value in own.items() for line in _differing(name, value, back.get(name))]
    lost += [f"{name}={value!r}" for name, value in back.items() if name not in own]
    require(not lost, "config", f"must fit the format of {model_type!r}, which has no place for", lost)
    return fields


def _differing(name: str, value: Any, other: Any) -> Iterator[str]:
    """Where a value differs from the other, field by field if both are of one kind."""
    if value == other:
        return
    if not dataclasses.is_dataclass(value) or type(value) is not type(other):
        yield f"{name}={value!r}"
        return
    for field in dataclasses.fields(value):
        yield from _differing(f"{name}.{field.name}", getattr(value, field.name), getattr(other, field.name))


def _parts(config: Config, prefix: str = "") -> dict[str, object]:
    """The fields of a config, with what is left open filled in and without dropout."""
    if isinstance(config, Seq2SeqConfig):
        decoder = dataclasses.replace(config.decoder, head_bias=False)  # the weights say whether there is one
        own: dict[str, object] = {"share_embeddings": config.share_embeddings}
        return own | _parts(config.encoder, "encoder.") | _parts(decoder, "decoder.")
    layers = [
        dataclasses.replace(layer, attention=_filled(layer), dropout=0.0) for layer in config.layers[:MOST_LAYERS]
    ]
    own = {prefix + field.name: getattr(layers[0], field.name) for field in dataclasses.fields(config)}
    return own if len(set(layers)) == 1 else own | {f"{prefix}layers": layers}


def _filled(layer: ModelConfig) -> Mixer:
    if not isinstance(layer.attention, AttentionConfig):
        return layer.attention
    return dataclasses.replace(layer.attention, num_kv_heads=layer.attention.kv_heads, head_dim=layer.head_dim)


# GPT-2 and Marian ----------------------------------------------------------------------------------------------------


def _read_gpt2(reader: Reader) -> ModelConfig:
    width, inner = reader.take("n_embd", 768), reader.get("n_inner")
    reader.expect(scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, reorder_and_upcast_attn=False)
    return ModelConfig(
        vocab_size=reader.take("vocab_size", 50_257),
        d_model=width,
        num_layers=reader.take("n_layer", 12),
        max_length=reader.take("n_positions", 1024),
        attention=AttentionConfig(num_heads=reader.take("n_head", 12), bias=True),
        feedforward=Mlp(
            d_ff=4 * width if inner is None else inner, activation=reader.choose("activation_function", "gelu_new")
        ),
        positions=Learned(),
        norm=Norm(eps=reader.number("layer_norm_epsilon", 1e-5)),
        dropout=reader.dropout(resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1),
        tie_embeddings=reader.take("tie_word_embeddings", True),
    )


def _write_gpt2(config: ModelConfig) -> Fields:
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.d_model,
        "n_layer": config.num_layers,
        "n_positions": config.max_length,
        "n_head": config.heads.num_heads,
        "n_inner": config.feedforward.d_ff,
        "activation_function": activation_of(config, "gelu_new"),
        "layer_norm_epsilon": config.norm.eps,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
        "tie_word_embeddings": config.tie_embeddings,
    }


def _read_marian(reader: Reader) -> Seq2SeqConfig:
    vocab = reader.take("vocab_size", 58_101)
    reader.expect(decoder_vocab_size=vocab, share_encoder_decoder_embeddings=True, tie_word_embeddings=True)
    reader.expect(normalize_before=False, normalize_embedding=False, add_final_layer_norm=False, add_bias_logits=False)
    reader.expect(static_position_embeddings=True, is_encoder_decoder=True)
    dropout = reader.dropout(dropout=0.1, attention_dropout=0.0, activation_dropout=0.0)
    width, length = reader.take("d_model", 1024), reader.take("max_position_embeddings", 1024)
    activation, scaled = reader.choose("activation_function", "gelu"), reader.take("scale_embedding", False)

    def side(name: str) -> ModelConfig:
        return ModelConfig(
            vocab_size=vocab,
            d_model=width,
            num_layers=reader.take(f"{name}_layers", 12),
            max_length=length,
            attention=AttentionConfig(num_heads=reader.take(f"{name}_attention_heads", 16), bias=True),
            feedforward=Mlp(d_ff=reader.take(f"{name}_ffn_dim", 4096), activation=activation),
            positions=Sinusoidal(),
            norm_order="post",
            dropout=dropout,
            scale_embeddings=scaled,
        )

    return Seq2SeqConfig(encoder=side("encoder"), decoder=side("decoder"))


def _write_marian(config: Seq2SeqConfig) -> Fields:
    encoder, decoder = config.encoder, config.decoder
    fields = {
        "vocab_size": encoder.vocab_size,
        "decoder_vocab_size": decoder.vocab_size,
        "d_model": encoder.d_model,
        "max_position_embeddings": encoder.max_length,
        "activation_function": activation_of(encoder, "gelu"),
        "scale_embedding": encoder.scale_embeddings,
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), encoder.dropout),
        "is_encoder_decoder": True,
    }
    for name, side in (("encoder", encoder), ("decoder", decoder)):
        fields[f"{name}_layers"] = side.num_layers
        fields[f"{name}_attention_heads"] = side.attention.num_heads
        fields[f"{name}_ffn_dim"] = side.feedforward.d_ff
    return fields


_READERS: dict[str, Callable[[Reader], Config]] = {
    "gpt2": _read_gpt2,
    "bert": read_bert,
    "roberta": read_roberta,
    "xlm-roberta": read_roberta,
    "distilbert": read_distilbert,
    "marian": _read_marian,
    "llama": read_llama,
    "mistral": read_mistral,
    "qwen2": read_qwen2,
    "qwen3": read_qwen3,
    "gemma3_text": read_gemma3,
    "olmo2": read_olmo2,
    "smollm3": read_smollm3,
    "mixtral": read_mixtral,
    "qwen3_moe": read_qwen3_moe,
    "gpt_oss": read_gpt_oss,
    "deepseek_v3": read_deepseek_v3,
    "qwen3_next": read_qwen3_next,
    "modernbert": read_modernbert,
}
_WRITERS: dict[str, Callable[[Any], Fields]] = {
    "gpt2": _write_gpt2,
    "bert": write_bert,
    "roberta": write_roberta,
    "xlm-roberta": write_roberta,
    "distilbert": write_distilbert,
    "marian": _write_marian,
    "llama": write_llama,
    "mistral": write_mistral,
    "qwen2": write_qwen2,
    "qwen3": write_qwen3,
    "gemma3_text": write_gemma3,
    "olmo2": write_olmo2,
    "smollm3": write_smollm3,
    "mixtral": write_mixtral,
    "qwen3_moe": write_qwen3_moe,
    "gpt_oss": write_gpt_oss,
    "deepseek_v3": write_deepseek_v3,
    "qwen3_next": write_qwen3_next,
    "modernbert": write_modernbert,
}
# Fields that a BERT of 2018 has, whose config had no `model_type`.
_OLD_BERT = {"hidden_size", "num_hidden_layers", "intermediate_size", "type_vocab_size"}
