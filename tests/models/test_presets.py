"""The presets are the published models: every parameter's name and shape, on the meta device, so without weights."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.models.huggingface import to_bert, to_gpt2, to_llama
from tests.oracles import Tensors
from transformer_lib.config import Mlp, ModelConfig, Norm, Rope, Sinusoidal
from transformer_lib.models import DecoderLM, Encoder, Seq2Seq, presets


def llama3_8b() -> nn.Module:
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    return LlamaForCausalLM(config)


def qwen3_0_6b() -> nn.Module:
    config = Qwen3Config(
        vocab_size=151_936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


PRESETS = [
    (DecoderLM, presets.gpt2(), lambda: GPT2LMHeadModel(GPT2Config()), to_gpt2, 124_439_808),
    (DecoderLM, presets.llama3_8b(), llama3_8b, to_llama(presets.llama3_8b()), 8_030_261_248),
    (DecoderLM, presets.qwen3_0_6b(), qwen3_0_6b, to_llama(presets.qwen3_0_6b()), 596_049_920),
    (
        Encoder,
        presets.bert_base(),
        lambda: BertModel(BertConfig(), add_pooling_layer=False),
        to_bert(presets.bert_base()),
        108_891_648,
    ),
]


def count(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    "kind, config, reference, convert, parameters", PRESETS, ids=["gpt2", "llama3", "qwen3", "bert"]
)
def test_a_preset_has_the_published_parameters(
    kind: type[DecoderLM] | type[Encoder],
    config: ModelConfig,
    reference: Callable[[], nn.Module],
    convert: Callable[[Tensors], Tensors],
    parameters: int,
) -> None:
    with torch.device("meta"):
        mine, theirs = kind(config), reference()
    assert count(mine) == count(theirs) == parameters
    weights = convert(dict(mine.named_parameters()))
    expected = {name: weight.shape for name, weight in theirs.named_parameters()}
    assert {name: weight.shape for name, weight in weights.items()} == expected


def test_the_base_transformer_adds_up() -> None:
    with torch.device("meta"):
        found = count(Seq2Seq(presets.transformer_base()))
    attention, feedforward, norm = 4 * 512 * 512, 2 * 512 * 2048 + 2048 + 512, 2 * 512
    encoder, decoder = attention + feedforward + 2 * norm, 2 * attention + feedforward + 3 * norm
    assert found == 37_000 * 512 + 6 * (encoder + decoder)


def test_the_tiny_model_is_tiny_and_takes_its_sizes() -> None:
    assert count(DecoderLM(presets.tiny())) < 300_000
    assert presets.tiny(100, max_length=7).vocab_size == 100
    assert presets.tiny(100, max_length=7).max_length == 7


def test_what_the_shapes_do_not_show_is_as_published_too() -> None:
    """From the files config.json that the models were published with, and for 2017 from the paper."""
    gpt2, llama, qwen, bert = presets.gpt2(), presets.llama3_8b(), presets.qwen3_0_6b(), presets.bert_base()
    assert (gpt2.norm, gpt2.norm_order, gpt2.max_length) == (Norm(kind="layer", eps=1e-5), "pre", 1024)
    assert gpt2.feedforward == Mlp(d_ff=3072, activation="gelu_tanh") and gpt2.attention.num_heads == 12
    assert (llama.norm, llama.positions, llama.max_length) == (Norm(kind="rms", eps=1e-5), Rope(theta=500_000.0), 8192)
    assert llama.attention.num_heads == 32
    assert (qwen.norm, qwen.positions) == (Norm(kind="rms", eps=1e-6), Rope(theta=1_000_000.0))
    assert qwen.max_length == 40_960 and qwen.attention.num_heads == 16
    assert (bert.norm, bert.norm_order, bert.dropout) == (Norm(kind="layer", eps=1e-12), "post", 0.1)
    assert bert.feedforward == Mlp(d_ff=3072, activation="gelu") and bert.attention.num_heads == 12
    side = presets.transformer_base().encoder
    assert (side.norm_order, side.dropout, side.scale_embeddings, side.positions) == ("post", 0.1, True, Sinusoidal())
    assert side.feedforward == Mlp(d_ff=2048, activation="relu") and side.attention.num_heads == 8
