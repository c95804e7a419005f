"""Hugging Face's names for our weights, one conversion per model family. Nothing is ever downloaded."""

from collections.abc import Callable

from tests.oracles import Tensors, rename
from transformer_lib.config import ModelConfig

GPT2 = {
    "embedding.tokens": "transformer.wte",
    "embedding.positions": "transformer.wpe",
    "blocks.": "transformer.h.",
    "attention_norm": "ln_1",
    "feedforward_norm": "ln_2",
    "attention.to_qkv": "attn.c_attn",
    "attention.to_out": "attn.c_proj",
    "feedforward.to_hidden": "mlp.c_fc",
    "feedforward.to_out": "mlp.c_proj",
    "final_norm": "transformer.ln_f",
}
LLAMA = {  # and Mistral and Qwen3
    "embedding.tokens": "model.embed_tokens",
    "blocks.": "model.layers.",
    "attention_norm": "input_layernorm",
    "feedforward_norm": "post_attention_layernorm",
    "attention.to_out": "self_attn.o_proj",
    "attention.": "self_attn.",
    "feedforward.to_gate": "mlp.gate_proj",
    "feedforward.to_hidden": "mlp.up_proj",
    "feedforward.to_out": "mlp.down_proj",
    "final_norm": "model.norm",
    "head.": "lm_head.",
}
BERT = {
    "embedding.tokens": "embeddings.word_embeddings",
    "embedding.positions": "embeddings.position_embeddings",
    "embedding.segments": "embeddings.token_type_embeddings",
    "embedding.norm": "embeddings.LayerNorm",
    "blocks.": "encoder.layer.",
    "attention_norm": "attention.output.LayerNorm",
    "feedforward_norm": "output.LayerNorm",
    "attention.to_out": "attention.output.dense",
    "attention.q_proj": "attention.self.query",
    "attention.k_proj": "attention.self.key",
    "attention.v_proj": "attention.self.value",
    "feedforward.to_hidden": "intermediate.dense",
    "feedforward.to_out": "output.dense",
}


def to_gpt2(tensors: Tensors) -> Tensors:
    """GPT-2 stores the weight of a linear map as (in, out)."""
    names = rename(GPT2)(tensors)
    return {name: weight.mT if ".c_" in name and weight.ndim == 2 else weight for name, weight in names.items()}


def to_llama(config: ModelConfig) -> Callable[[Tensors], Tensors]:
    return lambda tensors: rename(LLAMA)(split_qkv(tensors, config))


def to_bert(config: ModelConfig) -> Callable[[Tensors], Tensors]:
    return lambda tensors: rename(BERT)(split_qkv(tensors, config))


def split_qkv(tensors: Tensors, config: ModelConfig) -> Tensors:
    heads, kv_heads = config.attention.num_heads, config.attention.kv_heads
    widths = [count * config.head_dim for count in (heads, kv_heads, kv_heads)]
    parts: Tensors = {}
    for name, tensor in tensors.items():
        if "to_qkv" in name:
            named = zip("qkv", tensor.split(widths), strict=True)
            parts |= {name.replace("to_qkv", f"{letter}_proj"): part for letter, part in named}
        else:
            parts[name] = tensor
    return parts
