"""DecoderLM against Hugging Face's models with random weights: one file, four families."""

import dataclasses

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.models.huggingface import to_gpt2, to_llama
from tests.oracles import (
    CONFIG,
    TORCH_ENCODER,
    carry_over,
    close,
    integers,
    randomise,
    rename,
    same_gradients,
    unchecked,
)
from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig, NoPositions, Norm, Rope
from transformer_lib.models import DecoderLM

TOKENS = integers(13, 3, 9)
F32, F64 = torch.float32, torch.float64

LIKE_GPT2 = dataclasses.replace(
    CONFIG,
    attention=AttentionConfig(num_heads=4, bias=True),
    feedforward=Mlp(d_ff=24, activation="gelu_tanh"),
    positions=Learned(),
)
LIKE_LLAMA = dataclasses.replace(
    CONFIG, positions=Rope(theta=500.0), norm=Norm(kind="rms", eps=1e-4), tie_embeddings=False
)
LIKE_MISTRAL = dataclasses.replace(LIKE_LLAMA, attention=dataclasses.replace(CONFIG.attention, window=3))
LIKE_QWEN3 = dataclasses.replace(
    LIKE_LLAMA,
    attention=AttentionConfig(num_heads=4, num_kv_heads=2, head_dim=6, qk_norm=True),
    tie_embeddings=True,
)

shared = {
    "vocab_size": 13,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-4,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
}


def reference(family: str) -> nn.Module:
    match family:
        case "gpt2":
            config = GPT2Config(vocab_size=13, n_embd=16, n_layer=2, n_head=4, n_positions=24, n_inner=24)
            return GPT2LMHeadModel(config)
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**shared))
        case "mistral":
            return MistralForCausalLM(MistralConfig(**shared, sliding_window=3))
        case _:
            return Qwen3ForCausalLM(Qwen3Config(**shared, head_dim=6, tie_word_embeddings=True))


# Only GPT-2 can be compared in float64: the others' norms and angles pass through float32 whatever their weights are.
FAMILIES = pytest.mark.parametrize(
    "family, config, dtype",
    [
        ("gpt2", LIKE_GPT2, F64),
        ("gpt2", LIKE_GPT2, F32),
        ("llama", LIKE_LLAMA, F32),
        ("mistral", LIKE_MISTRAL, F32),
        ("qwen3", LIKE_QWEN3, F32),
    ],
    ids=["gpt2-float64", "gpt2", "llama", "mistral", "qwen3"],
)


@FAMILIES
def test_logits_and_gradients_are_hugging_faces(family: str, config: ModelConfig, dtype: torch.dtype) -> None:
    convert = to_gpt2 if family == "gpt2" else to_llama(config)
    mine = randomise(DecoderLM(config), dtype=dtype)
    theirs = carry_over(mine, reference(family), convert)
    same_gradients(mine, theirs, convert, (mine(TOKENS), theirs(TOKENS, use_cache=False).logits))


@FAMILIES
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_are_hugging_faces(family: str, config: ModelConfig, dtype: torch.dtype, side: str) -> None:
    mine = randomise(DecoderLM(config), dtype=dtype)
    theirs = carry_over(mine, reference(family), to_gpt2 if family == "gpt2" else to_llama(config))
    valid = torch.arange(9) < torch.tensor([[9], [4], [1]])
    valid = valid if side == "right" else valid.flip(1)
    positions = (valid.cumsum(1) - 1).clamp(min=0)
    expected = theirs(TOKENS, attention_mask=valid.long(), position_ids=positions, use_cache=False).logits
    close(mine(TOKENS, valid=valid)[valid], expected[valid])


@pytest.mark.parametrize("order", ["pre", "post"])
def test_with_a_causal_mask_it_is_torchs_encoder(order: str) -> None:
    config = dataclasses.replace(LIKE_GPT2, positions=NoPositions(), norm_order=order, tie_embeddings=False)
    config = dataclasses.replace(config, feedforward=Mlp(d_ff=24, activation="gelu"))
    mine = randomise(DecoderLM(config))
    layer = nn.TransformerEncoderLayer(16, 4, 24, 0.0, "gelu", norm_first=order == "pre", batch_first=True)
    final = nn.LayerNorm(16) if order == "pre" else None
    theirs = nn.ModuleDict(
        {
            "embedding": nn.Embedding(13, 16),
            "body": nn.TransformerEncoder(layer, 2, final, enable_nested_tensor=False),
            "head": nn.Linear(16, 13, bias=False),
        }
    )
    names = {"blocks.": "body.layers.", "final_norm": "body.norm", "embedding.tokens": "embedding"} | TORCH_ENCODER
    carry_over(mine, theirs, rename(names))
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    expected = theirs["head"](theirs["body"](theirs["embedding"](TOKENS), mask=future))
    same_gradients(mine, theirs, rename(names), (mine(TOKENS), expected))


def test_logits_are_the_head_of_the_hidden_states() -> None:
    mine = randomise(DecoderLM(CONFIG))
    close(mine.hidden(TOKENS) @ mine.embedding.tokens.weight.T, mine(TOKENS))


def test_it_compiles_as_one_graph() -> None:
    mine = randomise(DecoderLM(dataclasses.replace(CONFIG, num_layers=1)))
    with unchecked():
        compiled = torch.compile(mine, fullgraph=True, backend="aot_eager")
        close(compiled(TOKENS), mine(TOKENS))
