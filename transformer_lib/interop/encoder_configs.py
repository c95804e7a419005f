"""The `config.json` of BERT, RoBERTa, XLM-R and DistilBERT: encoders that differ in a few fields, and in their names.

RoBERTa and XLM-R count positions from the id of their padding token plus one, so the first rows of their table stand
for no position of a text; ours begins at 0. DistilBERT knows no segments.
"""

from typing import Any

from transformer_lib.checks import require
from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig, Norm
from transformer_lib.contract import checked
from transformer_lib.interop.reader import Fields, Reader, activation_of

PADDING = 1  # the id of RoBERTa's padding token, where nothing else is said
DISTILBERT_EPS = 1e-12  # which stands in its code, not in its config


@checked
def read_bert(reader: Reader) -> ModelConfig:
    return _read(reader, first=0)


@checked
def read_roberta(reader: Reader) -> ModelConfig:
    """RoBERTa's and XLM-R's."""
    return _read(reader, first=first_position(reader.get("pad_token_id", PADDING)))


@checked
def read_distilbert(reader: Reader) -> ModelConfig:
    reader.expect(tie_word_embeddings=True)
    return _encoder(
        vocab_size=reader.take("vocab_size", 30_522),
        d_model=reader.take("dim", 768),
        num_layers=reader.take("n_layers", 6),
        max_length=reader.take("max_position_embeddings", 512),
        attention=AttentionConfig(num_heads=reader.take("n_heads", 12), bias=True),
        feedforward=Mlp(d_ff=reader.take("hidden_dim", 3072), activation=reader.choose("activation", "gelu")),
        norm=Norm(eps=DISTILBERT_EPS),
        dropout=reader.dropout(dropout=0.1, attention_dropout=0.1),
    )


@checked
def first_position(padding: Any) -> int:
    """The row of RoBERTa's table in which the first token of a text finds its position, by the padding token's id."""
    require(type(padding) is int and padding >= 0, "pad_token_id", "must be the id of a token", padding)
    return int(padding) + 1


def _read(reader: Reader, *, first: int) -> ModelConfig:
    reader.expect(position_embedding_type="absolute", tie_word_embeddings=True)
    return _encoder(
        vocab_size=reader.take("vocab_size", 30_522 if first == 0 else 50_265),
        d_model=reader.take("hidden_size", 768),
        num_layers=reader.take("num_hidden_layers", 12),
        max_length=reader.take("max_position_embeddings", 512) - first,
        attention=AttentionConfig(num_heads=reader.take("num_attention_heads", 12), bias=True),
        feedforward=Mlp(d_ff=reader.take("intermediate_size", 3072), activation=reader.choose("hidden_act", "gelu")),
        norm=Norm(eps=reader.number("layer_norm_eps", 1e-12)),
        dropout=reader.dropout(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1),
        segments=reader.take("type_vocab_size", 2),
    )


def _encoder(**parts: Any) -> ModelConfig:
    return ModelConfig(positions=Learned(), norm_order="post", embedding_norm=True, **parts)


@checked
def write_bert(config: ModelConfig) -> Fields:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers,
        "max_position_embeddings": config.max_length,
        "num_attention_heads": config.heads.num_heads,
        "intermediate_size": config.feedforward.d_ff,
        "hidden_act": activation_of(config, "gelu"),
        "layer_norm_eps": config.norm.eps,
        **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), config.dropout),
        "type_vocab_size": config.segments,
    }


@checked
def write_roberta(config: ModelConfig) -> Fields:
    length = config.max_length + first_position(PADDING)
    return write_bert(config) | {"max_position_embeddings": length, "pad_token_id": PADDING}


@checked
def write_distilbert(config: ModelConfig) -> Fields:
    return {
        "vocab_size": config.vocab_size,
        "dim": config.d_model,
        "n_layers": config.num_layers,
        "max_position_embeddings": config.max_length,
        "n_heads": config.heads.num_heads,
        "hidden_dim": config.feedforward.d_ff,
        "activation": activation_of(config, "gelu"),
        **dict.fromkeys(("dropout", "attention_dropout"), config.dropout),
    }
