"""The `config.json` of ModernBERT: an encoder with rotations, local and global layers, and a gate."""

import dataclasses

from transformer_lib.checks import shown
from transformer_lib.config import AttentionConfig, Glu, LayerConfig, ModelConfig, Norm, Rope
from transformer_lib.contract import checked
from transformer_lib.interop.layer_types import FULL, SLIDING, number_of_layers, read_layer_types, with_layers
from transformer_lib.interop.reader import Fields, Reader, activation_of
from transformer_lib.interop.rope_configs import read_rope_fields, write_rope

THETAS = {FULL: ("global_rope_theta", 160_000.0), SLIDING: ("local_rope_theta", 10_000.0)}
PASSED_OVER = ("reference_compile", "deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index")
OF_CLASSIFIERS = ("classifier_pooling", "classifier_dropout", "initializer_cutoff_factor", "repad_logits_with_grad")


@checked
def read_modernbert(reader: Reader) -> ModelConfig:
    """Every third layer is global; the first has no norm before its attention, since the embeddings have one."""
    for name in (*PASSED_OVER, *OF_CLASSIFIERS):
        reader.get(name)
    layers = number_of_layers(reader)
    every = reader.get("global_attn_every_n_layers", 3)
    default = [SLIDING if isinstance(every, int) and every > 0 and i % every else FULL for i in range(layers)]
    kinds = read_layer_types(reader, default)
    bias = reader.flag("norm_bias", False)
    # Our head of a masked language model has biases where the norms have one.
    reader.expect(classifier_bias=bias, decoder_bias=True, classifier_activation="gelu", tie_word_embeddings=True)
    reader.expect(position_embedding_type="absolute")  # which older files say, and the model passes over
    length = reader.take("max_position_embeddings", 8192)
    ropes = {kind: _rope(reader, kind, length) for kind in (FULL, SLIDING)}
    activation = reader.choose("hidden_activation", "gelu")
    model = ModelConfig(
        vocab_size=reader.take("vocab_size", 50_368),
        d_model=reader.take("hidden_size", 768),
        num_layers=layers,
        max_length=length,
        attention=AttentionConfig(
            num_heads=reader.take("num_attention_heads", 12), bias=reader.flag("attention_bias", False)
        ),
        feedforward=Glu(
            d_ff=reader.take("intermediate_size", 1152), activation=activation, bias=reader.flag("mlp_bias", False)
        ),
        positions=ropes[FULL],
        norm=Norm(eps=reader.number("norm_eps", 1e-5), bias=bias),
        dropout=reader.dropout(embedding_dropout=0.0, attention_dropout=0.0, mlp_dropout=0.0),
        embedding_norm=True,
    )
    reach = reader.take("local_attention", 128) // 2 + 1  # to either side, the token itself included
    local = dataclasses.replace(model.heads, window=reach)
    own = {FULL: LayerConfig(), SLIDING: LayerConfig(attention=local, positions=ropes[SLIDING])}
    stack = [own[kind] for kind in kinds]
    return with_layers(model, [dataclasses.replace(stack[0], attention_norm=False), *stack[1:]])


def _rope(reader: Reader, kind: str, length: int) -> Rope:
    name, theta = THETAS[kind]
    said = reader.number(name, theta)
    found = reader.get("rope_parameters")
    if found is None:
        return Rope(theta=said)
    if not isinstance(found, dict) or kind not in found:
        reader.fault(f"rope_parameters must say of {kind} layers, got {shown(found)}")
        return Rope(theta=said)
    return read_rope_fields(reader, f"rope_parameters.{kind}", found[kind], length, theta=said)


@checked
def write_modernbert(config: ModelConfig) -> Fields:
    layers = config.layers
    kinds = [FULL if layer.heads.window is None else SLIDING for layer in layers]
    of_kind = {kind: layers[kinds.index(kind)] if kind in kinds else layers[0] for kind in (FULL, SLIDING)}
    ropes = {kind: write_rope(layer.positions).get("rope_parameters", {}) for kind, layer in of_kind.items()}
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers,
        "max_position_embeddings": config.max_length,
        "num_attention_heads": config.heads.num_heads,
        "attention_bias": config.heads.bias is True,
        "intermediate_size": layers[0].feedforward.d_ff,
        "hidden_activation": "gelu" if not isinstance(layers[0].feedforward, Glu) else activation_of(layers[0], "gelu"),
        "mlp_bias": layers[0].feedforward.bias is True,
        "norm_eps": config.norm.eps,
        "norm_bias": config.norm.bias,
        "classifier_bias": config.norm.bias,
        "layer_types": kinds,
        "local_attention": 2 * ((of_kind[SLIDING].heads.window or 65) - 1),
        "rope_parameters": ropes,
        **dict.fromkeys(("embedding_dropout", "attention_dropout", "mlp_dropout"), config.dropout),
    }
